"""Several questions answered as one.

Of the time that a single waveform takes, four fifths are NumPy's cost of a call, whatever its length. Sixteen at once
take a fifth of the time each.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from app.waveform.models import WaveformModel
from app.waveform.predict import Answered, Ask, predict
from app.waveform.pulses import Parts


def alike(ask: Ask) -> Hashable:
    """Questions for which this is equal may be asked together."""
    return ask.waveforms.shape[1], ask.detector, ask.prior_two, ask.intake, ask.with_parts


def predict_together(asks: Sequence[Ask], model: WaveformModel) -> list[Answered]:
    """Answer questions that are `alike`; each answer is what `predict` gives to its question.

    Raises:
        InvalidInput, ModelOutputInvalid: as `predict`, for any of them.
    """
    if len(asks) == 1:
        return [predict(asks[0], model)]
    waveforms = np.concatenate([ask.waveforms for ask in asks], dtype=np.float64, casting="unsafe")
    found = predict(replace(asks[0], waveforms=waveforms, drift_time_us=_drift_times(asks)), model)
    ends = np.cumsum([len(ask.waveforms) for ask in asks]).tolist()
    return [_rows(found, slice(start, end)) for start, end in zip([0, *ends], ends, strict=False)]


def _drift_times(asks: Sequence[Ask]) -> Float[np.ndarray, "wave"] | None:
    if all(ask.drift_time_us is None for ask in asks):
        return None
    given = (np.full(len(ask.waveforms), np.nan) if ask.drift_time_us is None else ask.drift_time_us for ask in asks)
    return np.concatenate(list(given))


T = TypeVar("T", Answered, Parts)


def _rows(found: T, rows: slice) -> T:
    return type(found)(**{f.name: _part(getattr(found, f.name), rows) for f in fields(found)})


def _part(column: Any, rows: slice) -> Any:
    if column is None or isinstance(column, np.ndarray | tuple):
        return None if column is None else column[rows]
    return _rows(column, rows)
