"""The data set for training: read once from D3's files, written once, with a fingerprint.

A data set is a folder with `experiments.jsonl` (a header line, then one experiment a line) and `segments.csv` (every
segment that was found, accepted or not, with the reason and the notes). The same input gives the same bytes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from app.errors import AppError, Conflict, InvalidInput, NotFound
from app.polarization.archive import read_archives
from app.polarization.experiment import Cell, Experiment
from app.polarization.segments import Segment, Survey

FORMAT = "d3-polarization-decays"
VERSION = 1
EXPERIMENTS_FILE = "experiments.jsonl"
SEGMENTS_FILE = "segments.csv"
DEFAULT_OUT = Path("datasets/polarization")
SUFFIXES = (".zip", ".fli")


def read_folder(folder: Path) -> Survey:
    """Survey all zips and `.fli` files of a folder (and of folders in it) together.

    Raises:
        NotFound: there is no such folder, or nothing of the kind in it.
        UnsupportedFormat, TooLarge: from `app.polarization.archive`.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise NotFound(f"no .zip or .fli file in '{folder.name}'")
    # Files of macOS beside the real ones carry no measurement.
    visible = [path for path in paths if not path.name.startswith("._")]
    return read_archives((path.relative_to(folder).as_posix(), path.read_bytes()) for path in visible)


# --- reports ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Count:
    """How much of one material was accepted. Inner points: without the first and the last of each experiment."""

    experiments: int
    points: int
    inner_points: int
    cells: tuple[str, ...]


def count(experiments: Iterable[Experiment], material: str) -> Count:
    """Count the experiments of one material."""
    chosen = [experiment for experiment in experiments if experiment.material == material]
    points = sum(experiment.time_s.size for experiment in chosen)
    cells = {cell.cell_id for e in chosen for cell in (e.polarizer, e.analyser) if cell is not None}
    return Count(len(chosen), points, points - 2 * len(chosen), tuple(sorted(cells)))


def summary(found: Survey) -> str:
    """The table that the command prints: what was accepted, and why the rest was not."""
    lines = [f"{'':12} experiments  points  inner points  cells"]
    for material in ("crystalline", "amorphous"):
        c = count(found.experiments, material)
        lines.append(f"{material:12} {c.experiments:11}  {c.points:6}  {c.inner_points:12}  {', '.join(c.cells)}")
    rejected = [segment for segment in found.segments if not segment.accepted]
    lines += ["", f"rejected segments: {len(rejected)}", *_tally(_kind(segment.reason) for segment in rejected)]
    rows = [reason for segment in found.accepted for _, reason in segment.excluded]
    lines += ["", f"rows left out of accepted segments: {len(rows)}", *_tally(_kind(reason) for reason in rows)]
    lines += ["", f"files with the content of another: {len(found.duplicates)}"]
    lines += [f"members skipped: {len(found.skipped)}", *_tally(_kind(reason) for _, reason in found.skipped)]
    lines += [f"damaged lines: {len(found.damaged)}"]
    lines += [f"  {file}, line {line.line}: {line.reason}" for file, line in found.damaged]
    return "\n".join(lines)


def _tally(reasons: Iterable[str]) -> list[str]:
    counts = Counter(reasons)
    return [f"{number:6}  {reason}" for reason, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _kind(reason: str) -> str:
    """A reason without its numbers, so that equal ones count together."""
    return "".join("#" if letter.isdigit() else letter for letter in reason).replace("##", "#").replace("##", "#")


SEGMENT_COLUMNS: tuple[str, ...] = (
    "accepted", "material", "polarizer", "filled", "reflection", "rows", "excluded", "first_row", "hours",
    "initial", "final", "reason", "notes", "sources",
)  # fmt: skip


def segments_table(segments: Sequence[Segment]) -> str:
    """Every segment as a line of comma-separated values."""
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, SEGMENT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_segment_row(segment) for segment in segments)
    return text.getvalue()


def _segment_row(segment: Segment) -> dict[str, object]:
    experiment, installation = segment.experiment, segment.installation
    row: dict[str, object] = {
        "accepted": segment.accepted,
        "reflection": " ".join(f"{index:g}" for index in segment.reflection or ()),
        "rows": len(segment.rows),
        "excluded": len(segment.excluded),
        "reason": segment.reason,
        "notes": "; ".join(segment.notes),
        "sources": "; ".join(segment.sources),
    }
    if installation is not None:
        row |= {"polarizer": installation.polarizer.cell_id, "filled": installation.polarizer.lab_time.isoformat()}
    if experiment is not None:
        row |= {
            "material": experiment.material,
            "first_row": experiment.start.isoformat(),
            "hours": f"{experiment.time_s[-1] / 3600:.2f}",
            "initial": f"{experiment.polarization[0]:.4f}",
            "final": f"{experiment.polarization[-1]:.4f}",
        }
    return row


# --- the data set on disk --------------------------------------------------------------------------------------------


def write_dataset(found: Survey, out: Path, *, replace: bool = False) -> str:
    """Write a survey's experiments and the table of its segments. Returns the fingerprint.

    Args:
        out: folder, made if it is not there.
        replace: overwrite a different data set; writing the same one again is no change.

    Raises:
        Conflict: another data set is there.
    """
    text = dataset_text(found.experiments)
    path = out / EXPERIMENTS_FILE
    if path.exists() and path.read_text("utf-8") != text and not replace:
        raise Conflict(f"'{out.name}' holds another data set; choose another folder or say --replace")
    out.mkdir(parents=True, exist_ok=True)
    for name, content in ((EXPERIMENTS_FILE, text), (SEGMENTS_FILE, segments_table(found.segments))):
        unfinished = out / f"{name}.part"
        unfinished.write_text(content, "utf-8", newline="\n")
        unfinished.replace(out / name)
    return _header(text)["sha256"]


def dataset_text(experiments: Sequence[Experiment]) -> str:
    """A header with format, version and the fingerprint (sha256 of the lines below it), then an experiment a line."""
    body = "".join(json.dumps(_record(experiment), sort_keys=True) + "\n" for experiment in experiments)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "experiments": len(experiments),
        "sha256": hashlib.sha256(body.encode()).hexdigest(),
    }
    return json.dumps(header) + "\n" + body


def load_dataset(path: Path) -> list[Experiment]:
    """Read a data set from its folder, or from its `experiments.jsonl`.

    Raises:
        NotFound: there is none.
        InvalidInput: another format or version, or lines that do not match the fingerprint.
    """
    return list(_experiments(_checked_text(path)))


def dataset_fingerprint(path: Path) -> str:
    """The sha256 of a data set's experiments, checked. Raises as `load_dataset`."""
    return _header(_checked_text(path))["sha256"]


def _checked_text(path: Path) -> str:
    file = path / EXPERIMENTS_FILE if path.is_dir() else path
    if not file.is_file():
        raise NotFound(f"no data set at '{path.name}'; make one with: python -m training.polarization data DIR")
    text = file.read_text("utf-8")
    header = _header(text)
    body = text.partition("\n")[2]
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise InvalidInput(f"'{file.name}' is no {FORMAT} of version {VERSION}; make it again from the source files")
    if hashlib.sha256(body.encode()).hexdigest() != header.get("sha256"):
        raise InvalidInput(f"'{file.name}' was changed after it was written: its fingerprint does not match")
    return text


def _header(text: str) -> dict[str, str]:
    try:
        header = json.loads(text.partition("\n")[0])
    except json.JSONDecodeError:
        header = None
    if not isinstance(header, dict):
        raise InvalidInput(f"the first line is no header of a {FORMAT}")
    return header


def _experiments(text: str) -> Iterator[Experiment]:
    for line in text.splitlines()[1:]:
        yield _experiment(json.loads(line))


def _record(experiment: Experiment) -> dict[str, object]:
    return {
        "name": experiment.name,
        "material": experiment.material,
        "polarizer": _cell_record(experiment.polarizer),
        "analyser": _cell_record(experiment.analyser) if experiment.analyser else None,
        "reflection": list(experiment.reflection),
        "start": experiment.start.isoformat(),
        "time_s": experiment.time_s.tolist(),
        "polarization": experiment.polarization.tolist(),
        "sigma": experiment.sigma.tolist(),
    }


def _cell_record(cell: Cell) -> dict[str, object]:
    return {
        "cell_id": cell.cell_id,
        "pressure_bar": cell.pressure_bar,
        "lab_polarization": cell.lab_polarization,
        "lab_time": cell.lab_time.isoformat(),
    }


def _experiment(record: Mapping[str, object]) -> Experiment:
    fields = dict(record)
    for name in ("polarizer", "analyser"):
        fields[name] = _cell(fields[name])
    for name in ("time_s", "polarization", "sigma"):
        fields[name] = np.array(fields[name], dtype=np.float64)
    fields["start"] = datetime.fromisoformat(str(fields["start"]))
    fields["reflection"] = tuple(fields["reflection"])  # type: ignore[arg-type]
    return Experiment(**fields)  # type: ignore[arg-type]


def _cell(record: object) -> Cell | None:
    if not isinstance(record, dict):
        return None
    return Cell(**{**record, "lab_time": datetime.fromisoformat(record["lab_time"])})


# --- the command -----------------------------------------------------------------------------------------------------


def data_command(
    folder: Annotated[Path, typer.Argument(help="folder of zips and .fli files", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="folder of the data set")] = DEFAULT_OUT,
    replace: Annotated[bool, typer.Option("--replace", help="overwrite another data set")] = False,
) -> None:
    """Read D3's files, print what was accepted and why the rest was not, and write the data set."""
    try:
        found = read_folder(folder)
        typer.echo(summary(found))
        fingerprint = write_dataset(found, out, replace=replace)
    except AppError as error:
        typer.echo(f"{error.title}: {error.message}", err=True)
        raise typer.Exit(code=1) from None
    typer.echo(f"\nwritten: {out / EXPERIMENTS_FILE} and {SEGMENTS_FILE}, sha256 {fingerprint}")
