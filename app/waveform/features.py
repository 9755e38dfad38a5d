"""What the model sees of a waveform: its shape around the centroid, free of baseline, gain and position.

The same function serves training and service. All of it is computed per waveform, so an answer depends neither on the
other waveforms of a batch nor on their order.
"""

from __future__ import annotations

from dataclasses import dataclass
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
WIDTHS: Final = ((0.5, 0.25), (0.5, 0.1), (0.5, 0.03), (0.5, 0.01), (0.75, 0.5), (0.9, 0.5), (0.97, 0.5), (0.99, 0.5))
"""Pairs of quantiles of the pulse's area whose distance in time is a feature."""
_LEVELS: Final = tuple(sorted({level for pair in WIDTHS for level in pair}))
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
        return self.waveforms - _line(self.baseline, np.linspace(0.0, 1.0, self.waveforms.shape[1]))


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
    total, square = _coarse(x), _coarse(x * x)
    start, stop, found = _window(x, total)
    position = np.arange(total.shape[1])
    before, after = position < start[:, None], position >= stop[:, None]
    baseline, noise = _baseline(total, square, before, after)
    inside = ~(before | after)
    kept = np.where(inside, total - COARSE * _line(baseline, (position + 0.5) / total.shape[1]), 0.0)
    area = kept.sum(axis=1)
    found &= area > 0.0
    centroid = (kept @ (position + 0.5)) / np.where(found, area, 1.0)
    centroid = np.where(found, np.clip(centroid, start, stop), total.shape[1] / 2.0)
    rough = _coarse(_roughness(x))
    grain = _sum(rough, inside) - _mean(rough, ~inside) * inside.sum(axis=1)
    window = np.stack([start, stop], axis=1) * COARSE
    return Pulses(x, baseline, noise, window, found, area, centroid * COARSE, grain)


def _window(
    x: Float[np.ndarray, "wave sample"], total: Float[np.ndarray, "wave coarse"]
) -> tuple[Int[np.ndarray, "wave"], Int[np.ndarray, "wave"], Bool[np.ndarray, "wave"]]:
    """First coarse bin that stands out of the noise and first one after the last, with a margin."""
    n = total.shape[1]
    coarse = total / COARSE
    left, right = x[:, :EDGE], x[:, -EDGE:]
    ends = np.stack([np.median(left, axis=1), np.median(right, axis=1)], axis=1)
    edge = EDGE // COARSE
    noise = np.minimum(left.std(axis=1), right.std(axis=1)) / np.sqrt(COARSE)
    noise = np.maximum(noise, np.minimum(coarse[:, :edge].std(axis=1), coarse[:, -edge:].std(axis=1)))
    above = coarse - _line(ends, np.linspace(0.0, 1.0, n))
    out = above > np.maximum(THRESHOLD * noise, SMALLEST_SHARE * above.max(axis=1))[:, None]
    found = out.any(axis=1)
    first = np.maximum(out.argmax(axis=1) - MARGIN, 0)
    last = np.minimum(n - out[:, ::-1].argmax(axis=1) + MARGIN, n)
    return np.where(found, first, 0), np.where(found, last, 0), found


def _baseline(
    total: Float[np.ndarray, "wave coarse"],
    square: Float[np.ndarray, "wave coarse"],
    before: Bool[np.ndarray, "wave coarse"],
    after: Bool[np.ndarray, "wave coarse"],
) -> tuple[Float[np.ndarray, "wave 2"], Float[np.ndarray, "wave"]]:
    """Ends of the line through the means before and after the pulse, and the noise about the line.

    Where one side has too few samples, its mean is taken to be the other's.
    """
    n = total.shape[1]
    count = np.stack([before.sum(axis=1), after.sum(axis=1)], axis=1)
    mean = np.stack([_mean(total, before), _mean(total, after)], axis=1) / COARSE
    spread = np.stack([_mean(square, before), _mean(square, after)], axis=1) / COARSE - mean**2
    enough = count * COARSE >= EDGE
    longer = np.where(count[:, 0] > count[:, 1], mean[:, 0], mean[:, 1])
    mean = np.where(enough, mean, longer[:, None])
    middle = np.stack([count[:, 0] / 2.0, n - count[:, 1] / 2.0], axis=1) / n
    apart = np.where(enough.all(axis=1), middle[:, 1] - middle[:, 0], np.inf)
    slope = (mean[:, 1] - mean[:, 0]) / apart
    # A line over a length l has the variance (slope l)^2 / 12.
    spread -= (slope[:, None] * count / n) ** 2 / 12.0
    noise = np.sqrt(np.maximum((spread * count).sum(axis=1) / np.maximum(count.sum(axis=1), 1), 0.0))
    return mean[:, :1] + slope[:, None] * (np.array([0.0, 1.0]) - middle[:, :1]), noise


def _roughness(x: Float[np.ndarray, "wave sample"]) -> Float[np.ndarray, "wave sample"]:
    """Variance of each sample as its distance from the mean of its neighbours tells it."""
    rough = np.zeros_like(x)
    np.multiply(x[:, 1:-1], 2.0, out=rough[:, 1:-1])
    rough[:, 1:-1] -= x[:, 2:]
    rough[:, 1:-1] -= x[:, :-2]
    # White noise gives the second difference six times its variance.
    rough *= rough
    rough /= 6.0
    return rough


def _line(ends: Float[np.ndarray, "wave 2"], at: Float[np.ndarray, "any"]) -> Float[np.ndarray, "wave any"]:
    return ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * at


def _coarse(x: Float[np.ndarray, "wave sample"]) -> Float[np.ndarray, "wave coarse"]:
    return x.reshape(len(x), -1, COARSE) @ np.ones(COARSE)


def _sum(x: Float[np.ndarray, "wave any"], where: Bool[np.ndarray, "wave any"]) -> Float[np.ndarray, "wave"]:
    return np.where(where, x, 0.0).sum(axis=1)


def _mean(x: Float[np.ndarray, "wave any"], where: Bool[np.ndarray, "wave any"]) -> Float[np.ndarray, "wave"]:
    return _sum(x, where) / np.maximum(where.sum(axis=1), 1)


# --- numbers ----------------------------------------------------------------------------------------------------------


def _binned(pulses: Pulses) -> tuple[Float[np.ndarray, "wave bin"], Float[np.ndarray, "wave bin"]]:
    """Share of the area in each bin around the centroid, and the bins' centres from the centroid [us]."""
    n = pulses.waveforms.shape[1]
    first = np.round(pulses.centroid).astype(int) - SHAPE_BINS // 2 * BIN_SAMPLES
    edges = first[:, None] + np.arange(SHAPE_BINS + 1) * BIN_SAMPLES
    inside = np.clip(edges, pulses.window[:, :1], np.maximum(pulses.window[:, 1:], pulses.window[:, :1]))
    summed = np.zeros((len(edges), n + 1))
    np.cumsum(pulses.waveforms, axis=1, out=summed[:, 1:])
    middle = (inside[:, 1:] + inside[:, :-1]) / 2.0 / n
    flat = (pulses.baseline[:, :1] + (pulses.baseline[:, 1:] - pulses.baseline[:, :1]) * middle) * np.diff(inside)
    content = np.diff(np.take_along_axis(summed, inside, axis=1), axis=1) - flat
    centres = (edges[:, 1:] + edges[:, :-1]) / 2.0 - pulses.centroid[:, None]
    # Without a pulse there is no area to divide by, and every bin is empty.
    area = np.where(pulses.found, pulses.area, np.inf)
    return content / area[:, None], centres * SAMPLE_US


def _shape_numbers(
    share: Float[np.ndarray, "wave bin"], time_us: Float[np.ndarray, "wave bin"]
) -> Float[np.ndarray, "wave feature"]:
    variance = np.maximum((share * time_us**2).sum(axis=1), SAMPLE_US**2)
    rms = np.sqrt(variance)
    quantile = _quantiles(share, time_us)
    widths = [quantile[high] - quantile[low] for high, low in WIDTHS]
    return np.stack([rms, np.log(rms), *widths], axis=1)


def _quantiles(
    share: Float[np.ndarray, "wave bin"], time_us: Float[np.ndarray, "wave bin"]
) -> dict[float, Float[np.ndarray, "wave"]]:
    """Time below which a share of the area lies, linear within a bin."""
    # The running maximum: noise must not let the sum fall.
    below = np.maximum.accumulate(np.cumsum(share, axis=1), axis=1)
    levels = np.array(_LEVELS)
    at = (below[:, None, :] >= levels[:, None]).argmax(axis=2)
    before = np.where(at > 0, np.take_along_axis(below, np.maximum(at - 1, 0), axis=1), 0.0)
    step = np.take_along_axis(below, at, axis=1) - before
    within = np.where(step > 0.0, (levels - before) / np.where(step > 0.0, step, 1.0), 0.5)
    time = np.take_along_axis(time_us, at, axis=1) + (np.clip(within, 0.0, 1.0) - 0.5) * BIN_SAMPLES * SAMPLE_US
    return dict(zip(_LEVELS, time.T, strict=True))


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
            np.log10(np.clip(photons, 10.0 ** PHOTONS_LOG10[0], 10.0 ** PHOTONS_LOG10[1])),
            np.log10(np.clip(noise, *NOISE_SHARE)),
        ],
        axis=1,
    )


def _settings_numbers(
    detector: Detector, drift_time_us: Float[np.ndarray, "wave"], rms_us: Float[np.ndarray, "wave"]
) -> Float[np.ndarray, "wave feature"]:
    """Settings of the detector, and what of the pulse's variance neither gap nor, where known, diffusion explains."""
    n = len(rms_us)
    known = np.isfinite(drift_time_us)
    diffusion = detector.diffusion_us(np.where(known, drift_time_us, 0.0))
    fixed = [
        detector.gas_gap_us,
        float(detector.diffusion_us(detector.drift_min_us)),
        float(detector.diffusion_us(detector.drift_max_us)),
        float(np.log10(detector.phd_per_electron)),
    ]
    excess = rms_us**2 - detector.gas_gap_us**2 / 12.0 - diffusion**2
    return np.concatenate(
        [np.tile(fixed, (n, 1)), np.stack([known.astype(float), diffusion, excess], axis=1)],
        axis=1,
    )
