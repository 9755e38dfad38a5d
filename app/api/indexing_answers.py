"""Answers of the solver in the form that the caller accepts: JSON as the job wrote it, the others made from it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import orjson

from app.indexing.answer import result_content, result_from_content
from app.indexing.patterns.peak_search import PeakSearch
from app.indexing.patterns.peak_table import peaks_content, peaks_csv
from app.indexing.problem import PeakList, SolveResult
from app.indexing.report import cif_from_result, csv_from_result

Format = Literal["json", "csv", "cif", "png", "svg"]

MEDIA_TYPES: Final[Mapping[Format, str]] = MappingProxyType(
    {
        "json": "application/json",
        "csv": "text/csv",
        "cif": "chemical/x-cif",
        "png": "image/png",
        "svg": "image/svg+xml",
    }
)
"""In order of preference where the caller has none."""

Rows = Literal["cells", "lines"]
"""Rows of the CSV: one for each cell, or one for each line of each cell."""

PeakFormat = Literal["json", "csv", "png", "svg"]

PEAK_MEDIA_TYPES: Final[Mapping[PeakFormat, str]] = MappingProxyType(
    {"json": "application/json", "csv": "text/csv", "png": "image/png", "svg": "image/svg+xml"}
)
"""The same for the lines of a pattern."""


def written(
    content: bytes, form: Format, peaks: PeakList, search: PeakSearch | None = None, *, rows: Rows = "cells"
) -> bytes:
    """Write an answer in one of the formats.

    Args:
        content: the answer as JSON, as `app.indexing.job.run` gives it.
        form: what to write.
        peaks: the lines that were asked about.
        search: the pattern that they were found in; a picture shows it.
        rows: of the CSV.

    Raises:
        InvalidInput: a CIF of no solution.
    """
    if form == "json":
        return content
    told = orjson.loads(content)
    return result_written(result_from_content(told), form, peaks, search, name=told["name"] or "", rows=rows)


def result_written(
    result: SolveResult,
    form: Format,
    peaks: PeakList,
    search: PeakSearch | None = None,
    *,
    name: str = "",
    rows: Rows = "cells",
) -> bytes:
    """Write what the solver found in one of the formats; ``name`` is the user's label.

    Raises:
        InvalidInput: as `written`.
    """
    if form == "json":
        return orjson.dumps(result_content(result, wavelength_ang=peaks.wavelength_ang, name=name))
    if form == "csv":
        return csv_from_result(result, lines=rows == "lines", peaks=peaks).encode()
    if form == "cif":
        return cif_from_result(result, peaks=peaks, name=name).encode()
    from app.plots.indexing import drawn_solution  # Matplotlib takes memory and a second: not before it is asked for

    return drawn_solution(result, peaks, form, search=search, name=name)


def peaks_written(search: PeakSearch, form: PeakFormat) -> bytes:
    """Write the lines of a pattern in one of the formats."""
    if form == "json":
        return orjson.dumps(peaks_content(search))
    if form == "csv":
        return peaks_csv(search)
    from app.plots.indexing import drawn_search

    return drawn_search(search, form)
