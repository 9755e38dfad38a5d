"""The model card of a count network: the checklist of Artrith et al., Nature Chemistry 13 (2021) 505."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from app.aggregates.models import rules_from_json
from app.aggregates.setting import TRANSFORM_PX
from app.model_registry.manifest import Feature, ModelDraft
from training.aggregates.cases import CASES
from training.aggregates.evaluate import Result, case_table, markdown
from training.aggregates.settings import TRAINING

_TEXT: Final = """\
# {name}

{description}

## Use
Give photon counts around the beam, the particle's radius, its kind and the beam stop; mask and beam centre where they
are known. The answer is a probability for each number from 1 to 5, or an abstention with its reason. It abstains
outside {radius_low:g} to {radius_high:g} px of radius, where the beam stop hides more than q r = {stop:.2f} cycles
({stop_px:.0f} px at a radius of 5), where the pattern does not fit what is declared (probability above {unlike:.2f}),
and where its best number has a probability below {least:.2f}.

What it sees besides the pattern, and how far that reached in training:

{ranges}

## 1. Data sources
{images:,} simulated patterns, none measured: 1 to 5 equal discs that touch or overlap, and hard spheres in space; far
field, Poisson noise, background, full well, beam stop, gaps, bad pixels, jitter of the beam. Each block of patterns has
a simulation of its own; in {misdeclared:.0%} of the blocks something is declared wrongly or the object is no aggregate.
Constants and units with their sources: `docs/aggregates-simulation.md`. Fingerprint of the training set (SHA-256):
`{fingerprint}`. Bias: **it has never seen a measured pattern**. Aggregates grow by random attachment; real ones are
shaped by their solvent, and neither their number nor their overlap is as evenly spread.

## 2. Data cleaning
Nothing is removed: what is drawn is used. Pixels that do not measure are left out by mask.

## 3. Data representation
Friedel mates are averaged; momentum is s = q r and distance d / r, so that a particle's rings fall on the same points
whatever its radius; beside the counts stand the structure factor, the autocorrelation, and ring profiles
(`app/aggregates/features.py`, the same function in training and service). Compared below with total intensity, ring
profiles and autocorrelation in pixels and in q r and d / r, and with convolutions on log counts.

## 4. Model choice
Five convolutions, with ring profiles and numbers beside them; {hidden} hidden units; three heads: number, verdict on
what is declared, true over declared radius. Asked about a pattern and its mirror images. Baselines: largest class,
total intensity, nearest neighbours and gradient boosting on rings, the published two-convolution classifier and a
strided one.

## 5. Training and validation
{before}{epochs} epochs of {images:,} patterns; temperature ({temperature:.2f}) and abstention are set on
{validation:,} others; the tests below use patterns of seeds that neither saw. Other methods are trained on the very
setting that is tested, this model on all of them together: that favours the others. `answered` is the share without
abstention. ECE is the expected calibration error in 15 bins. Settings named `told` or `untold` are declared wrongly on
purpose.

{evidence}

### Unlike the reference
Accuracy; for this model also what it answers and how accurate these answers are. The others were trained on
`reference-r5`.

{shifts}

## 6. Code and reproducibility
`python -m training.aggregates count-network` (seed {seed}), `evaluate`, then `{command}`. The same seed gives the same
patterns and, on one machine, nearly the same weights. Libraries: {libraries}.
"""


def text(draft: ModelDraft, results: Sequence[Result], before: Sequence[Mapping[str, Any]] = ()) -> str:
    """Give the text of ``CARD.md``.

    Args:
        draft: with features, parameters and training filled in.
        results: of this model and of what it is compared with.
        before: arguments of the runs that it was trained in before, the first one first.
    """
    rules, told = rules_from_json(draft.parameters), _mapping(draft.parameters["arguments"])
    return _TEXT.format(
        name=draft.name,
        description=draft.description,
        radius_low=rules.radius_px[0],
        radius_high=rules.radius_px[1],
        stop=rules.stop[1],
        stop_px=rules.stop[1] * TRANSFORM_PX / 5.0,
        unlike=rules.most_unlike,
        least=rules.least_probability,
        temperature=rules.temperature,
        ranges=_ranges(draft.features),
        images=told["images"],
        before="".join(_earlier(each) for each in before),
        validation=told["validation_images"],
        epochs=told["epochs"],
        hidden=told["hidden"],
        misdeclared=told["school"]["misdeclared"],
        fingerprint=draft.training.data_fingerprint,
        evidence="\n\n".join(_evidence(case, results) for case in TRAINING if any(r.case == case for r in results)),
        shifts=_shifts(draft.name, results),
        seed=draft.training.seed,
        command=draft.training.command,
        libraries=", ".join(f"{name} {number}" for name, number in draft.training.libraries.items()),
    )


def _earlier(told: Mapping[str, Any]) -> str:
    return f"First {told['epochs']} epochs of {told['images']:,} other patterns (seed {told['seed']}), then a review:\n"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value


def _evidence(case: str, results: Iterable[Result]) -> str:
    return f"### {case}\n\n{case_table(r for r in results if r.case == case)}"


def _shifts(model: str, results: Sequence[Result]) -> str:
    others = list(dict.fromkeys(r.method for r in results if r.case not in TRAINING and r.method != model))
    by = {(r.method, r.case): r.scores for r in results}
    body = [
        [
            case,
            f"{own.accuracy:.3f}",
            f"{own.answered:.3f}",
            "-" if own.accuracy_answered is None else f"{own.accuracy_answered:.3f}",
            *(f"{by[other, case].accuracy:.3f}" if (other, case) in by else "" for other in others),
        ]
        for case in CASES
        if case not in TRAINING and (own := by.get((model, case))) is not None
    ]
    return markdown(["setting", "accuracy", "answered", "accuracy of these", *others], body)


def _ranges(features: Sequence[Feature]) -> str:
    rows = ([f.name, f.unit, f"{f.min:.4g}", f"{f.max:.4g}"] for f in features)
    return markdown(["input", "unit", "smallest in training", "largest"], rows)
