"""The one or two pulses that an S2 is made of: when they come, how large and how wide they are.

A pulse is a Gaussian, the electrons spread by diffusion, convolved with a box, the light that each makes while it
crosses the gas. For a given separation d the mean and the variance of the whole leave one number free, the share f of
the first pulse; least squares against the waveform choose it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from app.waveform.detector import Detector
from app.waveform.features import SAMPLE_US, Pulses

SHARES: Final = np.linspace(0.05, 0.95, 37)
BIN: Final = 20
"""Samples summed for the comparison."""
_BLOCK: Final = 32


@dataclass(frozen=True)
class Parts:
    """The pulses of each waveform; where there is one, the second has no area.

    Attributes:
        number: 0, 1 or 2.
        time_us: middle of each pulse from the begin of the waveform [us]; nan where there is none.
        area: of each pulse [unit of the waveform times us].
        sigma_us: standard deviation of the electrons' arrival [us]; the same for both.
        rms_us: standard deviation of each pulse's light, the gas gap included [us].
    """

    number: Int[np.ndarray, "wave"]
    time_us: Float[np.ndarray, "wave 2"]
    area: Float[np.ndarray, "wave 2"]
    sigma_us: Float[np.ndarray, "wave"]
    rms_us: Float[np.ndarray, "wave"]


def parts(
    pulses: Pulses,
    number: Int[np.ndarray, "wave"],
    separation_us: Float[np.ndarray, "wave"],
    detector: Detector,
    drift_time_us: Float[np.ndarray, "wave"] | None = None,
) -> Parts:
    """Split each waveform into pulses at a known separation.

    Args:
        pulses: what `app.waveform.features.find_pulses` found.
        number: how many pulses, 0 to 2.
        separation_us: distance of the two [us]; where there is one it does not matter.
        detector: gives the gas gap, and the range of the diffusion.
        drift_time_us: gives the diffusion; nan where unknown, and then the waveform's variance does.
    """
    n = len(number)
    mean, variance = _moments(pulses)
    two = number == 2
    d = np.where(two, separation_us, 0.0)
    fixed = None if drift_time_us is None else detector.diffusion_us(np.asarray(drift_time_us, float))
    known = np.zeros(n, bool) if fixed is None else np.isfinite(fixed)
    lowest, highest = detector.diffusion_us(detector.drift_min_us), detector.diffusion_us(detector.drift_max_us)

    def sigma_at(share: Float[np.ndarray, "*wave"], rows: Bool[np.ndarray, "wave"] | slice) -> np.ndarray:
        """What of the variance neither the gap nor the two positions explain, within the detector's range."""
        left = variance[rows, None] - detector.gas_gap_us**2 / 12.0 - share * (1.0 - share) * d[rows, None] ** 2
        free = np.clip(np.sqrt(np.maximum(left, 0.0)), lowest, highest)
        return free if fixed is None else np.where(known[rows, None], np.nan_to_num(fixed[rows, None]), free)

    share = np.ones(n)
    for start in range(0, n, _BLOCK):
        rows = slice(start, start + _BLOCK)
        if two[rows].any():
            errors = _errors(pulses, rows, mean, d, sigma_at(SHARES, rows), detector)
            share[rows] = np.where(two[rows], SHARES[errors.argmin(axis=1)], 1.0)
    sigma = sigma_at(share[:, None], slice(None))[:, 0]
    first = mean - (1.0 - share) * d
    nothing = number == 0
    time = np.stack([np.where(nothing, np.nan, first), np.where(two, first + d, np.nan)], axis=1)
    total = np.where(nothing, 0.0, pulses.area * SAMPLE_US)
    area = total[:, None] * np.stack([share, 1.0 - share], axis=1)
    rms = np.sqrt(sigma**2 + detector.gas_gap_us**2 / 12.0)
    return Parts(number, time, area, np.where(nothing, np.nan, sigma), np.where(nothing, np.nan, rms))


def drawn_parts(
    found: Parts, time_us: Float[np.ndarray, "sample"], detector: Detector
) -> Float[np.ndarray, "wave 2 sample"]:
    """Height of each pulse at given times, in the waveform's unit; zero where there is none."""
    distance = time_us - np.nan_to_num(found.time_us)[:, :, None]
    shape = pulse_shape(distance, np.nan_to_num(found.sigma_us, nan=1.0)[:, None, None], detector.gas_gap_us)
    return shape * found.area[:, :, None]


def pulse_shape(
    time_us: Float[np.ndarray, "*any"], sigma_us: Float[np.ndarray, "*any"] | float, gap_us: float
) -> Float[np.ndarray, "*any"]:
    """A Gaussian convolved with a box, of area one [1/us]: the difference of two normal distributions over the gap."""
    scale = np.sqrt(2.0) * np.asarray(sigma_us)
    return (erf((time_us + gap_us / 2.0) / scale) - erf((time_us - gap_us / 2.0) / scale)) / (2.0 * gap_us)


def erf(x: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """The error function within 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    t = 1.0 / (1.0 + 0.3275911 * np.abs(x))
    polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(x) * (1.0 - polynomial * np.exp(-np.square(x)))


def _moments(pulses: Pulses) -> tuple[Float[np.ndarray, "wave"], Float[np.ndarray, "wave"]]:
    """Mean time [us] and variance [us^2] of the light in the window; 0 and 0 where no pulse was found."""
    position = np.arange(pulses.signal.shape[1]) + 0.5
    inside = (position > pulses.window[:, :1]) & (position < pulses.window[:, 1:])
    kept = np.where(inside, pulses.signal, 0.0)
    area = np.where(pulses.found, pulses.area, 1.0)
    mean = (kept @ position) / area
    variance = (kept @ position**2) / area - mean**2
    return mean * SAMPLE_US, np.maximum(variance, 0.0) * SAMPLE_US**2


def _errors(
    pulses: Pulses,
    rows: slice,
    mean: Float[np.ndarray, "wave"],
    d: Float[np.ndarray, "wave"],
    sigma: Float[np.ndarray, "wave share"],
    detector: Detector,
) -> Float[np.ndarray, "wave share"]:
    """Sum of squares between waveform and pulses, both in bins, for each share of the first pulse."""
    signal = pulses.signal[rows]
    bins = signal.shape[1] // BIN
    observed = signal[:, : bins * BIN].reshape(len(signal), bins, BIN).mean(axis=2)
    width_us = BIN * SAMPLE_US
    centres = (np.arange(bins) + 0.5) * width_us
    first, last = pulses.window[rows, 0].min() // BIN, -(-pulses.window[rows, 1].max() // BIN)
    seen = slice(int(first), max(int(last), int(first) + 1))
    observed, centres = observed[:, seen], centres[seen]
    area = np.where(pulses.found[rows], pulses.area[rows] * SAMPLE_US, 1.0)
    start = mean[rows, None] - (1.0 - SHARES) * d[rows, None]
    scale = sigma[:, :, None]
    one = pulse_shape(centres - start[:, :, None], scale, detector.gas_gap_us)
    two = pulse_shape(centres - (start + d[rows, None])[:, :, None], scale, detector.gas_gap_us)
    expected = SHARES[:, None] * one + (1.0 - SHARES[:, None]) * two
    return ((observed[:, None, :] / area[:, None, None] - expected) ** 2).sum(axis=2)
