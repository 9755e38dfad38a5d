"""The commands of the network that scores low-order assignments: train, evaluate, publish."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

RUNS: Final = Path("runs/indexing/templates")
_DATA = typer.Option(help="folder of the random patterns; what is missing is drawn, one core, a quarter of an hour")
_RUN = typer.Option(help="folder of the training run")
templates_cli = typer.Typer(no_args_is_help=True, help="The network that scores low-order assignments.")


@templates_cli.command("train")
def train_command(
    data: Annotated[Path, _DATA] = RUNS / "data",
    run: Annotated[Path, _RUN] = RUNS / "run",
    epochs: Annotated[int, typer.Option(min=1, help="times that each pattern is seen")] = 6,
    scale: Annotated[float, typer.Option(help="patterns of each lattice, relative to the usual number")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="of patterns, weights and errors")] = 1,
) -> None:
    """Train the network that scores low-order assignments."""
    from training.indexing.templates.data import cached_set
    from training.indexing.templates.train import PATTERNS, TrainArgs, train

    counts = {symbol: max(int(scale * count), 200) for symbol, count in PATTERNS.items()}
    sets = {symbol: cached_set(data, symbol, count, seed=seed) for symbol, count in counts.items()}
    train(sets, TrainArgs(patterns=counts, epochs=epochs, seed=seed), run, typer.echo)


@templates_cli.command("evaluate")
def evaluate_command(
    data: Annotated[Path, _DATA] = RUNS / "data",
    run: Annotated[Path, _RUN] = RUNS / "run",
    patterns: Annotated[int, typer.Option(min=10, help="unseen patterns of each lattice")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="of these patterns; another than that of training")] = 77,
) -> None:
    """Tell which share of unseen random patterns the first rows solve, in the list's order and in the network's."""
    from training.indexing.templates.data import cached_set
    from training.indexing.templates.evaluate import PREFIXES, places, solved
    from training.indexing.templates.publish import SCORES_FILE
    from training.indexing.templates.train import MODEL_FILE, read_network

    network, lattices = read_network(run / MODEL_FILE)
    found: dict[str, dict[str, list[float]]] = {}
    typer.echo(f"{'':16}" + "".join(f"{prefix:>8}" for prefix in PREFIXES))
    for symbol in lattices:
        held_out = cached_set(data, symbol, patterns, seed=seed)
        orders = places(symbol, held_out, network, seed=seed)
        found[symbol] = {order: solved(place) for order, place in orders.items()}
        for order, shares in found[symbol].items():
            typer.echo(f"{symbol:5}{order:11}" + "".join(f"{share:8.3f}" for share in shares))
    scores = {"seed": seed, "patterns": patterns, "prefixes": list(PREFIXES), "solved": found}
    (run / SCORES_FILE).write_text(json.dumps(scores, indent=1) + "\n")


@templates_cli.command("forest")
def forest_command(
    data: Annotated[Path, _DATA] = RUNS / "data",
    lattice: Annotated[str, typer.Option(help="Bravais symbol")] = "oP",
    learnt: Annotated[int, typer.Option(min=100, help="patterns to learn from")] = 6000,
    patterns: Annotated[int, typer.Option(min=10, help="unseen patterns")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="of the unseen patterns; another than that of training")] = 77,
) -> None:
    """Grow a forest in the place of the network for one lattice, and tell the same of it."""
    from training.indexing.templates.data import cached_set
    from training.indexing.templates.evaluate import PREFIXES, places, solved
    from training.indexing.templates.forest import forest_network

    forest = forest_network(lattice, cached_set(data, lattice, learnt, seed=1), seed=1)
    found = places(lattice, cached_set(data, lattice, patterns, seed=seed), forest, seed=seed)
    typer.echo(f"{'':16}" + "".join(f"{prefix:>8}" for prefix in PREFIXES))
    for order, place in (("list", found["list"]), ("forest", found["network"])):
        typer.echo(f"{lattice:5}{order:11}" + "".join(f"{share:8.3f}" for share in solved(place)))


@templates_cli.command("publish")
def publish_command(
    run: Annotated[Path, _RUN] = RUNS / "run",
    store: Annotated[Path, typer.Option(help="folder of the model store")] = Path("model_store"),
    promote: Annotated[bool, typer.Option(help="move the alias `stable` to the new version")] = False,
) -> None:
    """Publish a trained and evaluated network."""
    from app.model_registry.store import ModelStore
    from training.indexing.templates.publish import publish_run

    command = " ".join(["python -m training.indexing", *sys.argv[1:]])
    manifest = publish_run(ModelStore(store), run, command, promote=promote)
    typer.echo(f"published {manifest.name} version {manifest.version}")
