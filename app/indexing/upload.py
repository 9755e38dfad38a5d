"""A user's file as lines: a pattern whose lines are searched, or a list of lines that somebody made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np

from app.errors import AppError
from app.indexing.patterns.pattern import MIN_POINTS, Axis
from app.indexing.patterns.pattern_columns import decoded, read_line_list, read_table
from app.indexing.patterns.pattern_files import MAX_BYTES, read_pattern
from app.indexing.patterns.peak_search import PeakOptions, PeakSearch, peak_list_from_search, search_peaks
from app.indexing.peaks import Given, KindName
from app.indexing.question import Question, ask

Content = Literal["auto", "pattern", "lines"]

_LIST_BYTES: Final = 100_000
_KIND_OF_AXIS: Final[Mapping[Axis, tuple[KindName, float]]] = {
    "two_theta_deg": ("two_theta_deg", 1.0),
    "d_ang": ("d_ang", 1.0),
    "q_inv_ang": ("q_inv_ang", 1.0),
    "q_2pi_inv_ang": ("q_2pi_inv_ang", 1.0),
    "q_2pi_inv_nm": ("q_2pi_inv_ang", 0.1),
}
"""Kind of the positions on each axis, and the factor to its unit."""


@dataclass(frozen=True)
class FileOptions:
    """What may be said of a file.

    Attributes:
        content: ``pattern``, ``lines``, or ``auto``: fewer than 50 rows of numbers are a list of lines.
        axis: what the first column of a text file holds; None takes what its header says, else 2theta in degrees.
        wavelength_ang: goes before the file's own.
        search: how to search the lines of a pattern.
    """

    content: Content = "auto"
    axis: Axis | None = None
    wavelength_ang: float | None = None
    search: PeakOptions = field(default_factory=PeakOptions)


@dataclass(frozen=True)
class Upload:
    """The lines of a file.

    Attributes:
        given: the lines, for `app.indexing.question.ask`.
        search: what was found in a pattern; None for a list of lines.
        name: the file's own.
    """

    given: Given
    search: PeakSearch | None
    name: str


def read_upload(content: bytes, name: str, options: FileOptions) -> Upload:
    """Read a pattern and search its lines, or read a list of lines.

    Raises:
        InvalidInput: a damaged file, no wavelength where one is needed, no lines.
        UnsupportedFormat: a kind that is not read.
        TooLarge: see `app.indexing.patterns.pattern_files.read_pattern`.
    """
    kind = options.content
    if kind == "lines" or (kind == "auto" and is_line_list(content)):
        return Upload(_listed(content, options), None, name)
    search = search_file(content, name, options)
    return Upload(_searched(search), search, name)


def search_file(content: bytes, name: str, options: FileOptions) -> PeakSearch:
    """Read a pattern and search its lines.

    Raises:
        AppError: as `read_upload`.
    """
    pattern = read_pattern(content, name, axis=options.axis, wavelength_ang=options.wavelength_ang)
    return search_peaks(pattern, options.search)


def is_line_list(content: bytes) -> bool:
    """Tell a list of lines from a pattern: it is a short text with fewer rows than any pattern has."""
    if len(content) > _LIST_BYTES or content.lstrip()[:1] == b"<":
        return False
    try:
        return len(read_table(decoded(content), min_columns=1).values) < MIN_POINTS
    except AppError:
        return False


def question_from_upload(upload: Upload, changes: Mapping[str, Any]) -> Question:
    """Ask about the lines of a file.

    Raises:
        AppError: as `app.indexing.question.ask`.
    """
    question = ask(upload.given, changes, name=upload.name)
    searched = upload.search.warnings if upload.search else ()
    return replace(question, warnings=(*searched, *question.warnings))


def _listed(content: bytes, options: FileOptions) -> Given:
    found = read_line_list(content[: MAX_BYTES + 1])
    kind, factor = _KIND_OF_AXIS[options.axis or found.axis or "two_theta_deg"]
    sigma = None if found.sigma is None else factor * found.sigma
    return Given(kind, factor * found.position, sigma, found.intensity, options.wavelength_ang or found.wavelength_ang)


def _searched(search: PeakSearch) -> Given:
    """Over d or q without a wavelength, 2theta is a mere change of variable: q^2 says what is known."""
    peaks = peak_list_from_search(search)
    if peaks.wavelength_ang is None:
        return Given("q2_inv_ang2", peaks.q2_inv_ang2, peaks.sigma_q2_inv_ang2, peaks.intensity)
    return Given(
        "two_theta_deg", search.two_theta_deg, search.sigma_deg, np.abs(search.intensity), peaks.wavelength_ang
    )
