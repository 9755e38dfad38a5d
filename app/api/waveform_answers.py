"""Answers on waveforms as JSON, CSV, tensors or a picture."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from jaxtyping import Num

from app.api.negotiation import Format
from app.waveform.predict import MEANINGS, UNANSWERED, Answered, Ask

_CODES: Final = {code: 1 << bit for bit, code in enumerate(MEANINGS)}


@dataclass(frozen=True)
class Answer:
    """Everything that an answer is written from.

    Attributes:
        shown: waveforms that the answer speaks of, as indices of those sent; None: all.
    """

    ask: Ask
    answered: Answered
    model: str
    version: int
    alias: str | None
    shown: tuple[int, ...] | None = None


def written(answer: Answer, form: Format) -> bytes:
    """Write an answer in one of the formats."""
    if form == "json":
        return orjson.dumps(answer_json(answer))
    if form == "csv":
        return answer_csv(answer).encode()
    from app.plots.waveform import drawn  # Matplotlib takes memory and a second: not before it is asked for

    return drawn(answer.ask, answer.answered, answer.shown or tuple(range(len(answer.answered.number))), form)


def answer_json(answer: Answer) -> dict[str, Any]:
    """An answer in the form of `WaveformAnswer`."""
    names, rows = _table(answer)
    pulses = _pulses(answer)
    warnings = [[{"code": w.code, "message": w.message} for w in row] for row in answer.answered.warnings]
    return {
        "model": {"name": answer.model, "version": answer.version, "alias": answer.alias},
        "detector": answer.ask.detector,
        "prior_two": answer.ask.prior_two,
        "waveforms": [
            {**dict(zip(names, row, strict=True)), "pulses": parts, "warnings": warned}
            for row, parts, warned in zip(rows, pulses, warnings, strict=True)
        ],
    }


def _table(answer: Answer) -> tuple[list[str], list[list[Any]]]:
    """Names of the numbers, and for each waveform the numbers; None for what is not known."""
    columns = _columns(answer)
    numbers = np.array([*columns.values()], np.float64).T.tolist()
    rows = [[None if value != value else value for value in row] for row in numbers]  # nan is not itself
    for row, number in zip(rows, answer.answered.number.tolist(), strict=True):
        row[0] = None if number == UNANSWERED else number
    return [*columns], rows


def _columns(answer: Answer) -> dict[str, Num[np.ndarray, "wave"]]:
    found, velocity = answer.answered, answer.ask.detector.drift_velocity_mm_per_us
    in_us = {
        "separation": found.separation_us,
        "sigma": found.sigma_us,
        "low68": found.interval68_us[:, 0],
        "high68": found.interval68_us[:, 1],
        "low95": found.interval95_us[:, 0],
        "high95": found.interval95_us[:, 1],
    }
    return {
        "number_of_s2": found.number,
        "p_two": found.p_two,
        **{f"{name}_us": column for name, column in in_us.items()},
        **{f"{name}_mm": column * velocity for name, column in in_us.items()},
    }


def _values(column: Num[np.ndarray, "wave"]) -> list[Any]:
    """Python's numbers; None for what is not known."""
    return [None if bad else value for value, bad in zip(column.tolist(), np.isnan(column).tolist(), strict=True)]


def _pulses(answer: Answer) -> list[list[dict[str, float]] | None]:
    found = answer.answered.parts
    if found is None:
        return [None] * len(answer.answered.number)
    total = found.area.sum(axis=1)
    share = found.area / np.where(total > 0.0, total, 1.0)[:, None]
    return [
        [
            {
                "time_us": float(found.time_us[row, k]),
                "area": float(found.area[row, k]),
                "share": float(share[row, k]),
                "sigma_us": float(found.sigma_us[row]),
                "rms_us": float(found.rms_us[row]),
            }
            for k in range(int(number))
        ]
        for row, number in enumerate(found.number)
    ]


def answer_csv(answer: Answer) -> str:
    """A row for each waveform; empty cells for what is not known; the codes of the warnings with blanks between."""
    names, rows = _table(answer)
    columns = _pulse_columns(answer)
    columns["warnings"] = [" ".join(w.code for w in row) for row in answer.answered.warnings]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["waveform", *names, *columns])
    for number, (row, cells) in enumerate(zip(rows, zip(*columns.values(), strict=True), strict=True)):
        writer.writerow([number, *row, *cells])
    return text.getvalue()


def _pulse_columns(answer: Answer) -> dict[str, list[Any]]:
    found = answer.answered.parts
    if found is None:
        return {}
    columns: dict[str, list[Any]] = {}
    for k in range(2):
        exists = found.number > k
        columns[f"time{k + 1}_us"] = _values(np.where(exists, found.time_us[:, k], np.nan))
        columns[f"area{k + 1}"] = _values(np.where(exists, found.area[:, k], np.nan))
    columns["pulse_sigma_us"] = _values(found.sigma_us)
    return columns


def answer_tensors(answer: Answer) -> dict[str, Num[np.ndarray, "..."]]:
    """Outputs of the open inference protocol; nan for what is not known, -1 for an unknown number.

    ``warnings`` has a bit for each code, in the order of `MEANINGS` from the lowest.
    """
    found = answer.answered
    bits = [sum(_CODES[w.code] for w in row) for row in found.warnings]
    return {
        "p_two": found.p_two.astype(np.float32),
        "d_us": found.separation_us.astype(np.float32),
        "sigma_us": found.sigma_us.astype(np.float32),
        "number_of_s2": found.number.astype(np.int32),
        "interval68_us": found.interval68_us.astype(np.float32),
        "interval95_us": found.interval95_us.astype(np.float32),
        "warnings": np.array(bits, np.uint32),
    }
