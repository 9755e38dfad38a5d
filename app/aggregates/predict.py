"""How many particles an aggregate has, with its probability, or why that is not said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from app.aggregates.intake import LEAST_MEASURED, Prepared
from app.aggregates.measurement import Note
from app.aggregates.models import AggregateModel, Classification
from app.aggregates.setting import COUNTS
from app.errors import ModelOutputInvalid

BLOCK: Final = 64
"""Patterns given to the model at once, which bounds the memory of its features."""
LEAST_PHOTONS: Final = 100.0
"""With fewer photons nothing is said, whatever the model thinks of an empty picture."""


@dataclass(frozen=True)
class Answer:
    """What is said of one pattern.

    Attributes:
        probability: of 1, 2, 3, 4, 5 particles; given also where nothing is said, to be looked at and not believed.
        unlike: probability that the pattern does not fit what is declared, 0 to 1.
        seen_radius_px: radius that the pattern itself speaks of [object pixels of the grid].
        reasons: why nothing is said; empty where something is.
        notes: what there is to know of the way from the image to the model.
        photons: on the grid.
        measured: share of the grid that measures.
    """

    probability: tuple[float, ...]
    unlike: float
    seen_radius_px: float
    reasons: tuple[str, ...]
    notes: tuple[Note, ...]
    photons: float
    measured: float

    @property
    def abstained(self) -> bool:
        return bool(self.reasons)

    @property
    def most_probable(self) -> int:
        return COUNTS[int(np.argmax(self.probability))]

    @property
    def count(self) -> int | None:
        """Number of particles; None where nothing is said."""
        return None if self.abstained else self.most_probable


def predict(prepared: Prepared, model: AggregateModel) -> list[Answer]:
    """Answer for each pattern; none depends on its neighbours.

    Raises:
        ModelOutputInvalid: the model gave something that is no probability.
    """
    answers: list[Answer] = []
    for start in range(0, len(prepared), BLOCK):
        rows = slice(start, start + BLOCK)
        found = model.classify(
            prepared.patterns[rows], prepared.mask[rows], prepared.centre_px[rows], prepared.settings[rows]
        )
        _check(found)
        answers += [_answer(prepared, start + i, found, i) for i in range(len(found.probability))]
    return answers


def _check(found: Classification) -> None:
    probability = np.asarray(found.probability)
    others = np.stack([found.unlike, found.radius_px])
    sound = (
        np.isfinite(others).all()
        and probability.ndim == 2
        and probability.shape[1] == len(COUNTS)
        and np.isfinite(probability).all()
    )
    if not sound or (probability < 0).any() or (np.abs(probability.sum(axis=1) - 1) > 1e-3).any():
        raise ModelOutputInvalid(
            "the model's probabilities are not five numbers of 0 or more with the sum 1, or it says NaN"
        )


def _answer(prepared: Prepared, number: int, found: Classification, row: int) -> Answer:
    measured = float(prepared.mask[number].mean())
    total = float(prepared.patterns[number].sum(dtype=float))
    probability = np.asarray(found.probability[row], float)
    return Answer(
        probability=tuple((probability / probability.sum()).tolist()),
        unlike=float(found.unlike[row]),
        seen_radius_px=float(found.radius_px[row]),
        reasons=(*_empty(measured, total), *(found.reasons[row] if found.abstain[row] else ())),
        notes=prepared.notes[number],
        photons=total,
        measured=measured,
    )


def _empty(measured: float, photons: float) -> tuple[str, ...]:
    reasons = []
    if measured < LEAST_MEASURED:
        reasons.append(f"only {100 * measured:.0f} % of the grid around the beam measures")
    if photons < LEAST_PHOTONS:
        reasons.append(f"the pattern has {photons:.0f} photons, which is next to nothing")
    return tuple(reasons)
