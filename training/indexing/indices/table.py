"""The assignment that needs no network: a width, and how often each reflection is seen.

It stands where an `AssignmentNetwork` stands, so that the walk can be asked what it gains from either.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from app.crystallography.lattice import LATTICES
from app.indexing.learned.indices import differences, least_symmetric
from training.indexing.indices.evaluate import fitted_width, seen_shares, width_answer
from training.indexing.indices.networks import read_school
from training.indexing.indices.rows import read_rows


@dataclass(frozen=True)
class SeenTable:
    """See `training.indexing.indices.evaluate.width_answer`; `hkl` and `n_peaks` as in `AssignmentNetwork`.

    Attributes:
        width: relative to q^2.
        none: probability that a line has no reflection.
        seen: how often each reflection is observed where it could be, shape (ref,).
    """

    system: str
    hkl: Int[np.ndarray, "ref 3"]
    n_peaks: int
    width: float
    none: float
    seen: Float[np.ndarray, "ref"]

    @property
    def design(self) -> Float[np.ndarray, "ref param"]:
        """q^2 of a reference reflection is its row times the metric terms."""
        return least_symmetric(self.system).design(self.hkl).astype(float)

    def allowed(self, bravais: str) -> Bool[np.ndarray, "ref"]:
        """Tell which reference reflections the centring of a lattice leaves."""
        return LATTICES[bravais].allowed(self.hkl)

    def probabilities(
        self, bravais: str, x: Float[np.ndarray, "cell param"], q2: Float[np.ndarray, "cell peak"]
    ) -> Float32[np.ndarray, "cell peak ref+1"]:
        """As `AssignmentNetwork.probabilities`."""
        answer = width_answer(self.width, self.none, np.where(self.allowed(bravais), self.seen, np.finfo(float).tiny))
        return answer(differences(x, q2, self.design), q2)


def read_table(folder: Path, level: str) -> SeenTable:
    """Make the table of one level from the patterns of a run, whose networks it is to be compared with."""
    school = read_school(folder, *read_rows(folder))
    lesson = school.lesson(level)
    width, none = fitted_width(lesson)
    n_peaks = school.training.q2.shape[1]
    return SeenTable(school.args.system, school.hkl, n_peaks, width, none, seen_shares(lesson))
