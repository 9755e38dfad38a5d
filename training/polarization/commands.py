"""The commands that train, evaluate and rank."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from app.errors import AppError
from app.polarization.experiment import Experiment, Material
from training.polarization.args import DataArgs, TrainArgs
from training.polarization.catalogue import GROUPINGS, HoldOut, experiments_to_predict, method_from_name
from training.polarization.data import DEFAULT_OUT, load_dataset
from training.polarization.evaluate import (
    Ranked,
    combined,
    leave_one_out,
    markdown_table,
    ranking,
    stored_outcomes,
)
from training.polarization.methods import Method
from training.polarization.networks import COMPLEXITIES

RUNS: Final = Path("runs")
ENSEMBLE_SIZE: Final = 4
JOB_KIND: Final = "polarization.leave-one-out"
"""As the service's table of jobs has it."""


MaterialOption = Annotated[str, typer.Option(help="crystalline or amorphous")]
DatasetOption = Annotated[Path, typer.Option(help="folder or file that `data` wrote")]
RunsOption = Annotated[Path, typer.Option(help="folder of runs and results")]
HoldOutOption = Annotated[HoldOut, typer.Option(help="one filling of a cell, or a whole beam time")]
SeedOption = Annotated[int, typer.Option(help="of everything that is drawn")]


def material_of(text: str) -> Material:
    """Read a material from the command line."""
    if text == "crystalline" or text == "amorphous":
        return text
    raise typer.BadParameter(f"{text!r} is neither crystalline nor amorphous")


def experiments_of(dataset: Path, material: Material) -> list[Experiment]:
    """Read one material's experiments that have a point between their anchors."""
    try:
        everything = load_dataset(dataset)
    except AppError as error:
        typer.echo(f"{error.title}: {error.message}", err=True)
        raise typer.Exit(code=1) from None
    return experiments_to_predict(everything, material)


def _named(names: list[str]) -> list[Method]:
    try:
        return [method_from_name(name) for name in names]
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from problem


def train_command(
    material: MaterialOption,
    complexity: Annotated[list[str], typer.Option(help="architectures; `complexities` lists them")],
    augment: Annotated[list[int], typer.Option(help="noisy copies of each experiment; all combinations are trained")],
    dataset: DatasetOption = DEFAULT_OUT,
    runs: RunsOption = RUNS,
    seed: SeedOption = 0,
    epochs: Annotated[int, typer.Option(help="passes over all rows")] = 300,
    batch_size: Annotated[int, typer.Option(help="rows in one step")] = 32,
) -> None:
    """Train networks on all experiments of a material: every complexity with every number of copies."""
    from training.polarization.train import save, train

    _named([f"{name}_{copies}" for name in complexity for copies in augment])
    experiments = experiments_of(dataset, material_of(material))
    for name in complexity:
        for copies in augment:
            args = TrainArgs(name, DataArgs(copies), epochs=epochs, batch_size=batch_size)
            trained = train(experiments, args, seed)
            folder = save(trained, runs / "models" / material)
            typer.echo(f"{folder}: loss {trained.record.loss_history[-1]:.3f}, {trained.record.seconds:.1f} s")


def evaluate_command(
    material: MaterialOption,
    methods: Annotated[list[str], typer.Option(help="baselines, or complexity_augmentations such as Naif854_10")],
    dataset: DatasetOption = DEFAULT_OUT,
    runs: RunsOption = RUNS,
    seed: SeedOption = 0,
    jobs: Annotated[int, typer.Option(help="fits at the same time; -1 takes all cores")] = 1,
    hold_out: HoldOutOption = HoldOut.installation,
    dask: Annotated[str, typer.Option(help="address of a Dask scheduler that shares this file system")] = "",
) -> None:
    """Leave one experiment out for each method; what is done already is kept. Prints the ranking."""
    chosen = _named(list(dict.fromkeys(methods)))
    experiments = experiments_of(dataset, material_of(material))
    with backend(dask):
        results = leave_one_out(
            chosen,
            experiments,
            results_folder(runs, material, hold_out),
            grouping=GROUPINGS[hold_out],
            seed=seed,
            jobs=jobs,
        )
    typer.echo(markdown_table(ranking(results)))


def parts_command(
    material: MaterialOption,
    methods: Annotated[list[str], typer.Option(help="baselines, or complexity_augmentations such as Naif854_10")],
    out: Annotated[Path, typer.Option(help="folder to write payload.json and parts.jsonl into")],
    dataset: DatasetOption = DEFAULT_OUT,
    seed: SeedOption = 0,
    hold_out: HoldOutOption = HoldOut.installation,
) -> None:
    """Write `evaluate` as a job of the service, one part for each fit; every worker must see the data set's folder."""
    from training.polarization.job import study_of, work

    try:
        study = study_of(dataset, material_of(material), methods, hold_out=hold_out, seed=seed)
        payload, parts = work(study)
    except AppError as error:
        typer.echo(f"{error.title}: {error.message}", err=True)
        raise typer.Exit(1) from None
    out.mkdir(parents=True, exist_ok=True)
    (out / "payload.json").write_bytes(payload)
    (out / "parts.jsonl").write_bytes(b"".join(part + b"\n" for part in parts))
    typer.echo(f"{len(parts)} parts. Submit them with:")
    typer.echo(f"python -m app jobs submit {JOB_KIND} {out / 'payload.json'} --parts {out / 'parts.jsonl'}")


def keep_command(
    result: Annotated[Path, typer.Argument(help="what `python -m app jobs show ID --result` printed", exists=True)],
    runs: RunsOption = RUNS,
) -> None:
    """Keep the outcomes of a job as if `evaluate` had made them, for `rank` and `publish`; prints the ranking."""
    from training.polarization.job import keep

    found = json.loads(result.read_text("utf-8"))
    try:
        keep(found, results_folder(runs, found["study"]["material"], HoldOut(found["study"]["hold_out"])))
    except AppError as error:
        typer.echo(f"{error.title}: {error.message}", err=True)
        raise typer.Exit(1) from None
    typer.echo(found["table"])


def rank_command(
    material: MaterialOption,
    dataset: DatasetOption = DEFAULT_OUT,
    runs: RunsOption = RUNS,
    hold_out: HoldOutOption = HoldOut.installation,
    ensemble: Annotated[int, typer.Option(help="combine this many of the best networks; 0: none")] = ENSEMBLE_SIZE,
) -> None:
    """Rank every method that has been evaluated on this whole data set, and the ensemble of the best networks."""
    experiments = experiments_of(dataset, material_of(material))
    results = stored_outcomes(results_folder(runs, material, hold_out), experiments)
    if not results:
        typer.echo("nothing is evaluated on this data set yet: run `evaluate` first", err=True)
        raise typer.Exit(1)
    rows = ranking(results)
    best = [row.method for row in rows if _is_network(row)][:ensemble]
    if len(best) > 1:
        results[f"mean of {len(best)} networks"] = combined([results[name] for name in best], experiments)
    typer.echo(markdown_table(ranking(results)))


def complexities_command() -> None:
    """List the architectures."""
    for name, row in COMPLEXITIES.items():
        typer.echo(f"{name:24} {row}")


def _is_network(row: Ranked) -> bool:
    name = row.method.split(" ")[0]
    return name.rpartition("_")[0] in COMPLEXITIES and not name.endswith("-raw")


def results_folder(runs: Path, material: str, hold_out: HoldOut) -> Path:
    """Give where the results of one material and one way of holding out are kept."""
    return runs / f"leave-one-{hold_out.value}-out" / material


def backend(address: str) -> Any:
    """Give a context in which joblib's work runs on a Dask cluster, or where it was without an address."""
    import contextlib

    import joblib

    if not address:
        return contextlib.nullcontext()
    from distributed import Client

    stack = contextlib.ExitStack()
    stack.enter_context(Client(address))
    stack.enter_context(joblib.parallel_config("dask"))
    return stack
