"""The commands that train, evaluate and rank."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from app.errors import AppError
from app.polarization.experiment import Experiment, Material
from training.polarization.anchored import AnchoredMethod
from training.polarization.args import DataArgs, TrainArgs
from training.polarization.baselines import BASELINES
from training.polarization.data import DEFAULT_OUT, load_dataset
from training.polarization.evaluate import (
    Grouping,
    Ranked,
    combined,
    leave_one_out,
    markdown_table,
    ranking,
    stored_outcomes,
)
from training.polarization.methods import Method
from training.polarization.networks import COMPLEXITIES, architecture
from training.polarization.splits import campaigns, installations

RUNS: Final = Path("runs")
METHODS: Final[tuple[Method, ...]] = (AnchoredMethod(), *BASELINES)
ENSEMBLE_SIZE: Final = 4


class HoldOut(StrEnum):
    """What is held out together."""

    installation = "installation"
    campaign = "campaign"


GROUPINGS: Final[Mapping[HoldOut, Grouping]] = {HoldOut.installation: installations, HoldOut.campaign: campaigns}

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
    return [e for e in everything if e.material == material and len(e.time_s) > 2]


def method_from_name(name: str) -> Method:
    """Turn ``line`` or ``Naif854_10`` (``-raw``: uncorrected) into a method.

    Raises:
        ValueError: neither a baseline nor ``{complexity}_{augmentations}``.
    """
    for method in METHODS:
        if method.name == name:
            return method
    complexity, _, copies = name.removesuffix("-raw").rpartition("_")
    if not copies.isdecimal():
        known = ", ".join(m.name for m in METHODS)
        raise ValueError(f"no method {name!r}: give one of {known}, or complexity_augmentations such as Naif854_10")
    architecture(complexity)
    from training.polarization.train import NetworkMethod

    return NetworkMethod(TrainArgs(complexity, DataArgs(int(copies))), corrected=not name.endswith("-raw"))


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
