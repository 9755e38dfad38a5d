"""`python -m training.indexing regression <command>`: variance networks and random forests for the cell constants."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from app.crystallography.lattice import LATTICES
from app.indexing.learned.regression import FRAMES
from app.model_registry.store import ModelStore
from training.indexing.mixture_network import MixtureArgs
from training.indexing.regression_evaluate import HEADING, evaluate, save_scores, table
from training.indexing.regression_publish import publish_run
from training.indexing.regression_rows import Rows, rows_of, synthetic_rows, with_random_lattices
from training.indexing.regression_train import LEVELS, TRAINERS, RegressionArgs, read_run, save, train_lattice
from training.indexing.variance_network import VarianceArgs

cli = typer.Typer(no_args_is_help=True, help="Variance networks and random forests that draw cells from lines.")

RUNS = Path("runs/indexing/regression")
_LATTICES = typer.Option("--lattice", help="Bravais symbol; may be repeated. All where left out.")
_DATA = typer.Option(help="Folder of `python -m training.indexing data`; without it synthetic lattices are drawn.")
_COUNT = typer.Option(
    min=0,
    help="Random lattices of each Bravais lattice: added to what is learnt from --data, or a fifth of them held out.",
)
_RUNS = typer.Option(help="Folder of the runs, one folder in it for each lattice.")
LatticeOption = Annotated[list[str] | None, _LATTICES]
DataOption = Annotated[Path | None, _DATA]
CountOption = Annotated[int, _COUNT]
RunsOption = Annotated[Path, _RUNS]
_DEFAULTS = VarianceArgs()


def _rows(bravais: str, data: Path | None, count: int, seed: int) -> Rows:
    if data is None:
        return synthetic_rows(bravais, count, seed)
    return with_random_lattices(rows_of(data, bravais), count, seed)


@cli.command("train")
def train_command(
    lattice: LatticeOption = None,
    data: DataOption = None,
    count: CountOption = 5_000,
    runs: RunsOption = RUNS,
    frame: Annotated[str, typer.Option(help=f"Units of lines and cells: {', '.join(FRAMES)}.")] = "relative",
    level: Annotated[str, typer.Option(help=f"One model for each of these: {', '.join(LEVELS)}.")] = "lattice",
    density: Annotated[str, typer.Option(help=f"What the network says of a cell: {', '.join(TRAINERS)}.")] = "variance",
    mixture_epochs: Annotated[int, typer.Option(min=1, help="Epochs of a mixture.")] = MixtureArgs().epochs,
    rotate: Annotated[bool, typer.Option(help="Predict principal directions instead of cell constants.")] = False,
    share: Annotated[float, typer.Option(min=0.001, max=1.0, help="Share of the training patterns to use.")] = 1.0,
    epoch_rows: Annotated[int, typer.Option(min=0, help="Patterns in an epoch; 0 takes all.")] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of either turn.")] = _DEFAULTS.epochs,
    cycles: Annotated[int, typer.Option(min=1, help="Turns of the mean and of the variance.")] = _DEFAULTS.cycles,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Of Adam.")] = _DEFAULTS.learning_rate,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of a step.")] = _DEFAULTS.batch_size,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.9, help="After each hidden layer.")] = _DEFAULTS.dropout,
    seed: Annotated[int, typer.Option(min=0, help="Of all randomness.")] = 0,
) -> None:
    """Train; an interrupted run goes on after its last cycle. The defaults are the report's."""
    network = replace(
        _DEFAULTS, epochs=epochs, cycles=cycles, learning_rate=learning_rate, batch_size=batch_size, dropout=dropout,
        seed=seed,
    )  # fmt: skip
    args = RegressionArgs(
        frame=frame,
        level=level,
        rotate=rotate,
        density=density,
        mixture=MixtureArgs(epochs=mixture_epochs),
        share=share,
        epoch_rows=epoch_rows,
        network=network,
    )
    for bravais in lattice or LATTICES:
        folder = runs / bravais
        run = train_lattice(_rows(bravais, data, count, seed), args, folder / "checkpoints")
        save(run, folder)
        for group in run.groups:
            nll = ", ".join(f"{cycle['held_out_nll']:.2f}" for cycle in group.history)
            typer.echo(f"{bravais} {group.name}: {group.n_rows} patterns, held-out NLL {nll}, {run.seconds:.0f} s CPU")


@cli.command("evaluate")
def evaluate_command(
    lattice: LatticeOption = None,
    data: DataOption = None,
    count: CountOption = 5_000,
    runs: RunsOption = RUNS,
    walks: Annotated[int, typer.Option(min=1, help="Patterns whose draws are refined.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="That of the training, for the same synthetic patterns.")] = 0,
) -> None:
    """Score the runs on held-out patterns, beside the trivial predictor."""
    typer.echo(HEADING)
    for bravais in lattice or LATTICES:
        found = evaluate(read_run(runs / bravais), _rows(bravais, data, count, seed), seed, walks=walks)
        save_scores(found, runs / bravais)
        for line in table(bravais, found):
            typer.echo(line)


@cli.command("publish")
def publish_command(
    lattice: LatticeOption = None,
    runs: RunsOption = RUNS,
    store: Annotated[Path, typer.Option(help="The model store.")] = Path("model_store"),
    promote: Annotated[bool, typer.Option(help="Let the new versions answer.")] = False,
) -> None:
    """Publish the runs, one model for each lattice."""
    command = " ".join(["python -m training.indexing", *sys.argv[1:]])
    for bravais in lattice or LATTICES:
        manifest = publish_run(ModelStore(store), runs / bravais, command, promote=promote)
        typer.echo(f"published {manifest.name} version {manifest.version}")
