"""`python -m training.indexing regression <command>`: variance networks and random forests for the cell constants."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from app.crystallography.lattice import LATTICES
from app.indexing.learned.regression import FRAMES
from app.indexing.learned.shelf import Shelf
from app.model_registry.store import ModelStore
from training.indexing.regression.evaluate import HEADING, evaluate, save_scores, table
from training.indexing.regression.mixture_network import MixtureArgs
from training.indexing.regression.publish import publish_run
from training.indexing.regression.rows import Rows, rows_of, synthetic_rows, with_random_lattices
from training.indexing.regression.train import LEVELS, TRAINERS, RegressionArgs, read_run, save, train_lattice
from training.indexing.regression.variance_network import VarianceArgs

cli = typer.Typer(no_args_is_help=True, help="Variance networks and random forests that draw cells from lines.")

RUNS, DATA = Path("runs/indexing/regression"), Path("runs/indexing/data")
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


@cli.command("walks")
def walks_command(
    data: Annotated[Path, typer.Option(help="Folder of `python -m training.indexing data`.")] = DATA,
    store: Annotated[Path, typer.Option(help="Store whose stable mixtures and odds take part.")] = Path("model_store"),
    draws: Annotated[list[int] | None, typer.Option(help="Cells that are drawn; may be repeated.")] = None,
    synthetic: Annotated[int | None, typer.Option(min=1, help="Crystals of each lattice, no structures.")] = None,
    searches: Annotated[int, typer.Option(min=0, help="Patterns that are searched whole, with and without.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the patterns.")] = 5,
) -> None:
    """Compare the walk from drawn starts with that from random ones on hard patterns of held-out structures."""
    from training.indexing.regression.walks import compared, generators, hard_patterns, searched, walked

    shelf = Shelf(store)
    learned = shelf.at_hand(shelf.default()).learned
    patterns = hard_patterns(data, synthetic=synthetic, seed=seed)
    if learned.regression is None or learned.odds is None:
        raise typer.BadParameter("the store holds no mixtures, or no odds")
    asked = generators(learned.regression, draws or (300, 900))
    rows = [(known.bravais, walked(known, asked)) for known in patterns]
    for bravais in dict.fromkeys(sorted(bravais for bravais, _ in rows)):
        own = [row for of, row in rows if of == bravais]
        for name in asked:
            found, spent = zip(*(row[name] for row in own), strict=True)
            typer.echo(f"{bravais} {name}: {sum(found)} of {len(own)}, {1000 * sum(spent) / len(own):.0f} ms")
    both = list(searched(patterns[:searches], learned.odds, learned.regression))
    for name, own in zip(("drawn starts", "random starts"), zip(*both, strict=True), strict=False):
        counts = f"first {sum(one.first for one in own)}, listed {sum(one.listed for one in own)} of {len(own)}"
        typer.echo(f"{name}: {counts}, CPU {sum(one.cpu_s for one in own) / len(own):.2f} s")
    for line in compared(both):
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
