"""What a model says of an S2: how probable a second scatter is, and how far apart the two are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Posterior:
    """One row for each waveform.

    Attributes:
        p_two: probability that the pulse has two scatters, where one and two are equally probable beforehand.
        edges_us: edges of the cells of separation [us].
        density: probability of each cell given that there are two; rows sum to one.
    """

    p_two: Float[np.ndarray, "wave"]
    edges_us: Float[np.ndarray, "cell+1"]
    density: Float[np.ndarray, "wave cell"]

    @cached_property
    def mean_us(self) -> Float[np.ndarray, "wave"]:
        return self.density @ self._centres

    @property
    def sigma_us(self) -> Float[np.ndarray, "wave"]:
        """Standard deviation; never below that of a uniform distribution within one cell."""
        within = (self.edges_us[1:] - self.edges_us[:-1]) ** 2 / 12.0
        second = self.density @ (self._centres**2 + within)
        return np.sqrt(np.maximum(second - self.mean_us**2, within.min()))

    def quantile_us(self, level: float) -> Float[np.ndarray, "wave"]:
        """Separation below which the probability is ``level``, linear within a cell."""
        return self.quantiles_us([level])[:, 0]

    def quantiles_us(self, levels: Sequence[float]) -> Float[np.ndarray, "wave level"]:
        """The same for several levels at once."""
        cumulative = np.zeros((len(self.density), len(self.edges_us)))
        np.add.accumulate(self.density, axis=1, out=cumulative[:, 1:])
        at = np.array(levels)
        return np.array([np.interp(at * row[-1], row, self.edges_us) for row in cumulative])

    def with_prior(self, two: float) -> Posterior:
        """The same for another probability of two scatters beforehand (Bayes)."""
        odds_two, odds_one = self.p_two * two, (1.0 - self.p_two) * (1.0 - two)
        return Posterior(odds_two / (odds_two + odds_one), self.edges_us, self.density)

    @cached_property
    def _centres(self) -> Float[np.ndarray, "cell"]:
        return (self.edges_us[1:] + self.edges_us[:-1]) / 2.0
