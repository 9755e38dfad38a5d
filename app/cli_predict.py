"""The command line's `predict`: decays in a file, without a server."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.errors import InvalidInput, NotFound, TooLarge
from app.logs import configure_logs

MAX_FILE_BYTES = 64 * 1024 * 1024


class OutputFormat(StrEnum):
    """What `--format` takes."""

    json = "json"
    csv = "csv"
    png = "png"
    svg = "svg"


class CorrectionChoice(StrEnum):
    """What `--correction` takes."""

    sloped = "sloped"
    none = "none"


def predict(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="A .fli, a zip, or D3's two text files.")],
    form: Annotated[
        OutputFormat | None, typer.Option("--format", help="Default: the ending of --out, else csv.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output when left out.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Name, names with commas between, or 'ensemble'. Default: that of the material.")
    ] = None,
    version: Annotated[str, typer.Option(help="Version number or alias.")] = "stable",
    step_s: Annotated[
        float | None, typer.Option("--step", min=1e-3, help="Step of the grid [s]; 101 equal steps when left out.")
    ] = None,
    correction: Annotated[
        CorrectionChoice, typer.Option(help="'sloped': through the first and last row.")
    ] = CorrectionChoice.sloped,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Say when the polarization falls under this value (JSON).")
    ] = None,
    store: Annotated[
        Path, typer.Option("--store", envvar="BEAMLINE_MODEL_STORE", help="Folder of the published models.")
    ] = Path("model_store"),
) -> None:
    """Predict the decay of every cell segment in a file, between its first and its last row."""
    # Here, so that the other commands start without what only this one needs.
    from app.api.polarization import FileOptions, Limits, file_answer
    from app.model_registry.registry import Registry
    from app.model_registry.store import ModelStore

    configure_logs(level="error", form="console")
    chosen = form or format_of(out)
    options = FileOptions(
        step_s=step_s,
        correction=correction.value,
        model=model,
        version=version,
        threshold_polarization=threshold,
        format=chosen.value,
    )
    registry = Registry(ModelStore(store))
    registry.refresh()
    content = file_answer([read_file(path) for path in files], registry, options, chosen.value, Limits())
    write(content, chosen, out)


def format_of(out: Path | None) -> OutputFormat:
    """The format that a file's ending names, else CSV."""
    ending = out.suffix.removeprefix(".").lower() if out else ""
    return OutputFormat(ending) if ending in list(OutputFormat) else OutputFormat.csv


def read_file(path: Path) -> tuple[str, bytes]:
    """Name and content of a file.

    Raises:
        NotFound: there is none.
        TooLarge: more than `MAX_FILE_BYTES`.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {path.name[:80]!r}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise TooLarge(f"{path.name[:80]!r} has more than {MAX_FILE_BYTES} bytes")
    return path.name, path.read_bytes()


def write(content: bytes, form: OutputFormat, out: Path | None) -> None:
    """Write an answer to a file or to standard output.

    Raises:
        InvalidInput: a PNG on a terminal.
    """
    if out is not None:
        out.write_bytes(content)
        return
    stream = typer.get_binary_stream("stdout")
    if form is OutputFormat.png and stream.isatty():
        raise InvalidInput("a PNG is not for a terminal: name a file with --out")
    stream.write(content)
    stream.flush()
