"""Columns of numbers in text: .xy, .xye, .csv, .dat, .txt, .chi, and lists of lines that users paste."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float

from app.errors import InvalidInput, TooLarge, UnsupportedFormat
from app.indexing.patterns.pattern import AXES, MAX_POINTS, Axis, Pattern, make_pattern

MAX_LINE_LENGTH: Final = 2000
MAX_TEXT_LINES: Final = 2 * MAX_POINTS + 10_000
"""Most lines of a text, so that remarks and blank lines have room beside the numbers."""
MAX_COLUMNS: Final = 64
_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_COMMENT: Final = ("#", "!", "'", '"', "*", "%", ";", "//")
_BEHIND: Final = re.compile(r"\s[#!].*$")
_SEPARATORS: Final = re.compile(r"[\s,;]+")
_BLANKS: Final = re.compile(r"[\s;]+")
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_DECIMAL_COMMA_LINE: Final = re.compile(
    r"[+-]?\d+(?:,\d+)?(?:[eE][+-]?\d+)?(?:(?:\s*;\s*|\s+)[+-]?\d+(?:,\d+)?(?:[eE][+-]?\d+)?)*;?"
)
_WAVELENGTH: Final = re.compile(
    r"(?:wave\s*length\w*|lambda\d?|alpha1|λ)[^\d+-]{0,24}(\d*\.?\d+(?:[eE][+-]?\d+)?)\s*(nm|m\b|Å|A\b|ang)?",
    re.IGNORECASE,
)
_METRES: Final = {"m": 1e10, "nm": 10.0}
_AXIS_WORDS: Final[tuple[tuple[re.Pattern[str], Axis], ...]] = (
    (re.compile(r"2\s*[-_ ]?\s*th|two[-_ ]?theta|2\s*θ|tth", re.IGNORECASE), "two_theta_deg"),
    (re.compile(r"\bq[\s_(\[]*(?:nm|1/nm)", re.IGNORECASE), "q_2pi_inv_nm"),
    (re.compile(r"\bq[\s_(\[]*(?:A|Å|1/A|1/Å|inv)", re.IGNORECASE), "q_2pi_inv_ang"),
    (re.compile(r"\bd[-_ ]?(?:spacing|ang\b|\(A|\[A)", re.IGNORECASE), "d_ang"),
)
_SIGMA_WORDS: Final = re.compile(r"e\.?s\.?d|sigma|\berr|uncert|std", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """Numbers of a text file.

    Attributes:
        values: shape (row, column); as many columns as the shortest row has.
        line: line number of each row, from 1.
        header: what stands before the first row and in comments.
    """

    values: Float[np.ndarray, "row column"]
    line: tuple[int, ...]
    header: tuple[str, ...]


@dataclass(frozen=True)
class LineList:
    """Lines of a list that a user made: positions, and intensities and sigmas where there are more columns.

    Attributes:
        position: on the axis that the list's header names, else that the caller names, shape (peak,).
        intensity: shape (peak,).
        sigma: standard deviation of the positions, shape (peak,).
        axis: what the header says of the positions.
        wavelength_ang: what the header says.
    """

    position: Float[np.ndarray, "peak"]
    intensity: Float[np.ndarray, "peak"] | None
    sigma: Float[np.ndarray, "peak"] | None
    axis: Axis | None
    wavelength_ang: float | None


def decoded(content: bytes) -> str:
    """Text of a file: UTF-8 with or without byte-order mark, UTF-16 with one, else Latin-1.

    Raises:
        UnsupportedFormat: binary content.
    """
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, errors="replace")
    if b"\0" in content[:65536]:
        raise UnsupportedFormat("the file is binary, and of no kind that is read here")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def lines_of(text: str) -> list[str]:
    """Split at any kind of line end, and nowhere else.

    Raises:
        TooLarge: too many lines, or too long a line. Each line is an object many times its size, and patterns that
            are sought in a line must not meet one of megabytes.
    """
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    if (count := plain.count("\n") + 1) > MAX_TEXT_LINES:
        raise TooLarge(f"{count} lines of text, at most {MAX_TEXT_LINES} are read")
    lines = plain.split("\n")
    if max(map(len, lines)) > MAX_LINE_LENGTH:
        number, length = next((n, len(line)) for n, line in enumerate(lines, start=1) if len(line) > MAX_LINE_LENGTH)
        raise TooLarge(f"line {number} has {length} characters, at most {MAX_LINE_LENGTH} are read")
    return lines


def quoted(line: str) -> str:
    """A line as an error shows it: short and printable."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in line.strip()[:60])
    return f"'{shown}'"


def read_table(text: str, *, min_columns: int = 2) -> Table:
    """Read columns separated by blanks, commas or semicolons; a decimal comma where the separators leave no doubt.

    Comments start with one of # ! ' " * % ; //. Lines before the first row of numbers are a header.

    Raises:
        InvalidInput: no numbers; a line among the numbers that is none, by its line number.
        TooLarge: too many rows, columns or characters in a line.
    """
    lines = lines_of(text)
    comma = _has_decimal_comma(lines)
    rows: list[list[float]] = []
    numbers: list[int] = []
    header: list[str] = []
    for number, raw in enumerate(lines, start=1):
        line = raw.strip().lstrip("\ufeff")
        if not line:
            continue
        row = None if line.startswith(_COMMENT) else _row(line, comma)
        if row is not None and len(row) >= min_columns:
            rows.append(row)
            numbers.append(number)
        elif line.startswith(_COMMENT) or not rows:
            header.append(line)
        else:
            _refuse(number, line, row, min_columns, last=not any(rest.strip() for rest in lines[number:]))
        if len(rows) > MAX_POINTS:
            raise TooLarge(f"more than {MAX_POINTS} rows of numbers; at most so many are read")
    if not rows:
        raise InvalidInput(f"no row of {min_columns} or more numbers was found in {len(lines)} lines of text")
    width = min(map(len, rows))
    return Table(np.array([row[:width] for row in rows]), tuple(numbers), tuple(header[:200]))


def _refuse(number: int, line: str, row: list[float] | None, min_columns: int, *, last: bool) -> None:
    """Raise for a line that is no row; the last line of a file may say anything."""
    if row is None and last and not line[0].isdigit():
        return
    found = quoted(line) if row is None else f"{quoted(line)}, {len(row)} number{'s' * (len(row) != 1)}"
    raise InvalidInput(f"line {number} reads {found}, expected {min_columns} or more numbers as in the lines before")


def _row(line: str, comma: bool) -> list[float] | None:
    """The numbers of a line; None where anything else stands in it."""
    line = _BEHIND.sub("", line).strip().strip(",;")
    parts = (_BLANKS if comma else _SEPARATORS).split(line.strip())
    if len(parts) > MAX_COLUMNS:
        return None
    try:
        return None if "_" in line else [float(part.replace(",", ".") if comma else part) for part in parts]
    except ValueError:
        return None


def _has_decimal_comma(lines: Sequence[str]) -> bool:
    """Whether each row of numbers can be read with decimal commas, some must be, and no row has a point."""
    some = False
    for raw in lines:
        line = raw.strip()
        if not line or line.startswith(_COMMENT) or not (line[0].isdigit() or line[0] in "+-"):
            continue
        if len(line) > MAX_LINE_LENGTH or not _DECIMAL_COMMA_LINE.fullmatch(line):
            return False
        parts = [part for part in _BLANKS.split(line) if part]
        some = some or (len(parts) > 1 and any(_DECIMAL_COMMA.fullmatch(part) for part in parts))
        if len(parts) == 1 and "," in line:
            return False
    return some


def wavelength_in(header: Sequence[str]) -> float | None:
    """The wavelength in Angstrom that a header names, in Angstrom, nm or m; None where it names none."""
    for line in header:
        match = _WAVELENGTH.search(line)
        if match is None:
            continue
        value, unit = float(match[1]), (match[2] or "").lower()
        value *= _METRES.get(unit, 1e10 if value < 1e-7 else 1.0)
        if 0.05 <= value <= 15:
            return value
    return None


def axis_in(header: Sequence[str]) -> Axis | None:
    """What the header calls the first column; None where it does not say."""
    for line in reversed(header):
        plain = line.strip(" \t#!'\";").split(",")[0].split("\t")[0].strip()
        if plain in AXES:
            return plain  # type: ignore[return-value]
        for words, axis in _AXIS_WORDS:
            if words.search(line):
                return axis
    return None


def read_columns(content: bytes, name: str, *, axis: Axis | None, wavelength_ang: float | None) -> Pattern:
    """Read a pattern from two or three columns: position, counts and, where it is one, the standard deviation.

    A file whose first row is start, step and end of the scan, with counts alone behind it, is read as that.

    Raises:
        InvalidInput: see `read_table` and `make_pattern`.
        UnsupportedFormat: binary content.
    """
    text = decoded(content)
    stepped = _stepped(text)
    header = read_table(text, min_columns=1).header if stepped else None
    if stepped is not None and header is not None:
        position, counts, sigma, warnings = *stepped, None, ()
    else:
        table = read_table(text)
        header = table.header
        position, counts = table.values[:, 0], table.values[:, 1]
        sigma, warnings = _sigma(table, name)
        _check_finite(table)
    return make_pattern(
        position,
        counts,
        sigma,
        axis=axis or axis_in(header) or "two_theta_deg",
        wavelength_ang=wavelength_ang or wavelength_in(header),
        name=name,
        warnings=warnings,
    )


def _check_finite(table: Table) -> None:
    bad = ~np.isfinite(table.values[:, :2]).all(axis=1)
    if bad.any():
        raise InvalidInput(f"line {table.line[int(np.argmax(bad))]} holds a value that is not a finite number")


def _stepped(text: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Positions and counts of a file of start, step, end and then counts; None where it is another."""
    lines = lines_of(text)
    rows = ((at, row) for at, line in enumerate(lines) if (row := _row(line.strip(), False)) is not None)
    at, first = next(((at, row) for at, row in rows if row), (0, []))
    if len(first) != 3:
        return None
    start, step, end = first
    if not (math.isfinite(start + step + end) and 0 < step <= 1 and start < end and (end - start) / step < MAX_POINTS):
        return None
    counts = np.array([value for line in lines[at + 1 :] for value in _row(line.strip(), False) or ()])
    expected = round((end - start) / step) + 1
    return (start + step * np.arange(expected), counts) if len(counts) == expected else None


def _sigma(table: Table, name: str) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The third column where it is the standard deviation of the second."""
    if table.values.shape[1] < 3:
        return None, ()
    third, counts = table.values[:, 2], table.values[:, 1]
    said = name.lower().endswith((".xye", ".fxye")) or any(map(_SIGMA_WORDS.search, table.header))
    plausible = bool(np.all(np.isfinite(third)) and np.all(third >= 0) and np.mean(third > 0) > 0.5)
    if plausible and not said and table.values.shape[1] == 3:
        high = counts > np.median(counts)
        plausible = said = bool(high.any() and np.median(third[high]) < 0.5 * np.median(np.abs(counts[high])))
    if said and plausible:
        return third, ()
    return None, ("the third column is not a standard deviation of the counts and was left out",)


def read_line_list(content: bytes) -> LineList:
    """Read a list of lines: one a row, position, then intensity, then the position's sigma, as far as given.

    A header that names its columns may put them in another order: words such as sigma or esd, and int or I.

    Raises:
        InvalidInput: no numbers, a line that is none.
        UnsupportedFormat: binary content.
    """
    table = read_table(decoded(content), min_columns=1)
    names = _column_names(table)
    columns = {what: table.values[:, at] for what, at in names.items()}
    return LineList(
        position=columns["position"],
        intensity=columns.get("intensity"),
        sigma=columns.get("sigma"),
        axis=axis_in(table.header),
        wavelength_ang=wavelength_in(table.header),
    )


def _column_names(table: Table) -> dict[str, int]:
    width = table.values.shape[1]
    default = {"position": 0} | ({"intensity": 1} if width > 1 else {}) | ({"sigma": 2} if width > 2 else {})
    words = re.split(r"[\s,;]+", table.header[-1].strip(" \t#!'\";")) if table.header else []
    if len(words) != width:
        return default
    found = {"position": 0}
    for at, word in enumerate(words[1:], start=1):
        if _SIGMA_WORDS.search(word):
            found.setdefault("sigma", at)
        elif re.match(r"i($|\W|nt|_)|area|height|counts|i/", word, re.IGNORECASE):
            found.setdefault("intensity", at)
    return found if len(found) > 1 else default
