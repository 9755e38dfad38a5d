"""What the model sees of a waveform: its shape around the centroid, free of baseline, gain and position.

The same function serves training and service. All of it is computed per waveform, so an answer depends neither on the
other waveforms of a batch nor on their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from app.waveform.detector import Detector

SAMPLES: Final = 5000
SAMPLE_US: Final = 0.01
EDGE: Final = 250
"""Samples at each end that give the first estimate of baseline and noise."""
COARSE: Final = 20
"""Samples summed to look for the pulse."""
THRESHOLD: Final = 5.0
"""Standard deviations of the noise by which a coarse bin stands out."""
MARGIN: Final = 8
"""Coarse bins kept on both sides of what stands out."""
SMALLEST_SHARE: Final = 2e-3
"""What is smaller than this share of the highest coarse bin is not the pulse: single electrons, afterpulses."""
SHAPE_BINS: Final = 128
BIN_SAMPLES: Final = 20
_EDGES: Final = (np.arange(SHAPE_BINS + 1) - SHAPE_BINS // 2) * BIN_SAMPLES
WIDTHS: Final = ((0.5, 0.25), (0.5, 0.1), (0.5, 0.03), (0.5, 0.01), (0.75, 0.5), (0.9, 0.5), (0.97, 0.5), (0.99, 0.5))
"""Pairs of quantiles of the pulse's area whose distance in time is a feature."""
_LEVELS: Final = np.array(sorted({level for pair in WIDTHS for level in pair}))
_HIGH, _LOW = (np.array([_LEVELS.tolist().index(pair[end]) for pair in WIDTHS]) for end in (0, 1))
PHOTONS_LOG10: Final = (1.0, 8.0)
NOISE_SHARE: Final = (1e-4, 1e2)
"""Ranges of the two numbers that tell the size; what lies outside is put at the end."""
SETTINGS: Final = ("gas_gap_us", "diffusion_min_us", "diffusion_max_us", "log10_phd_per_electron")


@dataclass(frozen=True)
class Pulses:
    """The pulse of each waveform, still in the waveform's own unit.

    Attributes:
        waveforms: as given.
        baseline: a straight line, at the first and at the last sample.
        noise: standard deviation of one sample outside the pulse.
        window: first sample of the pulse and first one after it; (0, 0) where nothing stands out.
        found: a pulse stands out of the noise.
        area: sum of the signal in the window.
        centroid: mean position weighed by the signal [samples].
        grain: variance of the samples in the window beyond the noise, summed.
    """

    waveforms: Float[np.ndarray, "wave sample"]
    baseline: Float[np.ndarray, "wave 2"]
    noise: Float[np.ndarray, "wave"]
    window: Int[np.ndarray, "wave 2"]
    found: Bool[np.ndarray, "wave"]
    area: Float[np.ndarray, "wave"]
    centroid: Float[np.ndarray, "wave"]
    grain: Float[np.ndarray, "wave"]

    @property
    def signal(self) -> Float[np.ndarray, "wave sample"]:
        """Samples without baseline."""
        return self.waveforms - _line(self.baseline, from_zero_to_one(self.waveforms.shape[1]))


@dataclass(frozen=True)
class Features:
    """What the network takes.

    Attributes:
        shape: share of the area in bins of 0.2 us around the centroid, times the number of bins.
        numbers: widths, size and settings; the columns are `NUMBERS`. No moments beyond the second: the network takes
            what it needs of them from the shape, and noise of another kind than in training throws them about.
    """

    shape: Float[np.ndarray, "wave bin"]
    numbers: Float[np.ndarray, "wave feature"]


NUMBERS: Final = (
    "rms_us",
    "log_rms",
    *(f"width_{high:g}_{low:g}_us" for high, low in WIDTHS),
    "log10_photons",
    "log10_noise_share",
    *SETTINGS,
    "drift_known",
    "diffusion_us",
    "excess_us2",
)


def features(
    waveforms: Float[np.ndarray, "wave sample"],
    detector: Detector,
    drift_time_us: Float[np.ndarray, "wave"] | None = None,
) -> Features:
    """Bring waveforms of 5,000 samples of 10 ns into the form that the network takes.

    Args:
        waveforms: positive pulses on any baseline, in any unit.
        drift_time_us: nan where unknown.
    """
    return features_from_pulses(find_pulses(waveforms), detector, drift_time_us)


def features_from_pulses(
    pulses: Pulses, detector: Detector, drift_time_us: Float[np.ndarray, "wave"] | None = None
) -> Features:
    """Turn pulses that were found already into features; see `features`."""
    n = len(pulses.area)
    drift = np.full(n, np.nan) if drift_time_us is None else np.asarray(drift_time_us, dtype=float)
    share, time_us = _binned(pulses)
    own = _shape_numbers(share, time_us)
    size = _size_numbers(pulses)
    settings = _settings_numbers(detector, drift, own[:, 0])
    numbers = np.concatenate([own, size, settings], axis=1)
    return Features((share * SHAPE_BINS).astype(np.float32), numbers.astype(np.float32))


# --- the pulse --------------------------------------------------------------------------------------------------------


def find_pulses(waveforms: Float[np.ndarray, "wave sample"]) -> Pulses:
    """Find the pulse and the baseline, a line through what lies before and after it.

    All sums are taken over coarse bins first, once, so that a waveform is walked through few times.
    """
    x = np.asarray(waveforms, dtype=np.float64)
    total, square, rough = _coarse(x), _coarse(x * x), _coarse(_second_difference_squared(x))
    start, stop, found = _window(x, total)
    position = np.arange(total.shape[1])
    before, after = position < start[:, None], position >= stop[:, None]
    inside = ~(before | after)
    parts = np.stack([before, inside, after], axis=1).astype(np.float64)
    sums = parts @ np.stack([total, square, rough], axis=2)
    count = _sum(parts)
    baseline, noise = _baseline(sums, count, total.shape[1])
    middles = position + 0.5
    kept = (total - COARSE * _line(baseline, middles / total.shape[1])) * parts[:, 1]
    area = _sum(kept)
    found &= area > 0.0
    centroid = (kept @ middles) / np.where(found, area, 1.0)
    centroid = np.where(found, np.minimum(np.maximum(centroid, start), stop), total.shape[1] / 2.0)
    outside = (sums[:, 0, 2] + sums[:, 2, 2]) / np.maximum(count[:, 0] + count[:, 2], 1.0)
    # White noise gives the second difference six times its variance.
    grain = (sums[:, 1, 2] - outside * count[:, 1]) / 6.0
    window = np.stack([start, stop], axis=1) * COARSE
    return Pulses(x, baseline, noise, window, found, area, centroid * COARSE, grain)


def _window(
    x: Float[np.ndarray, "wave sample"], total: Float[np.ndarray, "wave coarse"]
) -> tuple[Int[np.ndarray, "wave"], Int[np.ndarray, "wave"], Bool[np.ndarray, "wave"]]:
    """First coarse bin that stands out of the noise and first one after the last, with a margin."""
    n = total.shape[1]
    coarse = total / COARSE
    ends = _ends(x, EDGE)
    noise = np.maximum(
        _deviation(ends).min(axis=1) / COARSE**0.5, _deviation(_ends(coarse, EDGE // COARSE)).min(axis=1)
    )
    above = coarse - _line(median(ends), from_zero_to_one(n))
    out = above > np.maximum(THRESHOLD * noise, SMALLEST_SHARE * above.max(axis=1))[:, None]
    found = out.any(axis=1)
    first = np.maximum(out.argmax(axis=1) - MARGIN, 0)
    last = np.minimum(n - out[:, ::-1].argmax(axis=1) + MARGIN, n)
    return np.where(found, first, 0), np.where(found, last, 0), found


def _baseline(
    sums: Float[np.ndarray, "wave part 3"], count: Float[np.ndarray, "wave part"], n: int
) -> tuple[Float[np.ndarray, "wave 2"], Float[np.ndarray, "wave"]]:
    """Ends of the line through the means before and after the pulse, and the noise about the line.

    Where one side has too few samples, its mean is taken to be the other's.

    Args:
        sums: of the samples and of their squares, before, in and after the pulse.
        count: of coarse bins before, in and after the pulse.
        n: all coarse bins.
    """
    count = count[:, ::2]
    means = sums[:, ::2, :2] / (np.maximum(count, 1.0) * COARSE)[:, :, None]
    mean, spread = means[:, :, 0], means[:, :, 1] - means[:, :, 0] ** 2
    enough = count * COARSE >= EDGE
    longer = np.where(count[:, 0] > count[:, 1], mean[:, 0], mean[:, 1])
    mean = np.where(enough, mean, longer[:, None])
    middle = (np.array([0.0, n]) + count * np.array([0.5, -0.5])) / n
    apart = np.where(enough.all(axis=1), middle[:, 1] - middle[:, 0], np.inf)
    slope = (mean[:, 1] - mean[:, 0]) / apart
    # A line over a length l has the variance (slope l)^2 / 12.
    spread -= (slope[:, None] * count / n) ** 2 / 12.0
    noise = np.sqrt(np.maximum(_sum(spread * count) / np.maximum(_sum(count), 1.0), 0.0))
    return mean[:, :1] + slope[:, None] * (np.array([0.0, 1.0]) - middle[:, :1]), noise


def _second_difference_squared(x: Float[np.ndarray, "wave sample"]) -> Float[np.ndarray, "wave sample"]:
    """How far each sample is from the mean of its neighbours, doubled and squared; 0 at the ends."""
    squared = np.zeros_like(x)
    step = x[:, 1:] - x[:, :-1]
    inner = squared[:, 1:-1]
    np.subtract(step[:, 1:], step[:, :-1], out=inner)
    np.multiply(inner, inner, out=inner)
    return squared


def _line(ends: Float[np.ndarray, "wave 2"], at: Float[np.ndarray, "any"]) -> Float[np.ndarray, "wave any"]:
    return ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * at


# NumPy's own mean, std, median and linspace cost more in Python than these few numbers do.


@lru_cache(maxsize=8)
def from_zero_to_one(n: int) -> Float[np.ndarray, "n"]:
    """Evenly spaced numbers from 0 to 1; not to be written to."""
    numbers = np.linspace(0.0, 1.0, n)
    numbers.flags.writeable = False
    return numbers


def median(x: Float[np.ndarray, "*rows any"]) -> Float[np.ndarray, "*rows"]:
    """Median along the last axis."""
    ordered, n = np.sort(x), x.shape[-1]
    return (ordered[..., (n - 1) // 2] + ordered[..., n // 2]) / 2.0


def _deviation(x: Float[np.ndarray, "*rows any"]) -> Float[np.ndarray, "*rows"]:
    """Standard deviation along the last axis."""
    from_mean = x - (_sum(x) / x.shape[-1])[..., None]
    return np.sqrt(_sum(from_mean * from_mean) / x.shape[-1])


def _ends(x: Float[np.ndarray, "wave any"], size: int) -> Float[np.ndarray, "wave 2 size"]:
    return np.concatenate([x[:, :size], x[:, -size:]], axis=1).reshape(len(x), 2, size)


def _coarse(x: Float[np.ndarray, "wave sample"]) -> Float[np.ndarray, "wave coarse"]:
    return x.reshape(len(x), -1, COARSE) @ np.ones(COARSE)


def _sum(x: Float[np.ndarray, "*rows any"]) -> Float[np.ndarray, "*rows"]:
    return np.add.reduce(x, axis=-1)


# --- numbers ----------------------------------------------------------------------------------------------------------


def _binned(pulses: Pulses) -> tuple[Float[np.ndarray, "wave bin"], Float[np.ndarray, "wave bin"]]:
    """Share of the area in each bin around the centroid, and the bins' centres from the centroid [us]."""
    x, window, n = pulses.waveforms, pulses.window, pulses.waveforms.shape[1]
    edges = np.rint(pulses.centroid).astype(int)[:, None] + _EDGES
    inside = np.minimum(np.maximum(edges, window[:, :1]), window[:, 1:])
    width = inside[:, 1:] - inside[:, :-1]
    middle = (inside[:, 1:] + inside[:, :-1]) / (2.0 * n)
    content = _sums_between(x, inside) - _line(pulses.baseline, middle) * width
    centres = edges[:, :-1] + (BIN_SAMPLES / 2.0 - pulses.centroid)[:, None]
    # Without a pulse there is no area to divide by, and every bin is empty.
    area = np.where(pulses.found, pulses.area, np.inf)
    return content / area[:, None], centres * SAMPLE_US


def _sums_between(
    x: Float[np.ndarray, "wave sample"], edges: Int[np.ndarray, "wave edge"]
) -> Float[np.ndarray, "wave edge-1"]:
    """Sums of the samples from each edge up to the next one; edges do not fall."""
    begins = edges + (np.arange(len(x)) * x.shape[1])[:, None]
    # The last edge may lie behind the last sample.
    sums = np.add.reduceat(np.append(x, 0.0), begins.ravel()).reshape(begins.shape)[:, :-1]
    return sums * (edges[:, 1:] > edges[:, :-1])


def _shape_numbers(
    share: Float[np.ndarray, "wave bin"], time_us: Float[np.ndarray, "wave bin"]
) -> Float[np.ndarray, "wave feature"]:
    rms = np.sqrt(np.maximum(_sum(share * time_us * time_us), SAMPLE_US**2))[:, None]
    quantile = _quantiles(share, time_us)
    return np.concatenate([rms, np.log(rms), quantile[:, _HIGH] - quantile[:, _LOW]], axis=1)


def _quantiles(
    share: Float[np.ndarray, "wave bin"], time_us: Float[np.ndarray, "wave bin"]
) -> Float[np.ndarray, "wave level"]:
    """Times below which the shares `_LEVELS` of the area lie, linear within a bin."""
    # The running maximum: noise must not let the sum fall.
    below = np.maximum.accumulate(np.add.accumulate(share, axis=1), axis=1)
    at = (below[:, None, :] >= _LEVELS[:, None]).argmax(axis=2)
    rows = np.arange(len(at))[:, None]
    before = np.where(at > 0, below[rows, at - 1], 0.0)
    step = below[rows, at] - before
    within = np.where(step > 0.0, (_LEVELS - before) / np.where(step > 0.0, step, 1.0), 0.5)
    return time_us[rows, at] + (np.minimum(np.maximum(within, 0.0), 1.0) - 0.5) * (BIN_SAMPLES * SAMPLE_US)


def _size_numbers(pulses: Pulses) -> Float[np.ndarray, "wave feature"]:
    """How many photons the pulse has, judged by its graininess, and how large the noise is beside it.

    Neighbouring samples of a smooth pulse differ by counting statistics alone, whose variance in the waveform's unit
    is unit per photon times signal; so area and graininess give the number of photons whatever the unit.
    """
    area = np.where(pulses.found, pulses.area, 1.0)
    photons = area**2 / np.maximum(pulses.grain, area**2 * 10.0 ** -PHOTONS_LOG10[1])
    noise = pulses.noise * np.sqrt(BIN_SAMPLES) * SHAPE_BINS / area
    return np.stack(
        [
            np.log10(np.minimum(np.maximum(photons, 10.0 ** PHOTONS_LOG10[0]), 10.0 ** PHOTONS_LOG10[1])),
            np.log10(np.minimum(np.maximum(noise, NOISE_SHARE[0]), NOISE_SHARE[1])),
        ],
        axis=1,
    )


def _settings_numbers(
    detector: Detector, drift_time_us: Float[np.ndarray, "wave"], rms_us: Float[np.ndarray, "wave"]
) -> Float[np.ndarray, "wave feature"]:
    """Settings of the detector, and what of the pulse's variance neither gap nor, where known, diffusion explains."""
    known = np.isfinite(drift_time_us)
    diffusion = detector.diffusion_us(np.where(known, drift_time_us, 0.0))
    excess = rms_us**2 - detector.gas_gap_us**2 / 12.0 - diffusion**2
    numbers = np.empty((len(rms_us), len(SETTINGS) + 3))
    numbers[:, : len(SETTINGS)] = _fixed_numbers(detector)
    numbers[:, -3], numbers[:, -2], numbers[:, -1] = known, diffusion, excess
    return numbers


@lru_cache(maxsize=256)
def _fixed_numbers(detector: Detector) -> tuple[float, ...]:
    """The features `SETTINGS`; kept, since all waveforms of a detector share them."""
    return (
        detector.gas_gap_us,
        float(detector.diffusion_us(detector.drift_min_us)),
        float(detector.diffusion_us(detector.drift_max_us)),
        float(np.log10(detector.phd_per_electron)),
    )
