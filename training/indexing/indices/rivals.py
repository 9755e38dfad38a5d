"""What the index networks are held against besides the nearest reflection: the trivial predictor and a forest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from jaxtyping import Float
from sklearn.ensemble import RandomForestClassifier

from app.indexing.learned.indices import closeness, differences
from training.indexing.indices.networks import Lesson

Answer = Callable[[Float[np.ndarray, "cell peak ref"], Float[np.ndarray, "cell peak"]], np.ndarray]
"""From observed minus reference q^2, and q^2, to the probability of each class: (cell, peak, ref + 1)."""
TREES: Final = 80
SHARE: Final = 0.1
LEAF: Final = 3
MOST_PATTERNS: Final = 2000
_LEAST: Final = 1e-4


def commonest_answer(lesson: Lesson) -> Answer:
    """How often each class is that of each line, first to last, in the training patterns: whatever the cell."""
    n_peaks, n_classes = lesson.target.shape[1], len(lesson.design) + 1
    share = np.full((n_peaks, n_classes), _LEAST)
    for peak in range(n_peaks):
        share[peak] += np.bincount(lesson.target[lesson.rows.real[:, peak], peak], minlength=n_classes)
    share /= share.sum(axis=1, keepdims=True)
    return lambda difference, _: np.broadcast_to(share, (len(difference), *share.shape))


def forest_answer(lesson: Lesson, *, seed: int = 1) -> Answer:
    """A forest that sees what the network sees of a line, and which line it is.

    Its trees are those of the regression forests: 80, each of a tenth of the lines of `MOST_PATTERNS` patterns.
    """
    rng = np.random.default_rng([seed, 12])
    chosen = rng.permutation(len(lesson.rows))[:MOST_PATTERNS]
    x, q2 = lesson.seen(chosen, rng)
    real = lesson.rows.real[chosen]
    grown = RandomForestClassifier(TREES, min_samples_leaf=LEAF, max_samples=SHARE, random_state=seed)
    grown.fit(_columns(differences(x, q2, lesson.design), lesson.epsilon)[real], lesson.target[chosen][real])

    def answer(difference: Float[np.ndarray, "cell peak ref"], q2: Float[np.ndarray, "cell peak"]) -> np.ndarray:
        found = np.full((q2.size, difference.shape[2] + 1), _LEAST)
        columns = _columns(difference, lesson.epsilon)
        found[:, grown.classes_] += grown.predict_proba(columns.reshape(q2.size, -1))
        return (found / found.sum(axis=1, keepdims=True)).reshape(*q2.shape, -1)

    return answer


def _columns(difference: Float[np.ndarray, "cell peak ref"], epsilon: float) -> Float[np.ndarray, "cell peak column"]:
    """Closeness to each reference reflection, and the number of the line."""
    number = np.broadcast_to(np.arange(difference.shape[1], dtype=np.float32), difference.shape[:2])[..., None]
    return np.concatenate([closeness(difference, epsilon), number], axis=2, dtype=np.float32)
