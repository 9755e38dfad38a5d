"""Where lines stand out of the noise: a matched filter that no straight background passes, at several widths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import correlate1d, gaussian_filter1d, maximum_filter1d
from scipy.signal import find_peaks, oaconvolve, peak_widths

HALF_WINDOW: Final = 1.25
"""Half the filter's length in full widths: further, neighbours disturb; nearer, the background is not known."""
STEP_OF_WIDTHS: Final = 1.2
MIN_FWHM_POINTS: Final = 2.0
SMOOTHINGS: Final = (0.8, 1.5, 3.0, 6.0, 12.0, 24.0)
PROMINENT: Final = 8.0
ENOUGH: Final = 6
_FOURTH: Final = np.array([1.0, -4.0, 6.0, -4.0, 1.0])
_FOURTH_GAIN: Final = float(_FOURTH @ _FOURTH)
_MAD: Final = 1.4826
_NOTABLE: Final = 1.25
_QUIET: Final = 0.8
"""How wide the quietest tenth of pure noise is."""
PROMINENCE_STEPS: Final = 10**8
"""Maxima of one height are each held against all between their neighbours: as many steps as are taken at most."""
DIRECT_STEPS: Final = 2**24
"""Longer convolutions go by Fourier transforms; laboratory patterns never do."""
_MAD_SQUARE: Final = 0.4549
"""Median of chi^2 with one degree of freedom."""


@dataclass(frozen=True)
class Noise:
    """Standard deviation of each point, shape (point,); data per count where the data are counts times that.

    ``correlated``: neighbours share their noise, as in smoothed or rebinned data.
    """

    sigma: Float[np.ndarray, "point"]
    gain: float | None
    correlated: bool = False


def noise_of(y: Float[np.ndarray, "point"], given: Float[np.ndarray, "point"] | None) -> Noise:
    """The standard deviation of each point.

    Given ones are kept. Else variance = gain x level, with gain 1 for plain counts and estimated from the fourth
    differences otherwise; where the background was subtracted, variance = a constant + gain x level.
    """
    level = gaussian_filter1d(y, 1.5, mode="nearest")
    if given is None:
        found = _estimated(y, level)
    else:
        sigma = _mended(given, level)
        fourth = (correlate1d(y, _FOURTH, mode="mirror") / sigma) ** 2 / _FOURTH_GAIN
        found = Noise(sigma * max(1.0, float(np.sqrt(np.median(fourth) / _MAD_SQUARE))), None)
    return replace(found, correlated=_is_correlated(y, found.sigma))


def _is_correlated(y: np.ndarray, sigma: np.ndarray) -> bool:
    """Whether fourth differences, which no line survives, follow each other otherwise than those of white noise.

    Neighbouring fourth differences of white noise correlate by -56/70.
    """
    fourth = np.clip(correlate1d(y, _FOURTH, mode="mirror") / sigma / np.sqrt(_FOURTH_GAIN), -6, 6)
    spread = _MAD * np.median(np.abs(fourth))
    quiet = np.abs(fourth) < 3 * spread
    pairs = quiet[1:] & quiet[:-1]
    if spread == 0 or np.count_nonzero(pairs) < 30:
        return False
    a, b = fourth[1:][pairs], fourth[:-1][pairs]
    return bool(a @ b / np.sqrt((a @ a) * (b @ b)) > -0.55)


def _estimated(y: np.ndarray, level: np.ndarray) -> Noise:
    blocks = _blocks(len(y), 40)
    fourth = correlate1d(y, _FOURTH, mode="mirror") ** 2 / _FOURTH_GAIN
    variance = np.array([np.median(fourth[block]) / _MAD_SQUARE for block in blocks])
    levels = np.array([np.median(level[block]) for block in blocks])
    low = levels <= np.median(levels)
    base, floor = float(np.median(variance[low])), float(np.median(levels[low]))
    whole = bool(np.all(y >= 0) and np.all(y == np.round(y)))
    if whole and (floor < 10 or 0.4 < base / floor < 2.5):
        wide = gaussian_filter1d(y, 6.0, mode="nearest")
        return Noise(np.sqrt(np.maximum(np.maximum(level, wide), 0.02)), 1.0)
    if floor > 3 * np.sqrt(base) and base > 0:
        gain = base / floor
        return Noise(np.sqrt(gain * np.maximum(level, 0.2 * floor)), gain)
    base = base if base > 0 else float(np.mean(fourth)) or 1e-12 * float(np.ptp(y)) ** 2
    high = level > 20 * np.sqrt(base)
    slope = float(np.median(fourth[high] / level[high])) / _MAD_SQUARE if np.count_nonzero(high) >= 20 else 0.0
    return Noise(np.sqrt(base + slope * np.maximum(level, 0)), None)


def _mended(given: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Zeros, as some programs write them for no counts, become the smallest that is none."""
    good = given > 0
    if not good.any():
        return np.sqrt(np.maximum(level, 1.0))
    return np.where(good, given, given[good].min())


def _blocks(n_points: int, at_most: int) -> list[slice]:
    count = max(1, min(at_most, n_points // 25))
    edges = np.linspace(0, n_points, count + 1).astype(int)
    return [slice(a, b) for a, b in pairwise(edges)]


def kernel(fwhm_points: float) -> Float[np.ndarray, "lag"]:
    """Weights that give the height of a Gaussian line of this width above a straight background, by least squares."""
    half = max(3, round(HALF_WINDOW * fwhm_points))
    lag = np.arange(-half, half + 1)
    line = np.exp(-4 * np.log(2) * (lag / fwhm_points) ** 2)
    centred = line - line.mean()
    return centred / (centred @ centred)


def signal_to_noise(
    y: Float[np.ndarray, "point"], sigma: Float[np.ndarray, "point"], fwhm_points: float
) -> Float[np.ndarray, "point"]:
    """Height of a line at each point over its standard deviation."""
    weights = kernel(fwhm_points)
    half = len(weights) // 2
    if len(weights) >= len(y):
        return np.zeros(len(y))
    height = _convolved(np.pad(y, half, mode="reflect", reflect_type="odd"), weights[::-1])
    variance = _convolved(np.pad(sigma**2, half, mode="reflect"), weights[::-1] ** 2)
    return height / np.sqrt(variance)


def _convolved(values: Float[np.ndarray, "point"], weights: Float[np.ndarray, "lag"]) -> Float[np.ndarray, "point"]:
    """Where the weights lie within the values; rounding leaves nothing below its own size."""
    if len(values) * len(weights) <= DIRECT_STEPS:
        return np.convolve(values, weights, mode="valid")
    found = oaconvolve(values, weights, mode="valid")
    if (weights >= 0).all() and (values >= 0).all():
        return np.maximum(found, 1e-13 * found.max())
    return found


def usual_width(y: Float[np.ndarray, "point"], sigma: Float[np.ndarray, "point"], widest: float) -> float | None:
    """Full width in points of the most prominent maxima; None where nothing stands out.

    The pattern is smoothed more and more until a few maxima rise well above the noise; the smoothing is taken off the
    widths in quadrature.
    """
    best: tuple[int, float] | None = None
    for smoothing in SMOOTHINGS:
        smooth = gaussian_filter1d(y, smoothing, mode="nearest")
        noise = sigma / np.sqrt(2 * np.sqrt(np.pi) * smoothing)
        index, found = find_peaks(smooth, prominence=PROMINENT * noise, wlen=_reach(smooth))
        if not len(index):
            continue
        order = np.argsort(-found["prominences"])[:40]
        bases = tuple(found[key][order] for key in ("prominences", "left_bases", "right_bases"))
        width = peak_widths(smooth, index[order], rel_height=0.5, prominence_data=bases)[0]
        own = np.sqrt(np.maximum(width**2 - (2.355 * smoothing) ** 2, 1.0))
        own = own[(own < widest) & (width > 1.25 * 2.355 * smoothing)]
        if len(own) and (best is None or len(own) > 2 * best[0]):
            best = (len(own), float(np.median(own)))
        if best is not None and best[0] >= ENOUGH:
            break
    return None if best is None else best[1]


def _reach(smooth: Float[np.ndarray, "point"]) -> int | None:
    """Points around a maximum in which its prominence is sought; None for all, as in patterns of diffractometers."""
    maxima = int(np.count_nonzero((smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:])))
    return None if maxima * len(smooth) <= PROMINENCE_STEPS else max(PROMINENCE_STEPS // maxima, 1000)


def noise_excess(z: Float[np.ndarray, "point"]) -> float:
    """How much wider than expected correlated noise is after the filter, in the quietest tenth of a pattern."""
    spread = [_MAD * float(np.median(np.abs(z[block] - np.median(z[block])))) for block in _blocks(len(z), 50)]
    return max(1.0, float(np.quantile(spread, 0.1)) / _QUIET)


def noise_left(z: Float[np.ndarray, "point"], quiet: Bool[np.ndarray, "point"]) -> float | None:
    """How much wider than expected the filtered noise is away from all lines; None where it is not, or none is left.

    Smoothed or rebinned data have correlated noise, which point-to-point differences do not show.
    """
    if np.count_nonzero(quiet) < 200:
        return None
    excess = _MAD * float(np.median(np.abs(z[quiet])))
    return excess if excess > _NOTABLE else None


@dataclass(frozen=True)
class Found:
    """Maxima of the filtered pattern, strongest first: index of the point, signal to noise, width in points."""

    index: np.ndarray
    snr: Float[np.ndarray, "peak"]
    fwhm_points: Float[np.ndarray, "peak"]


def width_grid(low: float, high: float) -> Float[np.ndarray, "width"]:
    """Widths in points from low to high, each `STEP_OF_WIDTHS` times the last."""
    low = max(low, MIN_FWHM_POINTS)
    count = 1 + max(0, int(np.ceil(np.log(max(high, low) / low) / np.log(STEP_OF_WIDTHS))))
    return low * STEP_OF_WIDTHS ** np.arange(count)


def detect(
    y: Float[np.ndarray, "point"],
    sigma: Float[np.ndarray, "point"],
    *,
    widths: Float[np.ndarray, "width"],
    allowed: Callable[[float], Bool[np.ndarray, "point"]],
    min_snr: float,
    most: int,
) -> Found:
    """Find maxima of the signal to noise over place and width.

    Args:
        y: counts.
        sigma: their standard deviation.
        widths: full widths to try, in points.
        allowed: for a width, the points where it may occur.
        min_snr: the least signal to noise.
        most: as many of them, the strongest.
    """
    best, width_at = np.full(len(y), -np.inf), np.full(len(y), widths[0])
    for width in widths:
        z = np.where(allowed(float(width)), signal_to_noise(y, sigma, float(width)), -np.inf)
        higher = z > best
        best[higher], width_at[higher] = z[higher], width
    peak = (best >= maximum_filter1d(best, 3, mode="constant", cval=-np.inf)) & (best > min_snr)
    index = np.flatnonzero(peak)
    index = index[np.argsort(-best[index], kind="stable")]
    kept: list[int] = []
    for at in index:
        if all(abs(at - other) >= 0.55 * width_at[other] for other in kept):
            kept.append(int(at))
            if len(kept) == most:
                break
    chosen = np.array(kept, int)
    return Found(chosen, best[chosen], width_at[chosen])
