"""GSAS powder data: one BANK of FXYE, FXY, ESD, STD (GSAS Technical Manual, Larson and Von Dreele, 2004, p. 217)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import numpy as np

from app.errors import InvalidInput, TooLarge, UnsupportedFormat
from app.indexing.patterns.pattern import MAX_POINTS, Pattern, make_pattern
from app.indexing.patterns.pattern_columns import lines_of, quoted, wavelength_in

BANK: Final = re.compile(r"^BANK[ \t]+\d+[ \t]", re.MULTILINE)
CENTIDEGREE: Final = 0.01
Columns = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def read_gsas(text: str, name: str, *, wavelength_ang: float | None) -> Pattern:
    """Read the first bank of a constant-wavelength GSAS file; positions are in centidegrees.

    Raises:
        InvalidInput: a damaged header or row, by its line number.
        UnsupportedFormat: time of flight, or another binning or type.
    """
    lines = lines_of(text)
    banks = [at for at, line in enumerate(lines) if BANK.match(line)]
    first = banks[0]
    head = lines[first].split()
    kind = head[9].upper() if len(head) > 9 else "STD"
    if len(head) < 5 or head[4].upper() not in {"CONS", "CONST"}:
        found = head[4] if len(head) > 4 else "none"
        raise UnsupportedFormat(
            f"line {first + 1}: GSAS binning {quoted(found)} is not read, expected CONS or CONST: patterns over 2theta "
            "in constant wavelength; time-of-flight patterns are not read, but their lines can be sent as d"
        )
    if kind not in _KINDS:
        raise UnsupportedFormat(f"line {first + 1}: GSAS type {quoted(kind)} is not read, expected {', '.join(_KINDS)}")
    n_points = _points(head, first)
    start, step = _numbers(head[5:7], first, "start and step")
    end = banks[1] if len(banks) > 1 else len(lines)
    rows = [(at + 1, line) for at, line in enumerate(lines[first + 1 : end], start=first + 1) if line.strip()]
    position, counts, sigma = _KINDS[kind](rows, start, step, n_points)
    if len(position) < n_points:
        raise InvalidInput(f"{len(position)} points, but line {first + 1} announces {n_points}: the file is cut short")
    many = (f"the file holds {len(banks)} banks; the first was read",) if len(banks) > 1 else ()
    return make_pattern(
        position[:n_points] * CENTIDEGREE,
        counts[:n_points],
        None if sigma is None else sigma[:n_points],
        wavelength_ang=wavelength_ang or wavelength_in(lines[:first]),
        name=name,
        warnings=many,
    )


def _points(head: list[str], line: int) -> int:
    try:
        n_points = int(head[2])
    except ValueError:
        raise InvalidInput(f"line {line + 1}: {quoted(head[2])} is no number of points") from None
    if n_points > MAX_POINTS:
        raise TooLarge(f"line {line + 1} announces {n_points} points, at most {MAX_POINTS} are read")
    return n_points


def _numbers(parts: list[str], line: int, what: str) -> list[float]:
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        raise InvalidInput(f"line {line + 1}: {what} cannot be read in {quoted(' '.join(parts))}") from None
    if len(numbers) != 2 or numbers[1] < 0:
        raise InvalidInput(f"line {line + 1}: {what} cannot be read, expected two numbers in centidegrees")
    return numbers


def _positions(rows: list[tuple[int, str]], width: int) -> Columns:
    values = []
    for number, line in rows:
        try:
            row = [float(part) for part in line.split()[:width]]
        except ValueError:
            row = []
        if len(row) < width:
            raise InvalidInput(f"line {number} reads {quoted(line)}, expected {width} numbers")
        values.append(row)
    table = np.array(values).reshape(-1, width)
    return table[:, 0], table[:, 1], table[:, 2] if width > 2 else None


def _fields(line: str, widths: tuple[int, ...]) -> list[str]:
    """Fixed Fortran fields, repeated to the end of the line."""
    fields, at = [], 0
    while line[at:].strip():
        for width in widths:
            fields.append(line[at : at + width].strip())
            at += width
    return fields


def _pairs(rows: list[tuple[int, str]], widths: tuple[int, int]) -> np.ndarray:
    """Pairs of numbers, shape (point, 2), in fixed fields; free fields where the columns do not fit them."""
    values: list[float] = []
    for number, line in rows:
        try:
            values.extend(float(field or 0) for field in _fields(line, widths))
        except ValueError:
            raise InvalidInput(f"line {number} reads {quoted(line)}, expected numbers in fields of {widths}") from None
    return np.array(values).reshape(-1, 2)


def _esd(rows: list[tuple[int, str]], start: float, step: float, n_points: int) -> Columns:
    table = _pairs(rows, (8, 8))
    return start + step * np.arange(len(table)), table[:, 0], table[:, 1]


def _std(rows: list[tuple[int, str]], start: float, step: float, n_points: int) -> Columns:
    """Ten of (I2, F6.0): the number of detectors that counted (blank: one), and their mean; variance = mean/number."""
    table = _pairs(rows, (2, 6))
    detectors, counts = np.maximum(table[:, 0], 1), table[:, 1]
    return start + step * np.arange(len(table)), counts, np.sqrt(np.maximum(counts, 1) / detectors)


_KINDS: Final[dict[str, Callable[[list[tuple[int, str]], float, float, int], Columns]]] = {
    "STD": _std,
    "ESD": _esd,
    "FXY": lambda rows, start, step, n_points: _positions(rows, 2),
    "FXYE": lambda rows, start, step, n_points: _positions(rows, 3),
}
