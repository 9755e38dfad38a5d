"""Reading `.fli`, the text that D3 (ILL) writes while it measures flipping ratios.

Two kinds of lines matter: headers, one for each 3He cell that is put in place, and measurement rows. Everything else is
kept by line number: remarks, rows of integrated flipping ratios (another table that shares the extension), and damaged
lines with the reason. Parsing text never raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.polarization.experiment import Cell

Role = Literal["polarizer", "analyser", "magic box"]
Direction = tuple[str, str]

SPIN_UP: Direction = ("+z", "+z")
MAX_PRESSURE_BAR = 10.0
MAX_LINE_LENGTH = 400
MAX_QUOTED_LENGTH = 120

_ROLES: dict[str, Role] = {
    "polariser cell": "polarizer",
    "polarizer cell": "polarizer",
    "new cell": "polarizer",
    "analyser cell": "analyser",
    "analyzer cell": "analyser",
    "magic box": "magic box",
}
_LOOKS_LIKE_HEADER = re.compile(r"\b(cell|magic\s+box)\s+info\b", re.IGNORECASE)
_HEADER = re.compile(
    r"(?P<role>polari[sz]er\s+cell|analy[sz]er\s+cell|new\s+cell|magic\s+box)\s+info\s+"
    r"(?P<cell_id>\S+)\s+pressure/init\.\s*polar\s+(?P<pressure>\S+)\s+(?P<polarization>\S+)\s+"
    r"initial\s+date/time\s+(?P<date>\d{1,2}[\s/.-]\d{1,2}[\s/.-]\d{2,4})\s*@\s*(?P<time>\S+)\s*",
    re.IGNORECASE,
)
_CELL_ID = re.compile(r"[a-z][a-z0-9_-]{2,15}", re.IGNORECASE)
_ROW = re.compile(
    r"(?P<number>\d{1,9})\s+(?P<h>\S+)\s+(?P<k>\S+)\s+(?P<l>\S+)\s+"
    r"(?P<date>\d{1,2}/\d{1,2}/\d{2,4})\s+(?P<time>\d{1,2}:\d{2}(?::\d{2})?)\s+(?P<temperature>\S+)"
    r"(?P<directions>(?:\s+[+-][xyz]){0,2})(?P<values>.*)",
    re.IGNORECASE,
)
_VALUE = r"[+-]?(?:\d+\.\d*|\.?\d+|nan|inf(?:inity)?)(?:e[+-]?\d+)?"
_FOUR_DECIMALS = re.compile(r"\s*([+-]?\d+\.\d{4}|[+-]?nan|[+-]?inf(?:inity)?)", re.IGNORECASE)
_COUNTING_TIME = re.compile(rf"\s*({_VALUE})?\s*(.*)", re.IGNORECASE)
_INTEGRATED_ROW = re.compile(
    rf"!?\s*\d+(?:\s+{_VALUE}){{7,13}}\s+\d{{1,2}}[-/](?:\d{{1,2}}|[a-z]{{3}})[-/]\d{{2,4}}\s+\d{{1,2}}:\d{{2}}(:\d{{2}})?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class CellHeader:
    """A cell was put in place: its line number, its role and what the line says of it."""

    line: int
    role: Role
    cell: Cell


@dataclass(frozen=True)
class Row:
    """One measured flipping ratio.

    Attributes:
        line: line number in its file, from 1.
        number: the instrument's running number of the measurement.
        reflection: h, k, l.
        time: instrument's local time, no zone.
        temperature_k: as written, 0 where it was not recorded.
        direction: spin direction after the monochromator and at the detector; None where the set-up does not write it.
        polarization: P; may be NaN or infinite, as the instrument wrote it.
        sigma: counting error of P.
        ratio: flipping ratio R, with P = (R - 1)/(R + 1); R may be inverted where the flipper was in the other state.
        ratio_sigma: its error.
        counting_s: counting time; None in files of 2018.
        remark: what somebody wrote behind the numbers.
    """

    line: int
    number: int
    reflection: tuple[float, float, float]
    time: datetime
    temperature_k: float
    direction: tuple[str, ...] | None
    polarization: float
    sigma: float
    ratio: float
    ratio_sigma: float
    counting_s: float | None
    remark: str = ""


@dataclass(frozen=True)
class DamagedLine:
    """A line that should have been understood and was not.

    `ends_cell`: it was to be a header, so the rows behind it belong to no known cell.
    """

    line: int
    text: str
    reason: str
    ends_cell: bool = False


@dataclass(frozen=True)
class OtherLine:
    """A line that is no measurement: a remark, a warning, a row of integrated flipping ratios."""

    line: int
    kind: Literal["remark", "integrated"]
    text: str


@dataclass(frozen=True)
class FliFile:
    """Everything in one `.fli`, each part in the order of the file."""

    name: str
    headers: tuple[CellHeader, ...]
    rows: tuple[Row, ...]
    damaged: tuple[DamagedLine, ...]
    others: tuple[OtherLine, ...]

    def entries(self) -> Iterator[CellHeader | Row | DamagedLine]:
        """Headers, rows and damaged lines in the order of the file."""
        return iter(sorted((*self.headers, *self.rows, *self.damaged), key=lambda entry: entry.line))


class _LineError(ValueError):
    """Why a line is damaged."""


def parse_fli(text: str, name: str = "") -> FliFile:
    """Read the text of a `.fli`. Never raises: what is not understood is in `damaged`, with line and reason.

    Args:
        text: decoded content; columns separated by blanks, or by commas as some exports have it.
        name: how reports call the file.
    """
    found = [entry for number, line in enumerate(_lines(text), start=1) if (entry := _parse_line(number, line))]
    return FliFile(
        name=name,
        headers=tuple(entry for entry in found if isinstance(entry, CellHeader)),
        rows=tuple(entry for entry in found if isinstance(entry, Row)),
        damaged=tuple(entry for entry in found if isinstance(entry, DamagedLine)),
        others=tuple(entry for entry in found if isinstance(entry, OtherLine)),
    )


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


Entry = CellHeader | Row | DamagedLine | OtherLine


def _parse_line(number: int, raw: str) -> Entry | None:
    line = raw.replace(",", " ").strip()
    if not line:
        return None
    is_header = _LOOKS_LIKE_HEADER.search(line) is not None
    try:
        if len(line) > MAX_LINE_LENGTH:
            raise _LineError(f"{len(line)} characters, a line has at most {MAX_LINE_LENGTH}")
        return _reader_of(line, is_header)(number, line)
    except _LineError as error:
        return DamagedLine(number, _quoted(raw), str(error), ends_cell=is_header)


def _quoted(raw: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in raw.strip()[:MAX_QUOTED_LENGTH])


def _reader_of(line: str, is_header: bool) -> Callable[[int, str], Entry]:
    if line.startswith(("!", "*", "#")):
        return _integrated if _INTEGRATED_ROW.match(line) else _remark
    if is_header:
        return _header
    return _integrated if _INTEGRATED_ROW.match(line) else _row


def _remark(number: int, line: str) -> OtherLine:
    return OtherLine(number, "remark", _quoted(line))


def _integrated(number: int, line: str) -> OtherLine:
    return OtherLine(number, "integrated", _quoted(line))


def _header(number: int, line: str) -> CellHeader:
    match = _HEADER.fullmatch(line)
    if match is None:
        raise _LineError(
            "a cell header reads '<polariser|analyser> cell info <id> pressure/init. polar <bar> <polarization> "
            "initial date/time <dd mm yy> @ <hh:mm>'"
        )
    role = _ROLES[" ".join(match["role"].lower().split())]
    return CellHeader(number, role, _cell(match))


def _cell(match: re.Match[str]) -> Cell:
    if not _CELL_ID.fullmatch(match["cell_id"]):
        raise _LineError(f"'{match['cell_id'][:20]}' is no cell id: letters first, such as ge18004")
    return Cell(
        cell_id=match["cell_id"].lower(),
        pressure_bar=_in_range(match["pressure"], "pressure [bar]", MAX_PRESSURE_BAR),
        lab_polarization=_in_range(match["polarization"], "lab polarization", 1.0),
        lab_time=_moment("/".join(re.split(r"[\s/.-]", match["date"])), match["time"]),
    )


def _in_range(text: str, what: str, upper: float) -> float:
    value = _number(text, what)
    if not 0.0 < value <= upper:
        raise _LineError(f"{what} is {text[:20]}, expected above 0 and at most {upper:g}")
    return value


def _row(number: int, line: str) -> Row:
    match = _ROW.fullmatch(line)
    if match is None:
        raise _LineError(
            "neither a header nor a row 'number h k l date time temperature [directions] P dP R dR [seconds]'"
        )
    h, k, l_index = (_number(match[name], name) for name in "hkl")
    values, counting_s, remark = _values(match["values"])
    return Row(
        line=number,
        number=int(match["number"]),
        reflection=(h, k, l_index),
        time=_moment(match["date"], match["time"]),
        temperature_k=_number(match["temperature"], "temperature"),
        direction=tuple(match["directions"].lower().split()) or None,
        polarization=values[0],
        sigma=values[1],
        ratio=values[2],
        ratio_sigma=values[3],
        counting_s=counting_s,
        remark=remark,
    )


def _values(text: str) -> tuple[list[float], float | None, str]:
    """P, dP, R, dR, then the counting time and a remark.

    The four have four decimals in ten columns, and touch each other where they are large: -4407.20584288203.6065.
    """
    values: list[float] = []
    position = 0
    while len(values) < 4:
        match = _FOUR_DECIMALS.match(text, position) or re.compile(rf"\s+({_VALUE})(?=\s|$)", re.I).match(
            text, position
        )
        if match is None:
            raise _LineError(f"{len(values)} of the four values P, dP, R, dR can be read")
        values.append(float(match[1]))
        position = match.end()
    rest = _COUNTING_TIME.fullmatch(text, position)
    if rest is None:
        raise _LineError("the part behind P, dP, R, dR cannot be read")
    return values, float(rest[1]) if rest[1] else None, rest[2].strip()


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _LineError(f"{what} is '{text[:20]}', expected a number") from None
    if not math.isfinite(value):
        raise _LineError(f"{what} is '{text[:20]}', expected a finite number")
    return value


def _moment(date: str, time: str) -> datetime:
    """Day first, two or four digits of the year, instrument's local time."""
    year = "%Y" if len(date.rpartition("/")[2]) == 4 else "%y"
    clock = "%H:%M:%S" if time.count(":") == 2 else "%H:%M"
    try:
        return datetime.strptime(f"{date} {time}", f"%d/%m/{year} {clock}")  # noqa: DTZ007 the file names no zone
    except ValueError:
        raise _LineError(f"'{date} @ {time[:10]}' is no date and time dd/mm/yy @ hh:mm") from None
