"""The commands of the index assignment networks: train, evaluate, learning curve."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from training.indexing.indices.rows import IndexRows, kept_rows, random_rows, read_rows, rows_from_patterns

RUNS: Final = Path("runs/indexing/indices")
HELD: Final = 10
_SYSTEM = typer.Option("--system", help="lattice system; may be repeated; default: all seven")
_DATA = typer.Option(help="folder of patterns (see the command data); without it, patterns of random lattices")
_PATTERNS = typer.Option(help="training patterns of random lattices; a tenth as many for validation")
_LEVEL = typer.Option("--level", help="size of error: predicted, 0.10, 0.05, 0.025, 0.01; default: all")
SYSTEMS: Final = ("orthorhombic", "monoclinic", "triclinic", "tetragonal", "hexagonal", "rhombohedral", "cubic")
"""Where assignment is hardest comes first."""


def patterns_of(system: str, data: Path | None, count: int, seed: int) -> tuple[IndexRows, IndexRows]:
    """Training and validation patterns of one system, from a folder or drawn at random."""
    if data is None:
        train, held = (np.random.default_rng([seed, part]) for part in (10, 11))
        return random_rows(system, count, train), random_rows(system, max(count // HELD, 1), held)
    from training.indexing.data.pattern_set import read_patterns

    parts = (rows_from_patterns(read_patterns(data, validation=v), system) for v in (False, True))
    training, validation = (rows.take(np.random.default_rng(seed).permutation(len(rows))) for rows in parts)
    return training.take(slice(count)), validation


def train_command(
    system: Annotated[list[str] | None, _SYSTEM] = None,
    level: Annotated[list[str] | None, _LEVEL] = None,
    data: Annotated[Path | None, _DATA] = None,
    patterns: Annotated[int, _PATTERNS] = 6000,
    epochs: Annotated[int, typer.Option(help="passes for each level; the first level has twice as many")] = 10,
    dropout: Annotated[float, typer.Option(help="share of units left out")] = 0.25,
    seed: Annotated[int, typer.Option(help="of patterns, weights, order and errors")] = 1,
    out: Annotated[Path, typer.Option(help="folder of the runs; an interrupted one goes on")] = RUNS,
) -> None:
    """Train index assignment networks, level after level, each system in its own folder."""
    from training.indexing.indices.networks import LEVELS, IndexArgs, make_school, train

    for name in system or SYSTEMS:
        args = IndexArgs(name, epochs=epochs, dropout=dropout, seed=seed)
        school = make_school(args, *kept_rows(out / name, lambda n=name: patterns_of(n, data, patterns, seed)))
        typer.echo(f"{name}: {len(school.training)} patterns, {len(school.validation)} for validation")
        train(school, out / name, tuple(level or LEVELS))


def evaluate_command(
    system: Annotated[list[str] | None, _SYSTEM] = None,
    runs: Annotated[Path, typer.Option(help="folder of the runs")] = RUNS,
    data: Annotated[Path | None, _DATA] = None,
    most: Annotated[int, typer.Option(help="patterns of each system to ask about")] = 1000,
    level: Annotated[list[str] | None, _LEVEL] = None,
    forest: Annotated[bool, typer.Option(help="grow a random forest for each level, too")] = False,
) -> None:
    """Compare networks with the nearest reflection and a fitted width on patterns that were not trained on."""
    from training.indexing.indices.evaluate import compared
    from training.indexing.indices.networks import finished_levels, read_school

    typer.echo("| system | level | method | accuracy | log loss | calibration error |\n|---|---|---|---|---|---|")
    for name in system or SYSTEMS:
        folder = runs / name
        if not finished_levels(folder):
            continue
        training, validation = read_rows(folder)
        school = read_school(folder, training, validation)
        held = validation if data is None else patterns_of(name, data, most, 0)[1]
        found = compared(school, folder, held.take(slice(most)), tuple(level or ()), forest=forest)
        for (size, method), score in found.items():
            figures = f"{score.accuracy:.3f} | {score.log_loss:.2f} | {score.calibration_error:.3f}"
            typer.echo(f"| {name} | {size} | {method} | {figures} |")
        kept = {f"{size} {method}": asdict(score) for (size, method), score in found.items()}
        if not level:
            (folder / "scores.json").write_text(json.dumps(kept, indent=1))


def learning_curve_command(
    system: Annotated[str, typer.Option(help="lattice system; its run must be there")] = "orthorhombic",
    level: Annotated[str, typer.Option(help="size of error")] = "0.05",
    patterns: Annotated[list[int] | None, typer.Option(help="sizes of the training set")] = None,
    steps: Annotated[int, typer.Option(help="steps of the optimizer, the same for every size")] = 240,
    dropout: Annotated[float, typer.Option(help="share of units left out")] = 0.25,
    runs: Annotated[Path, typer.Option(help="folder of the runs")] = RUNS,
    out: Annotated[Path, typer.Option(help="folder of the curve; an interrupted one goes on")] = RUNS / "curve",
) -> None:
    """Train one level afresh on parts of a run's patterns, and score each network on the same held-out ones."""
    from training.indexing.indices.evaluate import compared
    from training.indexing.indices.networks import IndexArgs, make_school, train

    training, validation = read_rows(runs / system)
    typer.echo("| patterns | dropout | accuracy | log loss | calibration error |\n|---|---|---|---|---|")
    for size in patterns or (375, 1500, 6000):
        # The first level of a run takes twice the epochs.
        epochs = max(1, round(steps / (2 * -(-size // IndexArgs(system).batch_size))))
        args = IndexArgs(system, epochs=epochs, dropout=dropout, warm_start=False)
        school = make_school(args, training.take(slice(size)), validation)
        folder = out / f"{system}-{level}-{size}-{steps}-{dropout}"
        train(school, folder, (level,))
        score = compared(school, folder, validation)[level, "network"]
        figures = f"{score.accuracy:.3f} | {score.log_loss:.2f} | {score.calibration_error:.3f}"
        typer.echo(f"| {size} | {dropout} | {figures} |")


def publish_command(
    system: Annotated[str, typer.Option(help="lattice system")],
    level: Annotated[str, typer.Option(help="size of error")],
    store: Annotated[Path, typer.Option(help="a model store; the project's own holds none of these")],
    runs: Annotated[Path, typer.Option(help="folder of the runs")] = RUNS,
) -> None:
    """Publish one network into a store, to try it there."""
    from app.model_registry.store import ModelStore
    from training.indexing.indices.publish import publish_level

    command = f"python -m training.indexing indices train --system {system} --level {level}"
    done = publish_level(ModelStore(store), runs / system, level, command)
    typer.echo(f"{done.name} version {done.version}")


indices_cli = typer.Typer(no_args_is_help=True, help="Networks that assign indices to lines, given a cell.")
indices_cli.command("train")(train_command)
indices_cli.command("evaluate")(evaluate_command)
indices_cli.command("learning-curve")(learning_curve_command)
indices_cli.command("publish")(publish_command)
