"""From `.fli` files to experiments: every series of calibration rows is accepted or rejected, with the reason.

The order of work: files with the same content count once; each file is cut at its cell headers; blocks that name the
same cell and filling time are one installation, whose rows are united; each installation's (+z, +z) rows are grouped by
reflection; each group is judged alone (`reference.judge`) and then against the installation's most precise one.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from app.polarization.experiment import Experiment
from app.polarization.fli import SPIN_UP, DamagedLine, Row, parse_fli
from app.polarization.installations import (
    EXCHANGE_SLACK,
    MAX_AGE,
    MAX_CLOCK_SLIP,
    Block,
    Installation,
    cut,
    replaced_at,
    with_orphans_placed,
)
from app.polarization.reference import DecayCurve, Verdict, arrays, judge, row_problem, scatters

Reflection = tuple[float, float, float]

MAX_LEVEL_DIFFERENCE = 0.015
"""A nuclear reflection shows the beam's polarization; one that shows so much less than a more precise one does not."""
MAX_COMPARED_SIGMA = 0.02
"""A second reflection with a larger median error cannot be told from a magnetic one, and adds nothing to the first."""
MAX_UNSTEADY_SHARE = 0.2
"""A reflection with more rows off its own decay follows the sample, if another one of the same cell is steady."""


@dataclass(frozen=True)
class Segment:
    """One reflection's calibration rows during one installation of cells, accepted or not.

    Attributes:
        experiment: the decay; also for a rejected segment, such as one of two rows; None with fewer than two.
        accepted: whether the experiment is a sound calibration.
        reason: why not, empty where accepted.
        notes: repairs and remarks on the way.
        sources: names of the files that hold the rows.
        installation: the cells in place, None where no header says.
        reflection: h, k, l of the rows; None for a segment that has no calibration row.
        rows: the rows that count, ascending in time.
        excluded: the other rows of this reflection, each with its reason.
    """

    experiment: Experiment | None
    accepted: bool
    reason: str
    notes: tuple[str, ...]
    sources: tuple[str, ...]
    installation: Installation | None
    reflection: Reflection | None
    rows: tuple[Row, ...]
    excluded: tuple[tuple[Row, str], ...]


@dataclass(frozen=True)
class Survey:
    """What a set of files holds.

    Attributes:
        segments: in order of time.
        damaged: (file, line) of everything that could not be read.
        duplicates: (file, other file with the same content).
        skipped: (file, reason) of members that are no `.fli` text.
    """

    segments: tuple[Segment, ...]
    damaged: tuple[tuple[str, DamagedLine], ...] = ()
    duplicates: tuple[tuple[str, str], ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def accepted(self) -> tuple[Segment, ...]:
        return tuple(segment for segment in self.segments if segment.accepted)

    @property
    def experiments(self) -> list[Experiment]:
        """The accepted experiments, in order of time, with unique names."""
        return [segment.experiment for segment in self.accepted if segment.experiment is not None]


def survey(texts: Mapping[str, str]) -> Survey:
    """Find the experiments in the texts of `.fli` files.

    Args:
        texts: content by file name. Files of one beamline belong together: a cell named in one file explains rows at
            the top of the next.
    """
    distinct, duplicates = _distinct(texts)
    files = [parse_fli(text, name) for name, text in distinct.items()]
    blocks = with_orphans_placed([block for file in files for block in cut(file)])
    fillings = sorted({b.installation.polarizer.lab_time for b in blocks if b.installation and not b.problem})
    segments = [segment for group in _by_installation(blocks) for segment in _segments_of(group, fillings)]
    segments.extend(_unplaced(block) for block in blocks if block.installation is None or block.problem)
    return Survey(
        segments=tuple(_uniquely_named(sorted(segments, key=_order))),
        damaged=tuple((file.name, line) for file in files for line in file.damaged),
        duplicates=tuple(duplicates),
    )


def _distinct(texts: Mapping[str, str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    first_name: dict[str, str] = {}
    duplicates: list[tuple[str, str]] = []
    for name in sorted(texts):
        digest = hashlib.sha256(texts[name].encode("utf-8", "surrogatepass")).hexdigest()
        if digest in first_name:
            duplicates.append((name, first_name[digest]))
        else:
            first_name[digest] = name
    return {name: texts[name] for name in first_name.values()}, duplicates


def _order(segment: Segment) -> tuple[str, str]:
    rows = segment.rows or tuple(row for row, _ in segment.excluded)
    return (min(row.time for row in rows).isoformat() if rows else "", str(segment.reflection))


# --- one installation ------------------------------------------------------------------------------------------------


def _by_installation(blocks: Iterable[Block]) -> list[list[Block]]:
    groups: defaultdict[object, list[Block]] = defaultdict(list)
    for block in blocks:
        if block.installation is not None and not block.problem and block.rows:
            groups[block.installation.key].append(block)
    return list(groups.values())


@dataclass(frozen=True)
class _Series:
    """Rows of one reflection in one installation, united over the files that share some of them."""

    reflection: Reflection
    sources: tuple[str, ...]
    rows: tuple[Row, ...]
    shared: int


def _segments_of(blocks: Sequence[Block], fillings: Sequence[datetime]) -> list[Segment]:
    installation = blocks[-1].installation
    assert installation is not None  # noqa: S101 `_by_installation` keeps no other
    notes = tuple(dict.fromkeys(note for block in blocks for note in block.notes))
    end = replaced_at(installation, fillings)
    segments = [_judged(series, installation, notes, end) for series in _series(blocks)]
    if not segments:
        return [_without_calibration(blocks, installation, notes)]
    return _compared(segments)


def _is_calibration(row: Row) -> bool:
    return row.direction is None or row.direction == SPIN_UP


def _series(blocks: Iterable[Block]) -> list[_Series]:
    by_reflection: defaultdict[Reflection, defaultdict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for block in blocks:
        for row in filter(_is_calibration, block.rows):
            by_reflection[row.reflection][block.source].append(row)
    return [series for reflection, parts in by_reflection.items() for series in _united(reflection, parts)]


def _united(reflection: Reflection, parts: Mapping[str, Sequence[Row]]) -> list[_Series]:
    """Parts that share a row are copies of one list; parts that share none may be another crystal, and stay apart."""
    united: list[_Series] = []
    for source, rows in sorted(parts.items(), key=lambda part: (-len(part[1]), part[0])):
        series = _Series(reflection, (source,), tuple(rows), 0)
        apart: list[_Series] = []
        for other in united:
            common = len(_identities(series) & _identities(other))
            if common:
                series = _union(other, series, common)
            else:
                apart.append(other)
        united = [*apart, series]
    return united


def _identities(series: _Series) -> set[tuple[int, datetime]]:
    return {(row.number, row.time) for row in series.rows}


def _union(first: _Series, second: _Series, common: int) -> _Series:
    rows = {(row.number, row.time): row for row in (*second.rows, *first.rows)}
    sources = tuple(dict.fromkeys((*first.sources, *second.sources)))
    return _Series(first.reflection, sources, tuple(rows.values()), first.shared + second.shared + common)


def _judged(series: _Series, installation: Installation, notes: tuple[str, ...], end: datetime | None) -> Segment:
    inside, outside = _inside_stay(series.rows, installation, end)
    verdict = judge(inside)
    notes = (*notes, *_series_notes(series, verdict, installation))
    reason = verdict.reason or (
        "magic box set-up: its analyser cell is none that the models know" * bool(installation.magic_box)
    )
    experiment = _experiment(series, installation, verdict) if len(verdict.kept) > 1 else None
    excluded = (*outside, *verdict.excluded)
    return Segment(
        experiment, not reason, reason, notes, series.sources, installation, series.reflection, verdict.kept, excluded
    )


def _inside_stay(
    rows: Iterable[Row], installation: Installation, end: datetime | None
) -> tuple[tuple[Row, ...], tuple[tuple[Row, str], ...]]:
    """Rows between the cell's filling and its successor's, and the others with the reason."""
    filled = installation.polarizer.lab_time
    inside: list[Row] = []
    outside: list[tuple[Row, str]] = []
    for row in rows:
        if row.time < filled - MAX_CLOCK_SLIP:
            outside.append((row, f"measured before the cell was filled, {filled:%d/%m/%y %H:%M}"))
        elif row.time > filled + MAX_AGE:
            outside.append((row, f"measured more than {MAX_AGE.days} days after the cell was filled"))
        elif end is not None and row.time > end + EXCHANGE_SLACK:
            outside.append((row, f"measured after the next cell was filled, {end:%d/%m/%y %H:%M}"))
        else:
            inside.append(row)
    return tuple(inside), tuple(outside)


def _series_notes(series: _Series, verdict: Verdict, installation: Installation) -> list[str]:
    notes = []
    if series.shared:
        notes.append(f"{series.shared} rows found again in another file")
    if installation.analyser is None and any(row.direction is None for row in verdict.kept):
        notes.append("rows without directions are taken as (+z, +z)")
    if verdict.kept and verdict.kept[0].time < installation.polarizer.lab_time:
        notes.append("the lab date lies after the first row")
    return notes


def _experiment(series: _Series, installation: Installation, verdict: Verdict) -> Experiment:
    _, polarization, sigma = arrays(verdict.kept)
    start = verdict.kept[0].time
    two_cells = installation.analyser or installation.magic_box
    return Experiment(
        name=_name(series, installation, verdict),
        material="amorphous" if two_cells else "crystalline",
        polarizer=installation.polarizer,
        analyser=two_cells,
        reflection=series.reflection,
        start=start,
        time_s=np.array([(row.time - start).total_seconds() for row in verdict.kept]),
        polarization=polarization,
        sigma=sigma,
    )


def _name(series: _Series, installation: Installation, verdict: Verdict) -> str:
    stem = series.sources[0].replace("\\", "/").rpartition("/")[2].removesuffix(".fli")
    hkl = ",".join(f"{index:g}" for index in series.reflection)
    return f"{stem} {installation.polarizer.cell_id} {verdict.kept[0].time:%Y-%m-%d %H:%M} ({hkl})"


def _without_calibration(blocks: Sequence[Block], installation: Installation, notes: tuple[str, ...]) -> Segment:
    rows = tuple((row, "not (+z, +z)") for block in blocks for row in block.rows)
    sources = tuple(sorted({block.source for block in blocks}))
    return Segment(None, False, "no (+z, +z) row", notes, sources, installation, None, (), rows)


def _unplaced(block: Block) -> Segment:
    rows = tuple((row, block.problem) for row in block.rows)
    return Segment(None, False, block.problem, block.notes, (block.source,), block.installation, None, (), rows)


# --- one reflection against the others ------------------------------------------------------------------------------


def _compared(segments: Sequence[Segment]) -> list[Segment]:
    """Reject accepted segments that show less polarization than a more precise one of the same installation.

    Nuclear scattering shows the whole polarization of the beam, magnetic scattering less: only what lies below is
    rejected, and only on the word of a more precise reflection.
    """
    reference, *others = sorted(segments, key=_rank)
    curve = judge(reference.rows).curve if reference.accepted else None
    if curve is None:
        return [reference, *others]
    reasons = [_contradiction(other, reference, curve) if other.accepted else "" for other in others]
    return [reference] + [
        replace(other, accepted=False, reason=reason) if reason else other
        for other, reason in zip(others, reasons, strict=True)
    ]


def _rank(segment: Segment) -> tuple[bool, bool, float]:
    return not segment.accepted, _unsteady_share(segment) > MAX_UNSTEADY_SHARE, _precision(segment)


def _unsteady_share(segment: Segment) -> float:
    unsteady = sum(not row_problem(row) for row, _ in segment.excluded)
    return unsteady / (unsteady + len(segment.rows)) if segment.rows else 0.0


def _precision(segment: Segment) -> float:
    return float(np.median(segment.experiment.sigma)) if segment.experiment else np.inf


def _contradiction(segment: Segment, reference: Segment, curve: DecayCurve) -> str:
    name = ", ".join(f"{index:g}" for index in reference.reflection or ())
    if _unsteady_share(segment) > MAX_UNSTEADY_SHARE:
        count = len(segment.excluded)
        return f"{count} rows off its own decay while the reference ({name}) is steady: a sample reflection"
    hours = np.array([(row.time - reference.rows[0].time).total_seconds() / 3600.0 for row in segment.rows])
    _, polarization, sigma = arrays(segment.rows)
    expected = curve.at(hours)
    below = float(np.average(expected - polarization, weights=sigma**-2))
    allowed = MAX_LEVEL_DIFFERENCE + 2.0 * float(np.sum(sigma**-2)) ** -0.5
    if below > allowed:
        return f"{below:.3f} below the reference ({name}) of the same cell: a sample reflection"
    if below < -allowed:
        return ""
    if _precision(segment) > MAX_COMPARED_SIGMA:
        return f"too weak to be told from a sample reflection beside the reference ({name}) of the same cell"
    off = scatters(polarization, expected, sigma)
    if np.mean(off) > MAX_UNSTEADY_SHARE:
        return f"{np.sum(off)} of {off.size} rows off the reference ({name}) of the same cell: a sample reflection"
    return ""


def _uniquely_named(segments: Iterable[Segment]) -> list[Segment]:
    seen: dict[str, int] = {}
    result: list[Segment] = []
    for segment in segments:
        experiment = segment.experiment
        if experiment is not None:
            seen[experiment.name] = seen.get(experiment.name, 0) + 1
            if seen[experiment.name] > 1:
                experiment = replace(experiment, name=f"{experiment.name} #{seen[experiment.name]}")
        result.append(replace(segment, experiment=experiment))
    return result
