"""Which 3He cells were in place while which rows were measured.

A file is cut at its headers into blocks. Blocks of several files that name the same cell, filled at the same time, are
one installation: beamline users copy the running file, so the same rows come back under other names.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from app.polarization.experiment import Cell
from app.polarization.fli import CellHeader, DamagedLine, FliFile, Role, Row

MAX_CLOCK_SLIP = timedelta(hours=1)
"""The laboratory writes the time by hand: a row may be this much older than its cell."""
MAX_AGE = timedelta(days=7)
"""Longest believed time from a cell's filling to a row of it. Cells are exchanged every one to three days."""
EXCHANGE_SLACK = timedelta(hours=6)
"""A cell may still be in the beam for so long after its successor was measured in the laboratory."""
ORPHAN_WAIT = timedelta(hours=12)
"""Rows before a file's first header belong to the cell that another file names, if it was filled so recently."""

KNOWN_CELL_IDS = (
    "ge18004", "ge18006", "ge18008", "ge18009", "ge18011", "ge18012", "sib1402", "sic1402", "sic1403",
)  # fmt: skip
_WELL_FORMED_ID = re.compile(r"ge18\d{3}|si[a-z]14\d{2}")
MAX_ID_EDITS = 2


@dataclass(frozen=True)
class Installation:
    """The cells in place. `magic_box` is the analyser cell of the set-up that D3 used until 2018."""

    polarizer: Cell
    analyser: Cell | None = None
    magic_box: Cell | None = None

    @property
    def key(self) -> tuple[tuple[str, datetime] | None, ...]:
        """Cell ids and filling times: the same key in two files is the same installation."""
        cells = (self.polarizer, self.analyser, self.magic_box)
        return tuple((cell.cell_id, cell.lab_time) if cell else None for cell in cells)


@dataclass(frozen=True)
class Block:
    """Rows of one file between two groups of headers.

    Attributes:
        installation: None where no header says which cells were in place; `problem` then says why.
        header_line: where the group of headers begins, 0 at the top of a file.
    """

    source: str
    header_line: int
    installation: Installation | None
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    problem: str = ""


# --- repairs ---------------------------------------------------------------------------------------------------------


def repaired_cell_id(written: str) -> tuple[str, str]:
    """The id that was meant, and a note where it differs from the written one.

    An id of the known shape (ge18 and three digits, si?14 and two) is kept, known or not: a later cycle has new cells.
    Another shape is taken as mistyped if exactly one known cell is nearest, at most two edits away: g218008 -> ge18008,
    ge80012 and ge180012 -> ge18012.
    """
    if _WELL_FORMED_ID.fullmatch(written):
        return written, "" if written in KNOWN_CELL_IDS else f"cell id {written} is new to this reader"
    distances = sorted((_edit_distance(written, known), known) for known in KNOWN_CELL_IDS)
    (nearest, known), (runner_up, _) = distances[0], distances[1]
    if nearest <= MAX_ID_EDITS and nearest < runner_up:
        return known, f"cell id {written} read as {known}"
    return written, f"cell id {written} is new to this reader"


def _edit_distance(a: str, b: str) -> int:
    """Levenshtein distance: insertions, deletions, substitutions."""
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        previous, row = row, [i]
        for j, other in enumerate(b, start=1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (letter != other)))
    return row[-1]


def is_plausible_lab_time(lab_time: datetime, row_times: Sequence[datetime]) -> bool:
    """Whether at least a quarter of the rows may be of a cell that was measured in the laboratory at `lab_time`.

    Not all: a row with a wrong date must not throw the others out, and forgotten headers leave rows of weeks later.
    """
    fitting = sum(-MAX_CLOCK_SLIP <= row_time - lab_time <= MAX_AGE for row_time in row_times)
    return 4 * fitting >= len(row_times)


def repaired_lab_time(lab_time: datetime, row_times: Sequence[datetime]) -> tuple[datetime, str]:
    """The date that was meant, and a note: another year, or day and month exchanged; unchanged where neither helps."""
    if not row_times or is_plausible_lab_time(lab_time, row_times):
        return lab_time, ""
    row_year = sorted(row_times)[len(row_times) // 2].year
    for month, day in ((lab_time.month, lab_time.day), (lab_time.day, lab_time.month)):
        for year in (row_year, row_year - 1):
            try:
                candidate = lab_time.replace(year=year, month=month, day=day)
            except ValueError:
                continue
            if is_plausible_lab_time(candidate, row_times):
                return candidate, f"lab date {lab_time:%d/%m/%y} read as {candidate:%d/%m/%y}, from the rows' dates"
    return lab_time, ""


# --- cutting a file --------------------------------------------------------------------------------------------------


@dataclass
class _Group:
    """Headers without a row between them, then rows. Filled while the file is walked."""

    headers: list[CellHeader] = field(default_factory=list)
    broken: DamagedLine | None = None
    rows: list[Row] = field(default_factory=list)


def cut(file: FliFile) -> list[Block]:
    """The blocks of a file, in its order. Headers that no row follows give a block without rows."""
    blocks: list[Block] = []
    for group in _groups(file):
        previous = blocks[-1].installation if blocks else None
        blocks.append(_block(file.name, group, previous))
    return [block for block in blocks if block.rows or block.installation]


def _groups(file: FliFile) -> list[_Group]:
    groups = [_Group()]
    for entry in file.entries():
        if isinstance(entry, Row):
            groups[-1].rows.append(entry)
            continue
        is_header = isinstance(entry, CellHeader)
        if groups[-1].rows and (is_header or entry.ends_cell):
            groups.append(_Group())
        if is_header:
            groups[-1].headers.append(entry)
        elif entry.ends_cell:
            groups[-1].broken = entry
    return groups


def _block(source: str, group: _Group, previous: Installation | None) -> Block:
    line = group.headers[0].line if group.headers else (group.broken.line if group.broken else 0)
    if group.broken and not any(header.role == "polarizer" for header in group.headers):
        return Block(
            source, line, None, tuple(group.rows), problem=f"the header in line {group.broken.line} cannot be read"
        )
    if not group.headers:
        return Block(source, line, None, tuple(group.rows), problem="no header says which cell was in place")
    notes: list[str] = []
    cells = {role: _chosen(group, role, notes) for role in ("polarizer", "analyser", "magic box")}
    if cells["analyser"] is None and cells["magic box"] is None:
        cells["analyser"] = _kept_analyser(group, previous, notes)
    polarizer = cells["polarizer"]
    if polarizer is None and previous is not None:
        polarizer = previous.polarizer
        notes.append("no new polarizer header: the polarizer before it stays")
    if polarizer is None:
        return Block(source, line, None, tuple(group.rows), problem="no polarizer header before the rows")
    installation = Installation(polarizer, cells["analyser"], cells["magic box"])
    return Block(source, line, installation, tuple(group.rows), tuple(notes), _date_problem(installation, group.rows))


def _chosen(group: _Group, role: Role, notes: list[str]) -> Cell | None:
    """The last header of a role whose date fits the rows; a note where headers of one role contradict each other."""
    cells = [_repaired(header.cell, group.rows, notes) for header in group.headers if header.role == role]
    if not cells:
        return None
    fitting = [cell for cell in cells if is_plausible_lab_time(cell.lab_time, _times(group.rows))]
    chosen = (fitting or cells)[-1]
    others = {
        f"{c.cell_id} of {c.lab_time:%d/%m/%y %H:%M}" for c in cells if (c.cell_id, c.lab_time) != _identity(chosen)
    }
    if others:
        notes.append(f"several {role} headers in a row: the last one counts, not {', '.join(sorted(others))}")
    return chosen


def _identity(cell: Cell) -> tuple[str, datetime]:
    return cell.cell_id, cell.lab_time


def _repaired(cell: Cell, rows: Sequence[Row], notes: list[str]) -> Cell:
    cell_id, id_note = repaired_cell_id(cell.cell_id)
    lab_time, date_note = repaired_lab_time(cell.lab_time, _times(rows))
    notes.extend(note for note in (id_note, date_note) if note and note not in notes)
    return replace(cell, cell_id=cell_id, lab_time=lab_time)


def _times(rows: Sequence[Row]) -> list[datetime]:
    return [row.time for row in rows]


def _kept_analyser(group: _Group, previous: Installation | None, notes: list[str]) -> Cell | None:
    """In the two-cell set-up, whose rows carry no directions, a lone polarizer header leaves the analyser in place."""
    if previous is None or previous.analyser is None or any(row.direction for row in group.rows):
        return None
    notes.append(f"no new analyser header: {previous.analyser.cell_id} stays")
    return previous.analyser


def _date_problem(installation: Installation, rows: Sequence[Row]) -> str:
    lab_time = installation.polarizer.lab_time
    if is_plausible_lab_time(lab_time, _times(rows)):
        return ""
    first = min(_times(rows))
    return f"lab date {lab_time:%d/%m/%y %H:%M} does not fit the rows, the first of {first:%d/%m/%y %H:%M}"


# --- across files ----------------------------------------------------------------------------------------------------


def with_orphans_placed(blocks: Sequence[Block]) -> list[Block]:
    """Give rows at the top of a file to the cell that another file put in place shortly before them.

    Directions must fit: rows with directions belong to a one-cell installation, rows without to a two-cell one.
    """
    known = sorted(
        {b.installation.key: b.installation for b in blocks if b.installation and not b.problem}.values(), key=_filled
    )
    return [
        _placed(block, known) if block.installation is None and block.header_line == 0 else block for block in blocks
    ]


def _filled(installation: Installation) -> datetime:
    return installation.polarizer.lab_time


def _placed(block: Block, known: Sequence[Installation]) -> Block:
    if not block.rows:
        return block
    first = min(_times(block.rows))
    two_cells = all(row.direction is None for row in block.rows)
    fitting = [
        i for i in known if timedelta(0) <= first - _filled(i) <= ORPHAN_WAIT and (i.analyser is not None) == two_cells
    ]
    if not fitting:
        return block
    note = f"rows before the first header: {fitting[-1].polarizer.cell_id} was put in place in another file"
    return replace(block, installation=fitting[-1], notes=(*block.notes, note), problem="")


def replaced_at(installation: Installation, fillings: Sequence[datetime]) -> datetime | None:
    """When the next polarizer cell was filled, None for the last one. `fillings`: of all cells, ascending."""
    following = bisect_right(fillings, _filled(installation))
    return fillings[following] if following < len(fillings) else None
