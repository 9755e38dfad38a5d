"""How well indices are assigned: networks beside the nearest reflection and beside a fitted width.

Asked about patterns that were not trained on, with the cells' errors of each level drawn once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from app.crystallography import metric
from app.indexing.learned.indices import (
    INPUT,
    OUTPUT,
    closeness,
    differences,
    least_symmetric,
    probabilities_from_logits,
)
from app.indexing.learned.plain_network import PlainNetwork
from training.indexing.indices.networks import Lesson, School, finished_levels, read_plain, spoilt
from training.indexing.indices.rivals import Answer, commonest_answer, forest_answer
from training.indexing.indices.rows import IndexRows

BINS: Final = 10
"""Of the reliability diagram."""
WIDTHS: Final = tuple(np.geomspace(0.002, 0.5, 24).tolist())
"""Of the width baseline, relative to the line's q^2."""
_CHUNK: Final = 128
_LEAST: Final = 1e-12


@dataclass(frozen=True)
class Scores:
    """How one method assigns indices.

    Attributes:
        accuracy: share of the lines with a reference reflection whose most probable class it is.
        log_loss: mean negative logarithm of the probability of the true class, impurities included.
        calibration_error: mean distance between the probability of the most probable class and how often it is right,
            over bins of the probability, weighed by their lines.
        reliability: (mean probability, share right, share of the lines) of each bin that holds lines.
        lines: that were asked about.
    """

    accuracy: float
    log_loss: float
    calibration_error: float
    reliability: tuple[tuple[float, float, float], ...]
    lines: int


def network_answer(network: PlainNetwork, epsilon: float) -> Answer:
    """The softmax of a network."""
    return lambda difference, q2: probabilities_from_logits(network({INPUT: closeness(difference, epsilon)})[OUTPUT])


def nearest_answer(difference: Float[np.ndarray, "cell peak ref"], q2: Float[np.ndarray, "cell peak"]) -> np.ndarray:
    """All on the nearest reference reflection."""
    found = np.zeros((*difference.shape[:2], difference.shape[2] + 1))
    np.put_along_axis(found, np.abs(difference).argmin(axis=2)[:, :, None], 1.0, axis=2)
    return found


def width_answer(width: float, none: float, seen: Float[np.ndarray, "ref"] | float = 1.0) -> Answer:
    """Proportional to seen * exp(-|difference| / (width q^2)), and ``none`` for no reflection: no network.

    ``seen`` is how often each reflection is observed where it could be, see `seen_shares`.
    """
    prior = np.log(np.asarray(seen)).astype(np.float32)

    def answer(difference: Float[np.ndarray, "cell peak ref"], q2: Float[np.ndarray, "cell peak"]) -> np.ndarray:
        scale = (width * np.maximum(q2, _LEAST)).astype(np.float32)[:, :, None]
        found = (1.0 - none) * probabilities_from_logits(prior - np.abs(difference) / scale)
        return np.concatenate([found, np.full((*found.shape[:2], 1), none, found.dtype)], axis=2)

    return answer


def fitted_width(lesson: Lesson, n_patterns: int = 300) -> tuple[float, float]:
    """Find the width with the least log loss on some of the training patterns, and the share of impurities there."""
    few = np.arange(min(n_patterns, len(lesson.rows)))
    real = lesson.rows.real[few]
    none = float(np.clip((lesson.target[few] == len(lesson.design))[real].mean(), 1e-3, 0.5))
    losses = [scores(lesson, width_answer(width, none), few).log_loss for width in WIDTHS]
    return WIDTHS[int(np.argmin(losses))], none


def seen_shares(lesson: Lesson) -> Float[np.ndarray, "ref"]:
    """Give the share of the training patterns that show each reflection, of those whose lines reach over it.

    Systematic absences, weak and overlapped lines in one number; one pattern of each kind is added, so that none is 0.
    """
    lattice = least_symmetric(lesson.args.system)
    calculated = metric.x_from_constants(lattice, lesson.rows.constants) @ lesson.design.T
    q2 = lesson.rows.q2
    possible = (calculated >= q2[:, :1]) & (calculated <= q2.max(axis=1, keepdims=True))
    shown = np.bincount(lesson.target[lesson.rows.real], minlength=len(lesson.design) + 1)[:-1]
    return (shown + 1.0) / (np.maximum(possible.sum(axis=0), shown) + 2.0)


def compared(
    school: School, folder: Path, held: IndexRows, levels: tuple[str, ...] = (), *, forest: bool = False
) -> dict[tuple[str, str], Scores]:
    """Score all methods at the finished levels of a run on patterns without impurities, which are added here.

    Args:
        school: of the run.
        folder: of the run.
        held: patterns to ask about.
        levels: those to score; all finished ones without any.
        forest: grow a random forest as well, which takes half a minute a level.
    """
    asked = replace(school, validation=spoilt(held, school.args))
    found: dict[tuple[str, str], Scores] = {}
    for level in levels or finished_levels(folder):
        lesson = asked.lesson(level, validation=True)
        network, _, _, epsilon = read_plain(folder / f"{level}.npz")
        learned = school.lesson(level)
        width, seen = fitted_width(learned), seen_shares(learned)
        found[level, "commonest"] = scores(lesson, commonest_answer(learned))
        found[level, "nearest"] = scores(lesson, nearest_answer)
        found[level, f"width {width[0]:.3f}"] = scores(lesson, width_answer(*width))
        found[level, "width, and how often it is seen"] = scores(lesson, width_answer(*width, seen))
        if forest:
            found[level, "forest"] = scores(lesson, forest_answer(learned))
        found[level, "network"] = scores(lesson, network_answer(network, epsilon))
    return found


def scores(lesson: Lesson, answer: Answer, chosen: Int[np.ndarray, "row"] | None = None, seed: int = 7) -> Scores:
    """Ask a method about a lesson's patterns, or about some of them."""
    rows = np.arange(len(lesson.rows)) if chosen is None else chosen
    parts = list(_asked(lesson, answer, rows, seed))
    probability, of_truth, right, none = (np.concatenate(column) for column in zip(*parts, strict=True))
    reliability = _reliability(probability, right)
    return Scores(
        accuracy=float(right[~none].mean()),
        log_loss=float(-np.log(np.maximum(of_truth, _LEAST)).mean()),
        calibration_error=float(sum(share * abs(mean - hit) for mean, hit, share in reliability)),
        reliability=reliability,
        lines=int(right.size),
    )


def _asked(
    lesson: Lesson, answer: Answer, rows: Int[np.ndarray, "row"], seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Of each line: the greatest probability, the true class's, whether they are one, whether the truth is none."""
    rng = np.random.default_rng(seed)
    for first in range(0, len(rows), _CHUNK):
        part = rows[first : first + _CHUNK]
        x, q2 = lesson.seen(part, rng)
        found = answer(differences(x, q2, lesson.design), q2)
        target, real = lesson.target[part], lesson.rows.real[part]
        of_truth = np.take_along_axis(found, target[:, :, None], axis=2)[:, :, 0]
        right = found.argmax(axis=2) == target
        yield found.max(axis=2)[real], of_truth[real], right[real], (target == len(lesson.design))[real]


def _reliability(
    probability: Float[np.ndarray, "line"], right: Bool[np.ndarray, "line"]
) -> tuple[tuple[float, float, float], ...]:
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    return tuple(
        (float(probability[bins == b].mean()), float(right[bins == b].mean()), float((bins == b).mean()))
        for b in range(BINS)
        if (bins == b).any()
    )
