"""The command line's `waveform`: scatters in a file of S2 waveforms, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from app.cli_predict import OutputFormat, format_of, read_file, write
from app.errors import InvalidInput
from app.logs import configure_logs

_OWN: Final = frozenset({"file", "form", "out", "store"})


def waveform(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .npy, an .npz or an HDF5 file.")],
    form: Annotated[
        OutputFormat | None, typer.Option("--format", help="Default: the ending of --out, else csv.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output when left out.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Which array of an .npz or HDF5 file.")] = None,
    detector: Annotated[str, typer.Option(help="reference, lz-ws2024, xenon1t or xenonnt.")] = "reference",
    drift_velocity_mm_per_us: Annotated[
        float | None, typer.Option("--drift-velocity", help="In place of the detector's [mm/us].")
    ] = None,
    longitudinal_diffusion_cm2_per_s: Annotated[
        float | None, typer.Option("--diffusion", help="In place of the detector's D_L [cm^2/s].")
    ] = None,
    gas_gap_us: Annotated[float | None, typer.Option("--gas-gap", help="In place of the detector's [us].")] = None,
    drift_time_us: Annotated[
        float | None, typer.Option("--drift-time", help="Drift time of all events [us], where it is known.")
    ] = None,
    prior_two: Annotated[
        float, typer.Option("--prior-two", help="Probability of two scatters before the waveform was seen.")
    ] = 0.5,
    length: Annotated[
        Literal["refuse", "resample"], typer.Option(help="What to do with records that are not 5,000 samples of 10 ns.")
    ] = "refuse",
    sample_period_ns: Annotated[
        float, typer.Option("--sample-period", help="Time between two samples [ns]; with --length resample.")
    ] = 10.0,
    polarity: Annotated[Literal["auto", "positive", "negative"], typer.Option(help="Of the pulse.")] = "auto",
    pulses: Annotated[bool, typer.Option("--pulses", help="Tell time, area and width of the pulses too.")] = False,
    show: Annotated[str, typer.Option(help="Waveforms in a picture, from 0, with commas between.")] = "0",
    model: Annotated[str, typer.Option(help="Name of the model.")] = "waveform-s2",
    version: Annotated[str, typer.Option(help="Version number or alias.")] = "stable",
    store: Annotated[
        Path, typer.Option("--store", envvar="BEAMLINE_MODEL_STORE", help="Folder of the published models.")
    ] = Path("model_store"),
) -> None:
    """Count the scatters in S2 waveforms: one or two, how far apart, and how sure."""
    options = {name: value for name, value in locals().items() if name not in _OWN and value is not None}
    # Here, so that the other commands start without what only this one needs.
    from pydantic import ValidationError

    from app.api.waveform import Limits, question_answer, question_from_file
    from app.api.waveform_schema import FileQuery
    from app.model_registry.registry import Registry
    from app.model_registry.store import ModelStore

    configure_logs(level="error", form="console")
    chosen = form or format_of(out)
    try:
        query = FileQuery.model_validate(options)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidInput(f"{first['loc'][0]}: {first['msg']}") from None
    question = question_from_file(read_file(file)[1], query, Limits())
    registry = Registry(ModelStore(store))
    registry.refresh()
    write(question_answer(question, registry, chosen.value), chosen, out)
