"""Predictions as the text columns that D3's later steps read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np

from app.polarization.case import Solved

COLUMNS = ("GridTime", "Time", "PredictedPolarizationD3", "ErrPredictedPolarizationD3")
"""Seconds since the initial calibration; date-time where dates are known and the same seconds otherwise; P; sigma."""


def table(solved: Sequence[Solved]) -> str:
    """Write one row a time; more than one experiment get a first column `Experiment`, their name or number from 1."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    several = len(solved) > 1
    writer.writerow((*(("Experiment",) if several else ()), *COLUMNS))
    for number, one in enumerate(solved, start=1):
        label = (one.case.name or str(number),) if several else ()
        writer.writerows((*label, *row) for row in _rows(one))
    return lines.getvalue()


def _rows(solved: Solved) -> Iterable[tuple[object, ...]]:
    curve, time_s = solved.answered.curve, solved.case.ask.time_s
    return zip(time_s.tolist(), times(solved), curve.mean.tolist(), curve.sigma.tolist(), strict=True)


def times(solved: Solved) -> list[str] | list[float]:
    """The times asked as ISO date-times where dates are known, else in seconds."""
    case = solved.case
    dates = case.date_times(case.ask.time_s)
    return case.ask.time_s.tolist() if dates is None else iso(dates, utc=case.utc)


def iso(dates: np.ndarray, *, utc: bool) -> list[str]:
    """Write date-times as ISO 8601: to the second where all are whole seconds, with `Z` where they are in UTC."""
    whole = bool((dates == dates.astype("datetime64[s]")).all())
    text = np.datetime_as_string(dates, unit="s" if whole else "ms")
    return [f"{time}Z" if utc else str(time) for time in text]
