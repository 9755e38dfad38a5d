"""From what a user sends to what the model takes: 5,000 samples of 10 ns of a positive pulse, and what is odd about it.

A waveform that is odd is not an error: it is answered as well as it can be, with flags that say what was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Bool, Float, Num

from app.errors import InvalidInput, TooLarge
from app.waveform.features import (
    COARSE,
    EDGE,
    SAMPLE_US,
    SAMPLES,
    SMALLEST_SHARE,
    THRESHOLD,
    Pulses,
    find_pulses,
    median,
)

Length = Literal["refuse", "resample"]
Polarity = Literal["auto", "positive", "negative"]

SAMPLE_NS: Final = 1e3 * SAMPLE_US
MIN_SAMPLES: Final = 2 * EDGE
"""Fewest samples of 10 ns of a record that is padded."""
MAX_SAMPLES: Final = 500_000
"""Most samples of one record before and after it is brought to 10 ns: a hundred times what the model takes."""
FLAT_SAMPLES: Final = 4
"""Equal samples in a row at the highest value, from which on a flat top is looked into."""
FLAT_DROP_STEPS: Final = 30.0
"""Steps of the digitizer by which a flat top must fall on its sides within its own length; a round one falls by 9."""
DRIFT_SIGMAS: Final = 5.0
"""Standard errors by which the baselines before and after the pulse must differ."""
DRIFT_SHARE: Final = 2e-3
"""What is less than this share of the pulse's height is no drift of the baseline."""

LARGEST: Final = 1e100
"""Beyond any digitizer: larger samples are scaled, so that no square overflows; an answer has no unit."""

MEANINGS: Final = {
    "empty": "no pulse stands out of the noise",
    "clipped": "the top of the pulse is flat: the digitizer was saturated, and the shape is not what it was",
    "truncated": "the pulse touches the edge of the record: a part of it may be missing",
    "baseline-drift": "the baseline after the pulse differs from that before it: a straight line was taken off",
    "negative": "the pulse is negative: it was turned over",
    "resampled": "the record was brought to 5,000 samples of 10 ns: its graininess is not what it was",
    "too-long": "the pulse does not fit into 5,000 samples of 10 ns: nothing can be said of it",
}
"""What a flag means, in the order in which they are told."""


@dataclass(frozen=True)
class Intake:
    """How waveforms are taken in.

    Attributes:
        sample_period_ns: time between two samples [ns].
        length: `refuse` what is not 5,000 samples of 10 ns, or `resample` it.
        polarity: of the pulse; `auto` turns over what is negative.
    """

    sample_period_ns: float = SAMPLE_NS
    length: Length = "refuse"
    polarity: Polarity = "auto"


@dataclass(frozen=True)
class Taken:
    """Waveforms as the model takes them.

    Attributes:
        samples: 5,000 samples of 10 ns, the pulse positive, in the user's unit.
        negative: it was turned over.
        resampled: its length or its period was changed.
        too_long: the pulse does not fit; nothing can be said of it.
        cut: a short record begins or ends within a pulse.
    """

    samples: Float[np.ndarray, "wave 5000"]
    negative: Bool[np.ndarray, "wave"]
    resampled: bool
    too_long: Bool[np.ndarray, "wave"]
    cut: Bool[np.ndarray, "wave"]


def check_length(samples: int, intake: Intake) -> None:
    """Refuse records that cannot be taken in.

    Raises:
        InvalidInput: neither 5,000 samples of 10 ns nor `resample`; too short to tell baseline from pulse.
        TooLarge: longer than `MAX_SAMPLES`, as it is or in samples of 10 ns.
    """
    if _is_native(samples, intake):
        return
    found = f"the waveforms have {samples} samples of {intake.sample_period_ns:g} ns"
    if intake.length == "refuse":
        raise InvalidInput(
            f"{found}, expected {SAMPLES} of {SAMPLE_NS:g} ns: send those, or set length to 'resample' and "
            "sample_period_ns to the time between two samples"
        )
    if max(samples, samples * intake.sample_period_ns / SAMPLE_NS) > MAX_SAMPLES:
        raise TooLarge(
            f"{found}; records of at most {MAX_SAMPLES} samples, and of {MAX_SAMPLES * SAMPLE_US / 1e3:g} ms, are "
            "taken: cut out the part around the pulse"
        )
    if samples < 2 or round(samples * intake.sample_period_ns / SAMPLE_NS) < MIN_SAMPLES:
        raise InvalidInput(f"{found}: too short, at least {MIN_SAMPLES * SAMPLE_US:g} us are needed")


def take(waveforms: Num[np.ndarray, "wave sample"], intake: Intake) -> Taken:
    """Bring waveforms into the model's form.

    Args:
        waveforms: finite samples in any unit, on any baseline.

    Raises:
        InvalidInput, TooLarge: as `check_length`.
    """
    check_length(waveforms.shape[1], intake)
    x = np.asarray(waveforms, np.float64)
    top = np.maximum(x.max(axis=1), -x.min(axis=1))
    if (top > LARGEST).any():
        x = x / np.where(top > LARGEST, top, 1.0)[:, None]
    negative = _negative(x, intake.polarity)
    if negative.any():
        x = np.where(negative[:, None], -x, x)
    none = np.zeros(len(x), bool)
    if _is_native(x.shape[1], intake):
        return Taken(x, negative, False, none, none)
    if intake.sample_period_ns != SAMPLE_NS:
        x = resampled(x, intake.sample_period_ns)
    if x.shape[1] < SAMPLES:
        return Taken(_padded(x), negative, True, none, _is_sloped(x) | _is_sloped(x[:, ::-1]))
    cropped, too_long = _cropped(x)
    return Taken(cropped, negative, True, too_long, none)


def _is_native(samples: int, intake: Intake) -> bool:
    return samples == SAMPLES and intake.sample_period_ns == SAMPLE_NS


def _negative(x: Float[np.ndarray, "wave sample"], polarity: Polarity) -> Bool[np.ndarray, "wave"]:
    """Whether the lowest group of samples is further from the baseline than the highest one."""
    if polarity != "auto":
        return np.full(len(x), polarity == "negative")
    n = max(x.shape[1] // COARSE, 1)
    size = x.shape[1] // n
    coarse = x[:, : n * size].reshape(len(x), n, size) @ np.full(size, 1.0 / size)
    middle = median(coarse)
    up, down = coarse.max(axis=1) - middle, middle - coarse.min(axis=1)
    # Noise alone has a lowest group too; only what is clearly a pulse is turned over.
    spread = median(np.abs(coarse[:, 1:] - coarse[:, :-1]))
    return (down > 2.0 * up) & (down > THRESHOLD * spread)


# --- length -----------------------------------------------------------------------------------------------------------


def resampled(x: Float[np.ndarray, "wave sample"], period_ns: float) -> Float[np.ndarray, "wave sample"]:
    """Means over bins of 10 ns: the area over any whole number of bins is kept, and nothing is aliased."""
    n = x.shape[1]
    count = max(round(n * period_ns / SAMPLE_NS), 1)
    summed = np.concatenate([np.zeros((len(x), 1)), np.cumsum(x, axis=1)], axis=1)
    # Bin edges in samples; the last half bin is left out or filled with the last sample.
    edge = np.minimum(np.arange(count + 1) * (SAMPLE_NS / period_ns), float(n))
    low = np.minimum(edge.astype(int), n - 1)
    at_edge = summed[:, low] + x[:, low] * (edge - low)
    width = np.diff(edge)
    return np.diff(at_edge, axis=1) / np.where(width > 0.0, width, 1.0)


def _padded(x: Float[np.ndarray, "wave sample"]) -> Float[np.ndarray, "wave 5000"]:
    """Go on at both ends with the samples of the quieter end, noise and all."""
    n = x.shape[1]
    edge = min(EDGE, n // 4)
    left, right = x[:, :edge], x[:, -edge:]
    # An end in the pulse has a larger spread, and is higher.
    right_is_quiet = right.mean(axis=1) + right.std(axis=1) < left.mean(axis=1) + left.std(axis=1)
    quiet = np.where(right_is_quiet[:, None], right, left)
    before = (SAMPLES - n) // 2
    ramp = [np.resize(np.arange(edge), before)[::-1], np.resize(np.arange(edge), SAMPLES - n - before)]
    parts = [
        _levelled(quiet, left, right_is_quiet)[:, ramp[0]],
        x,
        _levelled(quiet, right, ~right_is_quiet)[:, ramp[1]],
    ]
    return np.concatenate(parts, axis=1)


def _levelled(
    quiet: Float[np.ndarray, "wave edge"], own: Float[np.ndarray, "wave edge"], other: Bool[np.ndarray, "wave"]
) -> Float[np.ndarray, "wave edge"]:
    """The quiet end's samples on the own end's level, unless the own end is in the pulse."""
    noise = quiet.std(axis=1)
    level = np.median(own, axis=1)
    baseline = np.median(quiet, axis=1)
    is_pulse = other & (np.abs(level - baseline) > THRESHOLD * noise)
    return quiet + np.where(is_pulse, 0.0, level - baseline)[:, None]


def _is_sloped(x: Float[np.ndarray, "wave sample"]) -> Bool[np.ndarray, "wave"]:
    """Whether the record rises or falls at its first samples by more than noise and more than a hair of its height."""
    size = min(EDGE, x.shape[1] // 4) // 4
    step = x[:, size : 2 * size].mean(axis=1) - x[:, :size].mean(axis=1)
    noise = np.diff(x[:, : 2 * size], axis=1).std(axis=1) / np.sqrt(2.0)
    height = x.max(axis=1) - x.min(axis=1)
    return np.abs(step) > np.maximum(THRESHOLD * noise * np.sqrt(2.0 / size), SMALLEST_SHARE * height)


def _cropped(x: Float[np.ndarray, "wave sample"]) -> tuple[Float[np.ndarray, "wave 5000"], Bool[np.ndarray, "wave"]]:
    """The 5,000 samples around the pulse, and where the pulse is wider."""
    window = find_pulses(x[:, : x.shape[1] // COARSE * COARSE]).window
    middle = np.where(window.any(axis=1), window.sum(axis=1) // 2, x.shape[1] // 2)
    start = np.clip(middle - SAMPLES // 2, 0, x.shape[1] - SAMPLES)
    cropped = np.take_along_axis(x, start[:, None] + np.arange(SAMPLES), axis=1)
    return cropped, (window[:, 1] - window[:, 0]) > SAMPLES


# --- flags ------------------------------------------------------------------------------------------------------------


def flags(taken: Taken, pulses: Pulses) -> dict[str, Bool[np.ndarray, "wave"]]:
    """What is odd, by the names of `MEANINGS`, in their order."""
    found = pulses.found & ~taken.too_long
    height = pulses.signal.max(axis=1)
    return {
        "empty": ~pulses.found & ~taken.too_long & ~taken.cut,
        "clipped": found & _clipped(taken.samples),
        "truncated": taken.cut | (found & _truncated(taken.samples, pulses, height)),
        "baseline-drift": found & _drifts(pulses, height),
        "negative": found & taken.negative,
        "resampled": np.full(len(found), taken.resampled),
        "too-long": taken.too_long,
    }


def _clipped(x: Float[np.ndarray, "wave sample"]) -> Bool[np.ndarray, "wave"]:
    at_top = x == x.max(axis=1, keepdims=True)
    return np.array(
        [
            np.count_nonzero(top) >= FLAT_SAMPLES and _is_flat(samples, top)
            for samples, top in zip(x, at_top, strict=True)
        ],
        bool,
    )


def _is_flat(x: Float[np.ndarray, "sample"], at_top: Bool[np.ndarray, "sample"]) -> bool:
    """Whether the longest stretch at the top has edges.

    A round top that is digitized in steps of q is flat over some length, and falls by 9 q within the same length
    beyond its ends; a saturated one falls at once.
    """
    change = np.flatnonzero(np.diff(np.concatenate([[0], at_top.astype(np.int8), [0]])))
    begins, ends = change[::2], change[1::2]
    longest = int(np.argmax(ends - begins))
    length = int(ends[longest] - begins[longest])
    if length < FLAT_SAMPLES:
        return False
    values = np.unique(x)
    step = float(np.diff(values).min()) if len(values) > 1 else 0.0
    sides = np.array([max(begins[longest] - length, 0), min(ends[longest] - 1 + length, len(x) - 1)])
    return bool(x[begins[longest]] - x[sides].mean() > FLAT_DROP_STEPS * step)


def _truncated(
    x: Float[np.ndarray, "wave sample"], pulses: Pulses, height: Float[np.ndarray, "wave"]
) -> Bool[np.ndarray, "wave"]:
    """Whether a first or last group of samples still stands above the baseline of the other end."""
    touches_first, touches_last = pulses.window[:, 0] == 0, pulses.window[:, 1] == x.shape[1]
    if not (touches_first | touches_last).any():  # as almost always
        return touches_first
    first, last = x[:, :COARSE].mean(axis=1), x[:, -COARSE:].mean(axis=1)
    noise = THRESHOLD * pulses.noise / COARSE**0.5
    least = np.maximum(noise, SMALLEST_SHARE * height)
    return (touches_first & (first - pulses.baseline[:, 0] > least)) | (
        touches_last & (last - pulses.baseline[:, 1] > least)
    )


def _drifts(pulses: Pulses, height: Float[np.ndarray, "wave"]) -> Bool[np.ndarray, "wave"]:
    drift = np.abs(pulses.baseline[:, 1] - pulses.baseline[:, 0])
    before, after = pulses.window[:, 0], pulses.waveforms.shape[1] - pulses.window[:, 1]
    error = pulses.noise * np.sqrt(1.0 / np.maximum(before, 1) + 1.0 / np.maximum(after, 1))
    # The line is drawn from end to end, the means lie in the middles: about twice the difference of the means.
    least = np.maximum(2.0 * DRIFT_SIGMAS * error, DRIFT_SHARE * height)
    return drift > np.maximum(least, pulses.noise)
