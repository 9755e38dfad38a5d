"""Nineteen numbers about a pulse's shape, and what the drift time adds to them: what boosted trees look at."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float

from app.waveform.normalise import CENTRED_BIN_SAMPLES, CENTRED_BINS
from training.waveform.methods import Question
from training.waveform.settings import SAMPLE_US

BIN_US: Final = CENTRED_BIN_SAMPLES * SAMPLE_US
TIME_US: Final = (np.arange(CENTRED_BINS) + 0.5 - CENTRED_BINS / 2) * BIN_US
"""Middles of the bins of `centred`, from the centroid."""
TAILS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4)
"""Shares of the area left out on both sides of a quantile width."""
ASYMMETRIES: Final = (0.05, 0.1, 0.25)
MOMENTS: Final = (3, 4, 5, 6)
SMOOTHING: Final = 5
"""Bins averaged before the peak is looked for."""
CORE_US: Final = 0.5
SHAPE_FEATURES: Final = (
    "rms_us",
    *(f"moment_{order}" for order in MOMENTS),
    *(f"width_{1 - 2 * tail:.0%}_us" for tail in TAILS),
    *(f"asymmetry_{tail:g}" for tail in ASYMMETRIES),
    "peak_per_us",
    "half_width_us",
    "core_share",
    "log10_area_phd",
)
DRIFT_FEATURES: Final = ("drift_time_us", "diffusion_us", "excess_us2")


def shape_features(question: Question) -> Float[np.ndarray, "wave feature"]:
    """Give the columns of `SHAPE_FEATURES`; a waveform without a pulse gives zeros."""
    share = question.centred.astype(float) / CENTRED_BINS
    rms = rms_us(question)
    scaled = TIME_US / np.where(rms > 0, rms, 1.0)[:, None]
    moments = [(share * scaled**order).sum(axis=1) for order in MOMENTS]
    at = {level: _quantile_us(share, level) for tail in TAILS + ASYMMETRIES for level in (tail, 0.5, 1 - tail)}
    widths = [at[1 - tail] - at[tail] for tail in TAILS]
    lopsided = [at[1 - tail] + at[tail] - 2 * at[0.5] for tail in ASYMMETRIES]
    return np.stack([rms, *moments, *widths, *lopsided, *_peak(share), _core(share), _log_area(question)], axis=1)


def rms_us(question: Question) -> Float[np.ndarray, "wave"]:
    """Give the root mean square width about the centroid, as far as noise leaves the variance positive."""
    share = question.centred.astype(float) / CENTRED_BINS
    mean = share @ TIME_US
    return np.sqrt(np.maximum(share @ TIME_US**2 - mean**2, 0.0))


def excess_us2(question: Question) -> Float[np.ndarray, "wave"]:
    """Give the variance that neither the gas gap nor the diffusion over the known drift explains; may be negative.

    With shares f and 1 - f it is f (1 - f) d^2 on average (and a little more: the later scatter drifts longer).
    """
    explained = question.detector.gas_gap_us**2 / 12 + question.detector.diffusion_us(question.drift_time_us) ** 2
    return rms_us(question) ** 2 - explained


def drift_features(question: Question) -> Float[np.ndarray, "wave feature"]:
    """Give the columns of `DRIFT_FEATURES`."""
    diffusion = question.detector.diffusion_us(question.drift_time_us)
    return np.stack([question.drift_time_us, diffusion, excess_us2(question)], axis=1)


def _quantile_us(share: Float[np.ndarray, "wave bin"], level: float) -> Float[np.ndarray, "wave"]:
    """Time below which a share of the area lies, linear within a bin."""
    # The running maximum: noise must not let the sum fall.
    below = np.maximum.accumulate(np.cumsum(share, axis=1), axis=1)
    bin_ = np.minimum((below >= level).argmax(axis=1), share.shape[1] - 1)
    rows = np.arange(len(share))
    before = np.where(bin_ > 0, below[rows, bin_ - 1], 0.0)
    step = below[rows, bin_] - before
    within = np.where(step > 0, (level - before) / np.where(step > 0, step, 1.0), 0.5)
    return TIME_US[bin_] + (np.clip(within, 0.0, 1.0) - 0.5) * BIN_US


def _peak(share: Float[np.ndarray, "wave bin"]) -> tuple[Float[np.ndarray, "wave"], Float[np.ndarray, "wave"]]:
    """Height of the smoothed pulse [1/us], and for how long it is above half of that [us]."""
    summed = np.cumsum(np.pad(share, [(0, 0), (1 + SMOOTHING // 2, SMOOTHING // 2)]), axis=1)
    smooth = (summed[:, SMOOTHING:] - summed[:, :-SMOOTHING]) / (SMOOTHING * BIN_US)
    height = smooth.max(axis=1)
    return height, ((smooth > height[:, None] / 2) & (height[:, None] > 0)).sum(axis=1) * BIN_US


def _core(share: Float[np.ndarray, "wave bin"]) -> Float[np.ndarray, "wave"]:
    return share[:, np.abs(TIME_US) < CORE_US].sum(axis=1)


def _log_area(question: Question) -> Float[np.ndarray, "wave"]:
    """Decimal logarithm of the area above the median sample, at least of one photon."""
    waveforms = question.waveforms
    area = waveforms.sum(axis=1, dtype=float) - np.median(waveforms, axis=1) * waveforms.shape[1]
    return np.log10(np.maximum(area, 1.0))
