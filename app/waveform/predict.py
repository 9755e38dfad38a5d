"""From waveforms and a published model to answers: one S2 or two, how far apart, how sure, and what is odd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from app.errors import InvalidInput, ModelOutputInvalid
from app.waveform.detector import Detector
from app.waveform.features import Pulses, find_pulses
from app.waveform.intake import MEANINGS as INTAKE_MEANINGS
from app.waveform.intake import Intake, flags, take
from app.waveform.models import BLOCK, WaveformModel
from app.waveform.posterior import Posterior
from app.waveform.pulses import Parts, parts

MEANINGS: Final = {
    **INTAKE_MEANINGS,
    "outside-training": "the pulse or the detector is unlike those that the model was trained on",
}
"""What a warning's code means, in the order of the warnings."""

UNANSWERED: Final = -1
"""In place of the number of S2s where nothing can be said."""
ROUNDING: Final = 1e-6
"""By how much the sum of a softmax in float32 may miss one."""
LEVELS: Final = (0.16, 0.84, 0.025, 0.975)
"""Ends of the 68% and of the 95% interval, as quantiles."""


@dataclass(frozen=True)
class Ask:
    """One question.

    Attributes:
        waveforms: finite samples in any unit, on any baseline.
        detector: where they come from.
        drift_time_us: of each event; nan where unknown, None where all are.
        prior_two: probability of two scatters before the waveform was seen.
        intake: how the waveforms are taken in.
        with_parts: tell time, area and width of the pulses too.
    """

    waveforms: Num[np.ndarray, "wave sample"]
    detector: Detector = field(default_factory=Detector)
    drift_time_us: Float[np.ndarray, "wave"] | None = None
    prior_two: float = 0.5
    intake: Intake = field(default_factory=Intake)
    with_parts: bool = False


@dataclass(frozen=True)
class Warned:
    """Something that the user must know of an answer: a stable code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True)
class Answered:
    """The answers, a row for each waveform, in their order.

    Attributes:
        number: of S2s, 0 to 2; `UNANSWERED` where nothing can be said.
        p_two: probability of two scatters; nan where no pulse was found. From one half on, two are counted.
        separation_us: expected separation, given that there are two; nan where no pulse was found.
        sigma_us: its standard deviation.
        interval68_us, interval95_us: central intervals.
        warnings: of each waveform.
        parts: the pulses; None unless they were asked for.
    """

    number: Int[np.ndarray, "wave"]
    p_two: Float[np.ndarray, "wave"]
    separation_us: Float[np.ndarray, "wave"]
    sigma_us: Float[np.ndarray, "wave"]
    interval68_us: Float[np.ndarray, "wave 2"]
    interval95_us: Float[np.ndarray, "wave 2"]
    warnings: tuple[tuple[Warned, ...], ...]
    parts: Parts | None = None


def predict(ask: Ask, model: WaveformModel) -> Answered:
    """Answer any number of waveforms. A row depends on no other row.

    Raises:
        InvalidInput: the waveforms are not rectangular, of a wrong length, or the drift times are not as many;
            the prior is not a probability.
        ModelOutputInvalid: the model gave something that is not a probability.
    """
    _check(ask)
    return _joined([_answered(block, model) for block in _blocks(ask)])


def _check(ask: Ask) -> None:
    if ask.waveforms.ndim != 2 or not len(ask.waveforms):
        raise InvalidInput(f"the waveforms have the shape {ask.waveforms.shape}, expected (waveforms, samples)")
    if ask.drift_time_us is not None and ask.drift_time_us.shape != (len(ask.waveforms),):
        raise InvalidInput(
            f"{ask.drift_time_us.size} drift times for {len(ask.waveforms)} waveforms: give one for each, with null "
            "where it is not known"
        )
    if not 0.0 < ask.prior_two < 1.0:
        raise InvalidInput("prior_two should be between 0 and 1")


def _blocks(ask: Ask) -> Iterator[Ask]:
    """Parts of the question whose samples stay in the processor's cache."""
    if len(ask.waveforms) <= BLOCK:
        yield ask
        return
    for start in range(0, len(ask.waveforms), BLOCK):
        rows = slice(start, start + BLOCK)
        drift = None if ask.drift_time_us is None else ask.drift_time_us[rows]
        yield replace(ask, waveforms=ask.waveforms[rows], drift_time_us=drift)


def _answered(ask: Ask, model: WaveformModel) -> Answered:
    taken = take(ask.waveforms, ask.intake)
    pulses = find_pulses(taken.samples)
    odd = flags(taken, pulses)
    posterior, outside = model.judged(pulses, ask.detector, ask.drift_time_us)
    posterior = _checked(posterior, pulses.found).with_prior(ask.prior_two)
    known = pulses.found & ~taken.too_long
    two = known & (posterior.p_two >= 0.5)
    number = np.where(two, 2, np.where(known, 1, np.where(odd["empty"], 0, UNANSWERED)))
    ends = np.where(known[:, None], posterior.quantiles_us(LEVELS), np.nan)
    return Answered(
        number,
        np.where(known, posterior.p_two, np.nan),
        np.where(known, posterior.mean_us, np.nan),
        np.where(known, posterior.sigma_us, np.nan),
        ends[:, :2],
        ends[:, 2:],
        tuple(_warnings(odd, row, outside[row] if known[row] else ()) for row in range(len(known))),
        _parts(ask, pulses, number, posterior) if ask.with_parts else None,
    )


def _checked(posterior: Posterior, found: Bool[np.ndarray, "wave"]) -> Posterior:
    """The same with probabilities that are no more than one, as sums of rounded numbers need not be.

    Raises:
        ModelOutputInvalid: something is not a probability by more than rounding.
    """
    p = posterior.p_two[found]
    if not ((p >= -ROUNDING) & (p <= 1.0 + ROUNDING)).all() or not np.isfinite(posterior.density[found]).all():
        raise ModelOutputInvalid("the model gave something that is not a probability")
    return replace(posterior, p_two=np.minimum(np.maximum(posterior.p_two, 0.0), 1.0))


def _warnings(odd: dict[str, Bool[np.ndarray, "wave"]], row: int, outside: Sequence[str]) -> tuple[Warned, ...]:
    warned = [Warned(code, INTAKE_MEANINGS[code]) for code, rows in odd.items() if rows[row]]
    if outside:
        warned.append(Warned("outside-training", f"{MEANINGS['outside-training']}: {', '.join(outside)}"))
    return tuple(warned)


def _parts(ask: Ask, pulses: Pulses, number: Int[np.ndarray, "wave"], posterior: Posterior) -> Parts:
    return parts(pulses, np.maximum(number, 0), posterior.mean_us, ask.detector, ask.drift_time_us)


T = TypeVar("T", Answered, Parts)


def _joined(blocks: Sequence[T]) -> T:
    """The rows of all blocks after one another."""
    if len(blocks) == 1:
        return blocks[0]
    columns = {f.name: [getattr(block, f.name) for block in blocks] for f in fields(blocks[0])}
    return type(blocks[0])(**{name: _column(values) for name, values in columns.items()})


def _column(values: list[Any]) -> Any:
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values)
    if isinstance(values[0], tuple):
        return tuple(row for rows in values for row in rows)
    return None if values[0] is None else _joined(values)
