"""The command line's `solve`: from a pattern, or a list of lines, to the unit cell, without a server."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from app.cli_settings import read_settings
from app.errors import InvalidInput, NotFound, TooLarge
from app.logs import configure_logs

if TYPE_CHECKING:
    from app.indexing.problem import Solution, SolveResult
    from app.indexing.question import Question
    from app.indexing.upload import Upload

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
SHOWN: Final = 10
"""Cells in the table, and lines that it does not explain."""

NO_MODELS: Final = "none"

STOPPED: Final = {
    "certain": "one cell is beyond doubt",
    "settled": "what is left would not change the first cell",
    "complete": "all was searched",
    "deadline": "the time was up",
    "cancelled": "it was interrupted",
}

Axis = Literal["two_theta_deg", "d_ang", "q_inv_ang", "q_2pi_inv_ang", "q_2pi_inv_nm"]
Content = Literal["auto", "pattern", "lines"]
Device = Literal["auto", "cpu", "gpu"]
Form = Literal["json", "csv", "cif", "png", "svg"]
PICTURES: Final[Mapping[str, Form]] = {".png": "png", ".svg": "svg"}


def solve(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A measured pattern, or a list of lines.")],
    wavelength_ang: Annotated[
        float | None, typer.Option("--wavelength", help="Wavelength [Angstrom]; goes before the file's own.")
    ] = None,
    axis: Annotated[
        Axis | None,
        typer.Option(help="First column of a text file. Default: what its header says, else two_theta_deg."),
    ] = None,
    content: Annotated[Content, typer.Option(help="What the file is; auto: fewer than 50 rows are lines.")] = "auto",
    lattices: Annotated[
        str | None, typer.Option(help="Bravais lattices with commas between, e.g. cF,tI. Default: all 14.")
    ] = None,
    max_seconds: Annotated[float, typer.Option(help="Deadline [s].")] = 10.0,
    max_impurities: Annotated[
        int | None, typer.Option(help="Lines among the first 20 that may stay unindexed. Default: found out.")
    ] = None,
    zero_shift_deg: Annotated[
        float | None, typer.Option("--zero-shift", help="Largest zero shift in 2theta to look for [deg].")
    ] = None,
    min_length_ang: Annotated[float | None, typer.Option("--min-length", help="Shortest axis [Angstrom].")] = None,
    max_length_ang: Annotated[float | None, typer.Option("--max-length", help="Longest axis [Angstrom].")] = None,
    max_volume_ang3: Annotated[
        float | None, typer.Option("--max-volume", help="Largest primitive volume [Angstrom^3].")
    ] = None,
    max_peaks: Annotated[int | None, typer.Option(help="Lines to use, from the largest d.")] = None,
    max_solutions: Annotated[int | None, typer.Option(help="Most cells in the answer.")] = None,
    seed: Annotated[int, typer.Option(help="Of all randomness.")] = 0,
    device: Annotated[Device, typer.Option(help="What to compute on.")] = "auto",
    models: Annotated[
        str | None,
        typer.Option(
            help="Learned parts that help: names with commas between, each as name, name:version or name:alias; or "
            f"'{NO_MODELS}'. Default: all that the store has."
        ),
    ] = None,
    store: Annotated[
        Path, typer.Option("--store", envvar="BEAMLINE_MODEL_STORE", help="Folder of the published models.")
    ] = Path("model_store"),
    min_snr: Annotated[float, typer.Option(help="Least area of a line over its standard deviation.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as the service answers.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one row for each cell.")] = False,
    as_cif: Annotated[bool, typer.Option("--cif", help="Print CIF, one data block for each cell.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the lines and the best cell into this .png or .svg.")] = None,
) -> None:
    """Find the unit cell: read a pattern or a list of lines, and search all Bravais lattices.

    Ctrl-C ends the search with the best so far.
    """
    # Here, so that the other commands start without what only this one needs.
    from app.indexing.patterns.peak_search import PeakOptions
    from app.indexing.upload import FileOptions, question_from_upload, read_upload

    configure_logs(level="error", form="console")
    forms: dict[Form, bool] = {"json": as_json, "csv": as_csv, "cif": as_cif}
    form = _form(forms)
    picture = _picture_form(plot)
    given = {
        "lattices": None if lattices is None else tuple(lattices.split(",")),
        "max_seconds": max_seconds,
        "max_impurities": max_impurities,
        "zero_shift_deg": zero_shift_deg,
        "min_length_ang": min_length_ang,
        "max_length_ang": max_length_ang,
        "max_volume_ang3": max_volume_ang3,
        "max_peaks": max_peaks,
        "max_solutions": max_solutions,
        "seed": seed,
        "device": device,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    options = FileOptions(content, axis, wavelength_ang, PeakOptions(min_snr=min_snr))
    upload = read_upload(_read(file), file.name, options)
    question = _with_models(question_from_upload(upload, changes), models, store)
    result = _solved(question, store)
    if form is None:
        typer.echo(table(question, result))
    else:
        typer.get_binary_stream("stdout").write(_written(question, result, form, upload))
    if plot is not None and picture is not None:
        plot.write_bytes(_written(question, result, picture, upload))


def _form(wanted: Mapping[Form, bool]) -> Form | None:
    """The one that was asked for; None prints the table."""
    chosen: list[Form] = [form for form, asked in wanted.items() if asked]
    if len(chosen) > 1:
        raise InvalidInput(f"--{' and --'.join(chosen)} cannot both be printed: choose one")
    return chosen[0] if chosen else None


def _picture_form(plot: Path | None) -> Form | None:
    if plot is None:
        return None
    ending = plot.suffix.lower()
    if ending not in PICTURES:
        raise InvalidInput(f"--plot takes a file that ends in .png or .svg, not in {ending[:20]!r}")
    return PICTURES[ending]


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise NotFound(f"there is no file {path.name[:80]!r}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise TooLarge(f"{path.name[:80]!r} has more than {MAX_FILE_BYTES} bytes")
    return path.read_bytes()


def _with_models(question: Question, models: str | None, store: Path) -> Question:
    """The question with the learned parts that take part; with none where the settings or the user say so."""
    from app.indexing.learned.choice import default_models, manifests_in, named_models
    from app.model_registry.store import ModelStore

    if models == NO_MODELS or (models is None and not read_settings().indexing_learned):
        return question
    found = ModelStore(store)
    if models is None:
        return question.with_models(*default_models(found.names(), manifests_in(found)))
    return question.with_models(named_models(models.split(","), manifests_in(found)))


def _solved(question: Question, store: Path) -> SolveResult:
    from app.indexing.job import solved, use_store

    use_store(str(store))
    with _interrupt() as interrupted:
        return solved(question, None, interrupted.is_set)


@contextmanager
def _interrupt() -> Iterator[Event]:
    """The first Ctrl-C asks the search to end; the second ends the program."""
    asked = Event()

    def stop(_signal: int, _frame: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _written(question: Question, result: SolveResult, form: Form, upload: Upload) -> bytes:
    from app.api.indexing_answers import result_written

    content = result_written(result, form, question.peaks, upload.search, name=question.name)
    return content + b"\n" if form == "json" else content


# --- the table --------------------------------------------------------------------------------------------------------


def table(question: Question, result: SolveResult) -> str:
    """Write an answer for people."""
    rows = [_row(number, solution) for number, solution in enumerate(result.solutions[:SHOWN], 1)]
    cells = [_header(result), *rows] if rows else ["No cell explains these lines."]
    return "\n".join([_title(question), "", *cells, "", *_remarks(result)])


HEADER: Final = (
    f" #  {'':4}{'a':>11}{'b':>11}{'c':>11}{'alpha':>8}{'beta':>8}{'gamma':>8}{'volume':>11}{'M20':>9}{'lines':>7}"
)


def _header(result: SolveResult) -> str:
    known = any(one.probability is not None for one in result.solutions)
    return f"{HEADER}{'prob.' if known else 'share':>8}"


def _title(question: Question) -> str:
    wavelength = question.peaks.wavelength_ang
    radiation = "no wavelength" if wavelength is None else f"wavelength {wavelength:.6g} Angstrom"
    return f"{question.name}: {len(question.peaks.q2_inv_ang2)} lines, {radiation}"


def _row(number: int, solution: Solution) -> str:
    cell = solution.cell
    lengths = "".join(f"{length:11.5f}" for length in cell.constants[:3])
    angles = "".join(f"{angle:8.3f}" for angle in cell.constants[3:])
    lines = f"{solution.n_indexed}/{solution.n_lines}"
    merit = f"{solution.volume_ang3:11.2f}{solution.m20:9.1f}"
    sure = solution.weight if solution.probability is None else solution.probability
    return f"{number:2}  {solution.bravais:4}{lengths}{angles}{merit}{lines:>7}{sure:8.1%}"


def _remarks(result: SolveResult) -> list[str]:
    more = len(result.solutions) - SHOWN
    remarks = [f"{more} more cells with --json"] if more > 0 else []
    if result.solutions:
        remarks += _of_the_best(result.solutions[0])
    remarks.append(
        f"{result.seconds:.2f} s, {result.n_candidates} cells tried; it ended because {STOPPED[result.stopped]}; the "
        f"first cell is the lattice with a probability of {result.confidence:.1%}"
    )
    if result.models:
        remarks.append("learned parts: " + ", ".join(f"{one.name} version {one.version}" for one in result.models))
    return remarks + [f"warning: {warning}" for warning in result.warnings]


def _of_the_best(best: Solution) -> list[str]:
    remarks = []
    if best.zero_shift_deg:
        remarks.append(f"zero shift {best.zero_shift_deg:+.4f} deg")
    unindexed = [line.q2_observed_inv_ang2**-0.5 for line in best.lines if line.hkl is None]
    if unindexed:
        shown = ", ".join(f"{d:.4f}" for d in unindexed[:SHOWN]) + (", ..." if len(unindexed) > SHOWN else "")
        remarks.append(f"the first cell leaves unindexed: d = {shown} Angstrom")
    if best.extinctions:
        remarks.append("extinction symbols: " + "; ".join(item.symbol for item in best.extinctions[:5]))
    return remarks
