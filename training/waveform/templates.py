"""Template matching: two-pulse shapes over separation, width and share, compared with the pulse.

A template is f N(-(1-f) d, s1) + (1-f) N(f d, s2), smeared by the light's way through the gas, centred, with area one
(Sorensen, NIM A 635, 2011, 41: Gaussian diffusion). `s1` follows from the drift time t and `s2` from t + d.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, ndtr

from app.waveform.detector import Detector
from app.waveform.normalise import CENTRED_BINS
from app.waveform.posterior import Posterior
from training.waveform.methods import (
    Answer,
    Labelled,
    Predictor,
    Question,
    answer_from_posterior,
    two_only,
)
from training.waveform.shapes import BIN_US, TIME_US
from training.waveform.simulate import take

STEPS_PER_GAP: Final = 8
"""Points of the integral over the gas gap."""
FLOOR: Final = 1e-6
"""Share of the area in a bin below which templates do not go, so that a stray photon excludes nothing."""
CHUNK: Final = 512


@dataclass(frozen=True)
class Grid:
    """Where templates lie.

    Attributes:
        separations, drifts, shares: how many of each.
        d_max_us: the longest separation.
        share_min, share_max: of the first scatter among the electrons.
    """

    separations: int = 81
    drifts: int = 32
    shares: int = 5
    d_max_us: float = 8.0
    share_min: float = 0.3
    share_max: float = 0.7


@dataclass(frozen=True)
class Library:
    """Templates of one detector.

    Attributes:
        drift_time_us: middles of ranges of drift time whose diffusion widths are equally far apart.
        drift_weight: their share of all drift times.
        d_us: separations; the first is zero, a single scatter.
        shape: share of the area in each bin of `app.waveform.normalise.centred`.
    """

    drift_time_us: Float[np.ndarray, "drift"]
    drift_weight: Float[np.ndarray, "drift"]
    d_us: Float[np.ndarray, "cell"]
    shape: Float[np.ndarray, "drift cell share bin"]


def library(detector: Detector, grid: Grid) -> Library:
    """Compute the templates of a detector."""
    roots = np.linspace(np.sqrt(detector.drift_min_us), np.sqrt(detector.drift_max_us), grid.drifts + 1)
    drift, weight = ((roots[1:] + roots[:-1]) / 2) ** 2, np.diff(roots**2)
    d = np.linspace(0.0, grid.d_max_us, grid.separations)
    first = _middles(grid.share_min, grid.share_max, grid.shares)
    t, sep, f = np.meshgrid(drift, d, first, indexing="ij")
    return Library(drift, weight / weight.sum(), d, templates(detector, t, sep, f))


def templates(
    detector: Detector, drift_us: Float[np.ndarray, "*t"], d_us: Float[np.ndarray, "*t"], f: Float[np.ndarray, "*t"]
) -> Float[np.ndarray, "*t bin"]:
    """Compute templates about their centroids; those of one call have one shape."""
    early = _smeared(-(1 - f) * d_us, detector.diffusion_us(drift_us), detector.gas_gap_us)
    late = _smeared(f * d_us, detector.diffusion_us(drift_us + d_us), detector.gas_gap_us)
    return f[..., None] * early + (1 - f[..., None]) * late


def _smeared(
    mean_us: Float[np.ndarray, "*t"], sigma_us: Float[np.ndarray, "*t"], gap_us: float
) -> Float[np.ndarray, "*t bin"]:
    """Integrate a Gaussian, spread evenly over the gap, over each bin."""
    edges = np.append(TIME_US - BIN_US / 2, TIME_US[-1] + BIN_US / 2)
    offsets = _middles(-gap_us / 2, gap_us / 2, STEPS_PER_GAP)
    shape = np.zeros((*mean_us.shape, CENTRED_BINS))
    for offset in offsets:
        shape += np.diff(ndtr((edges - offset - mean_us[..., None]) / sigma_us[..., None]), axis=-1)
    return shape / STEPS_PER_GAP


def _middles(low: float, high: float, count: int) -> Float[np.ndarray, "count"]:
    return low + (np.arange(count) + 0.5) * (high - low) / count


@dataclass(frozen=True)
class LeastSquares:
    """The template with the least sum of squared differences; between separations, the parabola's minimum."""

    drift: bool
    grid: Grid = Grid()
    learns: bool = False

    @property
    def name(self) -> str:
        return f"template least squares{' + drift time' if self.drift else ''}"

    def fit(self, training: Sequence[Labelled], rng: np.random.Generator) -> Predictor:
        """Learn nothing: templates are computed for the detector that is asked about."""
        return self._answer

    def _answer(self, question: Question) -> Answer:
        found = library(question.detector, self.grid)
        weights = 0.5 * (found.shape**2).sum(axis=-1)

        def misfit(share: Float[np.ndarray, "wave bin"], part: slice) -> Float[np.ndarray, "wave cell"]:
            flat = share @ found.shape[part].reshape(-1, CENTRED_BINS).T
            cost = weights[part] - flat.reshape(len(share), *weights[part].shape)
            return cost.min(axis=(1, 3))

        cost = _over_drifts(question, found, misfit, known=self.drift, join=np.minimum)
        return Answer(_parabola_us(cost, found.d_us))


@dataclass(frozen=True)
class Likelihood:
    """Posterior of separation and number of scatters over the library, from a multinomial likelihood.

    Attributes:
        drift: the drift time is given; else all are equally probable.
    """

    drift: bool
    grid: Grid = Grid()
    calibrated_on: int = 1000
    learns: bool = True

    @property
    def name(self) -> str:
        return f"template likelihood{' + drift time' if self.drift else ''}"

    def fit(self, training: Sequence[Labelled], rng: np.random.Generator) -> Predictor:
        """Fit the weight of an electron in the likelihood.

        Electrons are independent but their light is smeared over the gas gap, so that bins are not: their weight is
        what makes the true separations most probable.
        """
        known = [_first(part, self.calibrated_on // len(training) + 1) for part in two_only(training)]

        def surprise(log_weight: float) -> float:
            rows = [self._posterior(part.question, float(np.exp(log_weight))) for part in known]
            cells = [np.searchsorted(p.edges_us[1:-1], part.truth.d_us) for p, part in zip(rows, known, strict=True)]
            density = [p.density[np.arange(len(c)), c] for p, c in zip(rows, cells, strict=True)]
            return -float(np.mean(np.log(np.concatenate(density) + np.finfo(float).tiny)))

        best: Any = minimize_scalar(surprise, bounds=(-3.0, 3.0), options={"xatol": 0.1})
        weight = float(np.exp(best.x))
        return lambda question: answer_from_posterior(self._posterior(question, weight))

    def _posterior(self, question: Question, weight: float) -> Posterior:
        found = library(question.detector, self.grid)
        log_shape = np.log(np.maximum(found.shape, FLOOR))
        electrons = weight * area_phd(question) / question.detector.phd_per_electron

        def log_likelihood(share: Float[np.ndarray, "wave bin"], part: slice) -> Float[np.ndarray, "wave cell"]:
            flat = share @ log_shape[part].reshape(-1, CENTRED_BINS).T
            scores = flat.reshape(len(share), *log_shape[part].shape[:3])
            scores += np.log(found.drift_weight[part])[:, None, None]
            return np.asarray(logsumexp(scores, axis=(1, 3)))

        scale = electrons[:, None]
        logs = _over_drifts(question, found, log_likelihood, known=self.drift, join=np.logaddexp, scale=scale)
        return _posterior_from_logs(logs, found.d_us)


def area_phd(question: Question) -> Float[np.ndarray, "wave"]:
    """Sum above the median sample, at least one photon."""
    waveforms = question.waveforms
    area = waveforms.sum(axis=1, dtype=float) - np.median(waveforms, axis=1) * waveforms.shape[1]
    return np.maximum(area, 1.0)


Compare = Callable[[Float[np.ndarray, "wave bin"], slice], Float[np.ndarray, "wave cell"]]


def _over_drifts(
    question: Question, found: Library, compare: Compare, *, known: bool, join: Any, scale: Any = 1.0
) -> Float[np.ndarray, "wave cell"]:
    """Compare with the templates of the nearest drift time where it is known, and else with all, joined."""
    share = question.centred.astype(float) / CENTRED_BINS * scale
    nearest = np.abs(np.sqrt(question.drift_time_us[:, None]) - np.sqrt(found.drift_time_us)).argmin(axis=1)
    result = np.zeros((len(share), len(found.d_us)))
    for index in range(len(found.drift_time_us)):
        rows: Bool[np.ndarray, "wave"] | Int[np.ndarray, "wave"] = (
            np.flatnonzero(nearest == index) if known else np.arange(len(share))
        )
        for start in range(0, len(rows), CHUNK):
            some = rows[start : start + CHUNK]
            value = compare(share[some], slice(index, index + 1))
            result[some] = value if known or index == 0 else join(result[some], value)
    return result


def _parabola_us(cost: Float[np.ndarray, "wave cell"], d_us: Float[np.ndarray, "cell"]) -> Float[np.ndarray, "wave"]:
    rows, best = np.arange(len(cost)), cost.argmin(axis=1)
    inner = np.clip(best, 1, len(d_us) - 2)
    low, mid, high = (cost[rows, inner + step] for step in (-1, 0, 1))
    bend = low - 2 * mid + high
    shift = np.where((bend > 0) & (inner == best), 0.5 * (low - high) / np.where(bend > 0, bend, 1.0), best - inner)
    return d_us[inner] + np.clip(shift, -1, 1) * (d_us[1] - d_us[0])


def _posterior_from_logs(logs: Float[np.ndarray, "wave cell"], d_us: Float[np.ndarray, "cell"]) -> Posterior:
    """Turn likelihoods at separations into probabilities of the cells between them (trapezium rule)."""
    likelihood = np.exp(logs - logs.max(axis=1, keepdims=True))
    cells = (likelihood[:, 1:] + likelihood[:, :-1]) / 2
    total = cells.sum(axis=1, keepdims=True)
    two = total[:, 0] / cells.shape[1]
    return Posterior(two / (two + likelihood[:, 0]), d_us, cells / total)


def _first(part: Labelled, count: int) -> Labelled:
    asked, rows = part.question, slice(0, count)
    question = Question(asked.waveforms[rows], asked.detector, asked.drift_time_us[rows])
    return Labelled(question, take(part.truth, rows))
