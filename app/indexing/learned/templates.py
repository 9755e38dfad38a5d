"""Which of the listed low-order assignments are probable for these lines: a network says so before any is solved.

The list of `app.indexing.search.low_order` is best first on average over all patterns. For one pattern the score of a
row is what the network gives to each of its pairs (this line is that reflection), summed, and the logarithm of what the
row's place in the list is worth: one look-up for each pair, a hundred times cheaper than to solve and screen the row.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from app.crystallography.lattice import LATTICES
from app.errors import ModelRefused
from app.indexing.compiled import compiled
from app.indexing.learned.template_features import N_FEATURES, N_LINES, template_features
from app.indexing.search.low_order import assignments_of, worth_of
from app.indexing.search.observed import Observed
from app.model_registry.loading import LoadedModel
from app.model_registry.runtime import Network

NAME: Final = "indexing-templates"
FAMILY: Final = "indexing/low-order"
INPUT: Final = "lines"
_BINS: Final = 4096
_KEPT: Final = 4
"""Answers of the network that are remembered: one pattern is asked about once for each lattice."""


class Pairs(NamedTuple):
    """The rows of a lattice's list as numbers of pairs (line, reflection).

    Attributes:
        line, ref: of each pair, shape (pair,).
        rows: shape (param, assignment): ascending in memory along the assignments.
        prior: logarithm of the worth of each row beforehand, shape (assignment,).
    """

    line: Int[np.ndarray, "pair"]
    ref: Int[np.ndarray, "pair"]
    rows: Int[np.ndarray, "param assignment"]
    prior: Float[np.ndarray, "assignment"]


@cache
def pairs_of(bravais: str) -> Pairs:
    """Number the pairs that occur in the list of a lattice."""
    table = assignments_of(bravais)
    n_refs = len(table.design)
    used, rows = np.unique(table.lines * n_refs + table.refs, return_inverse=True)
    rows = np.ascontiguousarray(rows.reshape(table.lines.shape).T, dtype=np.uint16)
    prior = worth_of(slice(0, rows.shape[1]))
    return Pairs(used // n_refs, used % n_refs, rows, prior.astype(np.float32))


@cache
def lists_digest() -> str:
    """Tell one set of lists from another."""
    digest = hashlib.sha256()
    for bravais in LATTICES:
        table = assignments_of(bravais)
        for values in (table.lines, table.refs, table.design):
            digest.update(np.ascontiguousarray(values, dtype=np.int16).tobytes())
    return digest.hexdigest()


@compiled
def add_up(
    value: Float[np.ndarray, "pair"],
    rows: Int[np.ndarray, "param assignment"],
    prior: Float[np.ndarray, "assignment"],
    score: Float[np.ndarray, "assignment"],
) -> None:
    """Write the score of each row: its prior and the values of its pairs."""
    for row in range(rows.shape[1]):
        total = prior[row]
        for p in range(rows.shape[0]):
            total += value[rows[p, row]]
        score[row] = total


@compiled
def highest(score: Float[np.ndarray, "assignment"], count: int, rows: Int[np.ndarray, "assignment"]) -> int:
    """Write the rows of at least the ``count`` highest scores, in the order of the list; give their number.

    Scores are counted in `_BINS` equal bins from the top, which is several times faster than a partition; the last bin
    that is needed is taken whole.
    """
    top, bottom = score.max(), score.min()
    scale = (_BINS - 1) / max(top - bottom, np.float32(1e-6))
    counts = np.zeros(_BINS, np.int64)
    for row in range(score.shape[0]):
        counts[int((top - score[row]) * scale)] += 1
    last, total = 0, counts[0]
    while total < count and last < _BINS - 1:
        last += 1
        total += counts[last]
    found = 0
    for row in range(score.shape[0]):
        if int((top - score[row]) * scale) <= last:
            rows[found] = row
            found += 1
    return found


@dataclass(frozen=True)
class TemplateScores:
    """Scores the rows of the lists for one pattern; may be used from several threads.

    Attributes:
        network: {`INPUT`: features} to {lattice: values of its pairs, in the order of `Pairs`}.
        lattices: those that it knows.
    """

    network: Network
    lattices: frozenset[str]
    _answers: dict[bytes, dict[str, np.ndarray]] = field(default_factory=dict, repr=False, compare=False)

    def scores(self, bravais: str, observed: Observed) -> Float[np.ndarray, "assignment"]:
        """Score every row of a lattice's list: the logarithm of its worth, up to a constant."""
        pairs = pairs_of(bravais)
        score = np.empty(pairs.rows.shape[1], np.float32)
        add_up(self._values(observed)[bravais][0], pairs.rows, pairs.prior, score)
        return score

    def ranked(
        self, bravais: str, observed: Observed, last: int
    ) -> tuple[Int[np.ndarray, "some"], Float[np.ndarray, "some"]]:
        """Give the ``last`` rows of highest score, best first, and their scores."""
        score = self.scores(bravais, observed)
        rows = np.empty(len(score), np.int64)
        rows = rows[: highest(score, last, rows)]
        rows = rows[np.argsort(-score[rows], kind="stable")[:last]]
        return rows, score[rows]

    def _values(self, observed: Observed) -> dict[str, np.ndarray]:
        key = observed.q2[:N_LINES].tobytes() + observed.per_degree[:N_LINES].tobytes()
        found = self._answers.get(key)
        if found is None:
            found = self.network({INPUT: template_features(observed.q2[None], observed.per_degree[None])})
            if len(self._answers) >= _KEPT:
                self._answers.clear()
            self._answers[key] = found
        return found


def from_model(model: LoadedModel) -> TemplateScores:
    """Take the scores from a published network.

    Raises:
        ModelRefused: it was made for other features or other lists.
    """
    found = {spec.name: spec.shape[-1] for spec in (*model.manifest.inputs, *model.manifest.outputs)}
    lattices = frozenset(found) - {INPUT}
    wanted = {INPUT: N_FEATURES} | {name: len(pairs_of(name).line) for name in lattices & frozenset(LATTICES)}
    if found != wanted or model.parameters.get("lists_sha256") != lists_digest():
        raise ModelRefused(
            f"{model.name}: the network was trained for other lists of assignments or other features than this "
            "version's; train and publish it again (docs/training-indexing-templates.md)."
        )
    return TemplateScores(model.run, lattices)
