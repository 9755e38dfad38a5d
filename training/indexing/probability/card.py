"""The model card of a ranked cell's probability: the checklist of Artrith et al., Nature Chemistry 13 (2021) 505."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from app.model_registry.manifest import Feature, ModelDraft
from training.indexing.probability.fit import Judged
from training.indexing.probability.scores import Scores

_TEXT: Final = """\
# {name}

{description}

## Use
Every cell of an answer gets the probability that it is the true lattice (its Niggli constants agree within 1.5 % and
1.5 deg), and what is left is the probability that none of them is. {order} The features are worked out from the answer
alone, beyond the ranges below as at their ends:

{ranges}

## 1. Data sources
{answers} answers of the solver (sources {solver}) to simulated patterns: {structures} from published crystal structures
(AMCSD, near-duplicates counted once) and {crystals} from random molecular crystals, none of an evaluation set or like
it. Conditions are drawn at random (`docs/training-indexing-probability.md`). Fingerprint (SHA-256): `{fingerprint}`.
Bias: minerals and simulated conditions. Where users send better or worse lines than these, the share of right cells is
another, and so are the probabilities as far as the answer does not show it.

## 2. Data cleaning
Patterns with fewer than 6 lines are left out, nothing else.

## 3. Data representation
{n_features} numbers of each cell (`app/indexing/learned/probability_features.py`, the same function in training and
service): evidence and its gaps to the next family, sublattice and superlattice; figures of merit; unindexed lines;
volume; lattice; errors; how the search ended.

## 4. Model choice
{method}: scores of {estimators}, in a softmax over the cells of the answer and "none of them". Chosen by the log loss
in cross-validation over groups of structures:

{comparison}

Log loss: mean -ln of the probability of what was right, a cell or none. ECE, Brier score and log loss (first) are those
of the first cell.

## 5. Validation
ECE: expected calibration error over 10 bins of equal mass, with its 95 % interval; "perfect" is what perfect
probabilities of the same values show, because a bin holds few answers. Spread: standard deviation of the probabilities.

{evidence}

Reliability of the most probable cell (probability: share that was right, of how many):

{reliability}

## 6. Code and reproducibility
`{command}` (seed {seed}) after `outcomes`. Libraries: {libraries}.
"""


def text(
    draft: ModelDraft,
    *,
    method: str,
    comparison: Sequence[Judged],
    evidence: Mapping[str, Judged],
    facts: Mapping[str, object],
) -> str:
    """Give the text of ``CARD.md``.

    Args:
        draft: what is published.
        method: that was chosen.
        comparison: of all methods.
        evidence: what was tried on -> how the chosen method did, on patterns that its fit had not seen.
        facts: ``answers``, ``structures``, ``crystals``: counts; ``solver``: digest of the solver's sources.
    """
    reorders = bool(draft.parameters["reorders"])
    weights = draft.parameters["weights"]
    assert isinstance(weights, dict)  # noqa: S101
    return _TEXT.format(
        name=draft.name,
        description=draft.description,
        order="The cells are put in the order of their probability." if reorders else "Their order is the evidence's.",
        ranges=_ranges(draft.features),
        fingerprint=draft.training.data_fingerprint,
        n_features=len(draft.features),
        method=method,
        estimators=" and ".join(f"{role} (weight {weight:.3g})" for role, weight in weights.items()),
        comparison=comparison_table(comparison),
        evidence=evidence_table(evidence),
        reliability="\n\n".join(_reliability(name, one.most_probable) for name, one in evidence.items()),
        command=draft.training.command,
        seed=draft.training.seed,
        libraries=", ".join(f"{name} {number}" for name, number in draft.training.libraries.items()),
        **facts,
    )


def comparison_table(results: Sequence[Judged]) -> str:
    """Give the methods as a Markdown table, in the order given."""
    head = (
        "| method | log loss | ECE | perfect | Brier | log loss (first) | first right, reordered |\n"
        "|---|---|---|---|---|---|---|"
    )
    rows = (
        f"| {one.method} | {one.answer_loss:.4f} | {one.first.ece:.3f} | {one.first.ece_perfect:.3f} "
        f"| {one.first.brier:.4f} | {one.first.log_loss:.4f} | {100 * one.right_by_probability:.1f} % |"
        for one in results
    )
    return "\n".join([head, *rows])


def evidence_table(evidence: Mapping[str, Judged]) -> str:
    """Give what was found on each set of patterns as a Markdown table."""
    head = (
        "| patterns | n | ECE (95 %) | perfect | Brier (constant) | log loss | spread | p >= 0.95: share, right "
        "| first right: evidence, probability |\n|---|---|---|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(_evidence_row(name, one) for name, one in evidence.items())])


def _evidence_row(name: str, one: Judged) -> str:
    s = one.most_probable
    return (
        f"| {name} | {one.answers} | {s.ece:.3f} ({s.ece_low:.3f}-{s.ece_high:.3f}) | {s.ece_perfect:.3f} "
        f"| {s.brier:.4f} ({s.brier_share:.4f}) | {s.log_loss:.4f} | {s.spread:.3f} "
        f"| {100 * s.sure:.0f} %, {'-' if s.sure_right is None else f'{100 * s.sure_right:.1f} %'} "
        f"| {100 * one.right_by_evidence:.1f} %, {100 * one.right_by_probability:.1f} % |"
    )


def _reliability(name: str, found: Scores) -> str:
    cells = ", ".join(f"{one.probability:.3f}: {one.right:.3f} of {one.count}" for one in found.bins)
    return f"- **{name}** - {cells}"


def _ranges(features: Sequence[Feature]) -> str:
    rows = (f"| {f.name} | {f.min:.4g} | {f.max:.4g} |" for f in features)
    return "\n".join(["| feature | 0.1 % in training | 99.9 % |", "|---|---|---|", *rows])
