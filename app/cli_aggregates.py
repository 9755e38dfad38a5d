"""The command line's `aggregates`: numbers of particles from detector files, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli_predict import OutputFormat, format_of, read_file, write
from app.errors import InvalidInput
from app.logs import configure_logs

_MODEL = "aggregates-count"


def aggregates(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help=".npy, .npz, TIFF, PNG, HDF5 or CXI.")],
    radius_px: Annotated[
        float | None, typer.Option("--radius-px", help="Radius of a particle: 128 r p/(wavelength distance).")
    ] = None,
    particle_radius_nm: Annotated[
        float | None, typer.Option("--particle-radius", help="In place of it, the radius r [nm], with the geometry.")
    ] = None,
    wavelength_ang: Annotated[float | None, typer.Option("--wavelength", help="Wavelength [Angstrom].")] = None,
    photon_energy_ev: Annotated[float | None, typer.Option("--energy", help="Photon energy [eV].")] = None,
    detector_distance_mm: Annotated[
        float | None, typer.Option("--distance", help="From sample to detector [mm].")
    ] = None,
    pixel_um: Annotated[float | None, typer.Option("--pixel", help="Side of a pixel p [um].")] = None,
    particle: Annotated[str, typer.Option(help="'disc' or 'sphere'.")] = "disc",
    centre_px: Annotated[
        str | None, typer.Option("--centre", metavar="ROW,COLUMN", help="Direct beam [pixels from 0].")
    ] = None,
    beam_stop_px: Annotated[float | None, typer.Option("--beam-stop", help="Radius of the beam stop [pixels].")] = None,
    full_well: Annotated[float | None, typer.Option(help="Photons at which a pixel saturates.")] = None,
    background: Annotated[float | None, typer.Option(help="Photons per pixel from elsewhere.")] = None,
    adu_per_photon: Annotated[float | None, typer.Option(help="Detector units of one photon.")] = None,
    binning: Annotated[int | None, typer.Option(help="Pixels along a side of a grid point.")] = None,
    mask: Annotated[Path | None, typer.Option(help="File with the mask.")] = None,
    mask_marks: Annotated[str, typer.Option(help="What the mask marks with 1: 'bad' or 'good' pixels.")] = "bad",
    dataset: Annotated[str | None, typer.Option(help="Dataset of an HDF5 file, or array of an .npz.")] = None,
    mask_dataset: Annotated[str | None, typer.Option(help="The same for the mask.")] = None,
    first: Annotated[int, typer.Option(help="Number of the first image, from 0.")] = 0,
    count: Annotated[int | None, typer.Option(help="Most images of each file.")] = None,
    form: Annotated[
        OutputFormat | None, typer.Option("--format", help="Default: the ending of --out, else csv.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output when left out.")] = None,
    model: Annotated[str, typer.Option(help="Name of the model.")] = _MODEL,
    version: Annotated[str, typer.Option(help="Version number or alias.")] = "stable",
    store: Annotated[
        Path, typer.Option("--store", envvar="BEAMLINE_MODEL_STORE", help="Folder of the published models.")
    ] = Path("model_store"),
) -> None:
    """Count the particles of the aggregate behind each diffraction pattern in a file."""
    options = {name: value for name, value in locals().items() if name not in _OWN}
    # Here, so that the other commands start without what only this one needs.
    from app.aggregates.stack import FileLimits
    from app.api.aggregates import question_from_file, solved
    from app.api.aggregates_answers import files_written, written
    from app.model_registry.registry import Registry
    from app.model_registry.store import ModelStore

    configure_logs(level="error", form="console")
    chosen = form or format_of(out)
    query = _query(options)
    registry = Registry(ModelStore(store))
    registry.refresh()
    marks = None if mask is None else read_file(mask)[1]
    contents = [read_file(path) for path in files]
    questions = [(name, question_from_file(content, marks, query, FileLimits())) for name, content in contents]
    answers = [(name, solved(question, registry)) for name, question in questions]
    found = written(answers[0][1], chosen.value) if len(answers) == 1 else files_written(answers, chosen.value)
    write(found, chosen, out)


_OWN = frozenset({"files", "mask", "form", "out", "store"})
"""Options of the command alone; the others are those of the endpoint."""


def _query(options: dict[str, Any]) -> Any:
    """Options as the endpoint takes them.

    Raises:
        InvalidInput: with the first one that is out of range.
    """
    from pydantic import ValidationError

    from app.api.aggregates_schema import AggregatesQuery

    try:
        return AggregatesQuery.model_validate(options)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidInput(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
