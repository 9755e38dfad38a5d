"""What is compared when cells are predicted from lines: the trivial predictor, forests and variance networks.

Each gives, for every pattern, a distribution of the scaled targets: a best value, the density at the true cell, the
probability below the true value, and draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax, logsumexp
from scipy.stats import gaussian_kde, norm, t

from app.indexing.learned.regression import ALPHA, BETA, CENTRE, FACTOR, LOG_WEIGHT, MEAN, factors, mixture_draws
from training.indexing.regression import forests
from training.indexing.regression.variance_network import Network, answers, student_nll

LEAST_SIGMA: Final = 1e-3
"""Trees that agree do not make a forest certain; scaled."""
_KDE_POINTS: Final = 1000


@dataclass(frozen=True)
class Forecast:
    """What a predictor says of some patterns whose truth is known; scaled targets.

    Attributes:
        best: the value with the least expected absolute error, shape (pattern, param).
        nll: -ln density of the truth, shape (pattern, param).
        below: probability of less than the truth, shape (pattern, param).
    """

    best: Float[np.ndarray, "pattern param"]
    nll: Float[np.ndarray, "pattern param"]
    below: Float[np.ndarray, "pattern param"]


class Predictor(Protocol):
    """One way to predict."""

    def forecast(
        self, inputs: Float[np.ndarray, "pattern feature"], truth: Float[np.ndarray, "pattern param"]
    ) -> Forecast:
        """Say what is probable, and hold it against the truth."""
        ...

    def draws(
        self, inputs: Float[np.ndarray, "pattern feature"], count: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "pattern draw param"]:
        """Draw cells."""
        ...


@dataclass(frozen=True)
class Marginal:
    """The trivial predictor: the training set's cells, whatever the lines.

    Attributes:
        targets: of the training set, scaled, shape (row, param).
    """

    targets: Float[np.ndarray, "row param"]

    def forecast(
        self, inputs: Float[np.ndarray, "pattern feature"], truth: Float[np.ndarray, "pattern param"]
    ) -> Forecast:
        """Median, density (a kernel estimate for each constant) and distribution of the training set."""
        kept = self.targets[:: max(1, len(self.targets) // _KDE_POINTS)]
        density = [gaussian_kde(column)(values) for column, values in zip(kept.T, truth.T, strict=True)]
        ordered = np.sort(self.targets, axis=0)
        ranks = [np.searchsorted(column, values) for column, values in zip(ordered.T, truth.T, strict=True)]
        best = np.tile(np.median(self.targets, axis=0), (len(truth), 1))
        return Forecast(best, -np.log(np.maximum(np.stack(density, 1), 1e-12)), np.stack(ranks, 1) / len(ordered))

    def draws(
        self, inputs: Float[np.ndarray, "pattern feature"], count: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "pattern draw param"]:
        """Whole cells of the training set."""
        return self.targets[rng.integers(len(self.targets), size=(len(inputs), count))]


@dataclass(frozen=True)
class ByForest:
    """A random forest: normal with the mean and the standard deviation of its trees; draws are trees."""

    forest: Any

    def forecast(
        self, inputs: Float[np.ndarray, "pattern feature"], truth: Float[np.ndarray, "pattern param"]
    ) -> Forecast:
        """See the class."""
        said = forests.by_tree(self.forest, inputs)
        mean, sigma = said.mean(axis=1), np.maximum(said.std(axis=1), LEAST_SIGMA)
        return Forecast(mean, -norm.logpdf(truth, mean, sigma), norm.cdf(truth, mean, sigma))

    def draws(
        self, inputs: Float[np.ndarray, "pattern feature"], count: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "pattern draw param"]:
        """Trees without replacement, as long as there are any."""
        said = forests.by_tree(self.forest, inputs)
        return said[:, np.resize(rng.permutation(said.shape[1]), count)]


@dataclass(frozen=True)
class ByNetwork:
    """A variance network: Student's t, which is what the inverse-gamma variance comes to; draws are normal.

    Attributes:
        network: of all groups of a lattice.
        group: number of the group that is asked.
    """

    network: Network
    group: int = 0

    def forecast(
        self, inputs: Float[np.ndarray, "pattern feature"], truth: Float[np.ndarray, "pattern param"]
    ) -> Forecast:
        """See the class."""
        mean, alpha, beta = self._said(inputs)
        below = t.cdf(truth, 2 * alpha, mean, np.sqrt(beta / alpha))
        return Forecast(mean, student_nll(truth, mean, alpha, beta), below)

    def draws(
        self, inputs: Float[np.ndarray, "pattern feature"], count: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "pattern draw param"]:
        """Normal with the mean variance, as the service draws."""
        mean, alpha, beta = self._said(inputs)
        deviates = rng.standard_normal((len(inputs), count, mean.shape[1]))
        return mean[:, None] + np.sqrt(beta / (alpha - 1.0))[:, None] * deviates

    def _said(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        said = answers(self.network, inputs)
        return said[MEAN][:, self.group], said[ALPHA][:, self.group], said[BETA][:, self.group]


@dataclass(frozen=True)
class ByMixture:
    """A mixture of normal distributions. ``nll`` is that of the whole cell, shared among its constants.

    Attributes:
        network: of all groups of a lattice.
        group: number of the group that is asked.
    """

    network: Network
    group: int = 0

    def forecast(
        self, inputs: Float[np.ndarray, "pattern feature"], truth: Float[np.ndarray, "pattern param"]
    ) -> Forecast:
        """The mean, and each constant's own distribution."""
        log_weight, centre, factor = self._parts(inputs, truth.shape[1])
        off = np.einsum("pkji,pkj->pki", factor, truth[:, None] - centre)
        log_det = np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=-1)
        log_density = log_det - 0.5 * (off**2).sum(axis=-1) - 0.5 * truth.shape[1] * np.log(2 * np.pi)
        nll = -np.asarray(logsumexp(log_weight + log_density, axis=1))
        inverse = np.linalg.inv(factor)
        sigma = np.sqrt((inverse**2).sum(axis=-2))
        weight = np.exp(log_weight)[..., None]
        below = (weight * norm.cdf(truth[:, None], centre, sigma)).sum(axis=1)
        share = np.tile(nll[:, None] / truth.shape[1], (1, truth.shape[1]))
        return Forecast((weight * centre).sum(axis=1), share, below)

    def draws(
        self, inputs: Float[np.ndarray, "pattern feature"], count: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "pattern draw param"]:
        """As the service draws."""
        said = {name: value[:, self.group : self.group + 1] for name, value in answers(self.network, inputs).items()}
        size = said[CENTRE].shape[-1] // said[LOG_WEIGHT].shape[-1]
        rows = [{name: value[row : row + 1] for name, value in said.items()} for row in range(len(inputs))]
        return np.stack([mixture_draws(row, size, count, rng) for row in rows])

    def _parts(self, inputs: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        said = {name: value[:, self.group] for name, value in answers(self.network, inputs).items()}
        count, components = said[LOG_WEIGHT].shape
        entries = said[FACTOR].reshape(count, components, -1)
        centre = said[CENTRE].reshape(count, components, size)
        return log_softmax(said[LOG_WEIGHT], axis=1), centre, factors(entries, size)
