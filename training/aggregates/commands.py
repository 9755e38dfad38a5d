"""The commands that simulate, train, evaluate, rank and draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from app.aggregates.measurement import Measurement
from app.aggregates.setting import PARTICLES
from app.errors import AppError
from training.aggregates.args import DataArgs, TrainArgs
from training.aggregates.baselines import BASELINES
from training.aggregates.cases import CASES
from training.aggregates.curves import curve_table, learning_curves
from training.aggregates.evaluate import (
    EDGES,
    Result,
    case_table,
    comparable,
    confusion_table,
    evaluate,
    shift_table,
    slice_table,
    stored,
)
from training.aggregates.methods import Method, Sample, sample, simulation_named
from training.aggregates.networks import NETWORKS, architecture
from training.aggregates.settings import SIMULATIONS, TRAINING
from training.aggregates.simulate import ARRAYS, Patterns, Simulation, drawn
from training.aggregates.train import NetworkMethod, fit_network

RUNS: Final = Path("runs") / "aggregates"
VALIDATION_SHARE: Final = 0.2
"""Of patterns of one's own."""
IMAGES: Final = Path("docs") / "images"
STORE: Final = Path("model_store")
NETWORK_SUFFIX: Final = "-network"
MODEL_PREFIX: Final = "model:"
RUN_PREFIX: Final = "run:"
COUNT_NETWORK: Final = "count-network"

SettingOption = Annotated[str, typer.Option(help=f"what is simulated: {', '.join(SIMULATIONS)}")]
ImagesOption = Annotated[int, typer.Option(min=1, help="patterns to train on")]
SeedOption = Annotated[int, typer.Option(min=0, max=999_999, help="of everything that is drawn")]
RunsOption = Annotated[Path, typer.Option(help="folder of runs and results")]
StoreOption = Annotated[Path, typer.Option(help="the model store")]
MethodsOption = Annotated[list[str], typer.Option(help="names; `methods` lists them. May be repeated.")]
TestOption = Annotated[int, typer.Option(min=1, help="test patterns of each case")]
EpochsOption = Annotated[int, typer.Option(min=1, help="passes over all patterns at most")]


def methods_command() -> None:
    """List what can be evaluated, and on what."""
    typer.echo(
        "\n".join(["methods:", *(f"  {m.name}" for m in BASELINES), *(f"  {n}{NETWORK_SUFFIX}" for n in NETWORKS)])
    )
    typer.echo(f"  {COUNT_NETWORK}  (trained anew, for learning curves)")
    typer.echo(
        f"  {MODEL_PREFIX}NAME[@VERSION]  a published model\n  {RUN_PREFIX}FOLDER  a run of `count-network`\ncases:"
    )
    typer.echo("\n".join(f"  {name}" for name in CASES))


def method_from_name(name: str, runs: Path, store: Path, epochs: int) -> Method:
    """Turn a name into a method.

    Raises:
        ValueError: no such method; the message lists those there are.
    """
    known: Mapping[str, Method] = {method.name: method for method in BASELINES}
    if name in known:
        return known[name]
    if name == COUNT_NETWORK or name.startswith((MODEL_PREFIX, RUN_PREFIX)):
        return _count_network(name, runs, store)
    network = name.removesuffix(NETWORK_SUFFIX)
    if network == name or network not in NETWORKS:
        networks = (n + NETWORK_SUFFIX for n in NETWORKS)
        names = [*known, *networks, COUNT_NETWORK, f"{MODEL_PREFIX}NAME", f"{RUN_PREFIX}FOLDER"]
        raise ValueError(f"no method {name!r}: give one of {', '.join(names)}")
    return NetworkMethod(replace(TrainArgs(network), epochs=epochs), runs / "networks", typer.echo)


def _count_network(name: str, runs: Path, store: Path) -> Method:
    from training.aggregates import published

    if name == COUNT_NETWORK:
        return published.CountNetworkMethod(runs)
    try:
        if name.startswith(RUN_PREFIX):
            return published.of_run(Path(name.removeprefix(RUN_PREFIX)), runs / "staging")
        return published.published(name.removeprefix(MODEL_PREFIX), store)
    except AppError as error:
        raise ValueError(error.message) from error


def named(names: Sequence[str], runs: Path, store: Path, epochs: int) -> list[Method]:
    """Turn names of the command line into methods."""
    try:
        return [method_from_name(name, runs, store, epochs) for name in dict.fromkeys(names)]
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from problem


def simulate_command(
    out: Annotated[Path, typer.Argument(help="the .npz file to write")],
    setting: SettingOption = "reference-r5",
    images: Annotated[int, typer.Option(min=1, help="patterns")] = 1_000,
    seed: SeedOption = 0,
) -> None:
    """Simulate patterns with the truth behind them. The same seed gives the same set."""
    patterns = drawn(_simulation(setting), images, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, particle=np.array(patterns.particle), **{name: getattr(patterns, name) for name in ARRAYS})
    typer.echo(f"{out}: {_described(patterns)}")


def _simulation(setting: str) -> Simulation:
    try:
        return simulation_named(setting)
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from problem


def _described(patterns: Patterns) -> str:
    counts = ", ".join(f"{n}: {int((patterns.number == n).sum())}" for n in np.unique(patterns.number))
    return f"{len(patterns)} patterns of {patterns.particle}s, by number {counts}"


def train_command(
    network: Annotated[str, typer.Option(help=f"architecture: {', '.join(NETWORKS)}")] = "source",
    setting: SettingOption = "reference-r5",
    images: ImagesOption = 10_000,
    validation_images: Annotated[int, typer.Option(min=1, help="patterns that decide when to stop")] = 2_000,
    data: Annotated[
        Path | None, typer.Option(help="patterns of your own instead: a file, or a folder of files")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="their numbers, .npy or .csv, where DATA does not tell")] = None,
    radius_px: Annotated[float, typer.Option(min=0.1, help="of the particles in DATA [object pixels]")] = 5.0,
    particle: Annotated[str, typer.Option(help="in DATA: disc or sphere")] = "sphere",
    runs: RunsOption = RUNS,
    seed: SeedOption = 0,
    epochs: EpochsOption = 20,
    patience: Annotated[int, typer.Option(min=1, help="epochs without progress before it stops")] = 5,
    batch_size: Annotated[int, typer.Option(min=1, help="patterns in one step")] = 64,
) -> None:
    """Train a convolutional classifier. Run it again to go on after an interruption."""
    args = TrainArgs(network, epochs=epochs, patience=patience, batch_size=batch_size)
    what = setting if data is None else data.stem
    folder = runs / "training" / f"{network}-{what}-{images if data is None else 'measured'}-seed{seed}"
    try:
        architecture(network)
        if data is None:
            parts = sample(setting, "train", images, seed), sample(setting, "validation", validation_images, seed)
        else:
            parts = _measured(data, labels, radius_px, particle, seed)
        trained = fit_network(*parts, args, seed, folder=folder, say=typer.echo)
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from problem
    except AppError as problem:
        raise typer.BadParameter(problem.message) from problem
    history = trained.record.history
    typer.echo(
        f"{folder}: best epoch {history.best + 1} of {history.epochs}, validation accuracy "
        f"{history.validation_accuracy[history.best]:.4f}, {trained.record.seconds:.0f} s"
    )


def _measured(data: Path, labels: Path | None, radius_px: float, particle: str, seed: int) -> tuple[Sample, Sample]:
    from training.aggregates.measured import measured_samples

    if particle not in PARTICLES:
        raise ValueError(f"particle is {particle!r}: give one of {', '.join(PARTICLES)}")
    told = Measurement(radius_px=radius_px, particle=particle)
    rng = np.random.default_rng(seed)
    return measured_samples(data, told, labels=labels, validation_share=VALIDATION_SHARE, rng=rng)


def evaluate_command(
    methods: MethodsOption,
    setting: SettingOption = "reference-r5",
    cases: Annotated[list[str] | None, typer.Option(help="what to test on; default: the same simulation")] = None,
    shifts: Annotated[bool, typer.Option(help="test on everything unlike the reference as well")] = False,
    images: ImagesOption = 10_000,
    test_images: TestOption = 5_000,
    runs: RunsOption = RUNS,
    store: StoreOption = STORE,
    seed: SeedOption = 0,
    epochs: EpochsOption = 20,
) -> None:
    """Fit methods on one simulation and test them on unseen patterns; what is done already is kept."""
    _simulation(setting)
    chosen = list(dict.fromkeys([*(cases or [setting]), *(_shifts() if shifts else ())]))
    data = DataArgs(setting, images, seed=seed)
    found = named(methods, runs, store, epochs)
    try:
        results = evaluate(found, data, chosen, runs / "results", images=test_images, seed=seed)
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from problem
    typer.echo(report(results))


def _shifts() -> list[str]:
    return [name for name in CASES if name not in TRAINING]


def report(results: Sequence[Result]) -> str:
    """Write every case as a table, and all cases side by side where there are several."""
    cases = list(dict.fromkeys(r.case for r in results))
    text = [f"## {c}\n\n{case_table(r for r in results if r.case == c)}" for c in cases]
    return "\n\n".join([*text, *([f"## Side by side\n\n{shift_table(results)}"] if len(cases) > 1 else [])])


def rank_command(
    case: Annotated[str | None, typer.Option(help="look closely at one case: slices, confusion, a picture")] = None,
    runs: RunsOption = RUNS,
    picture: Annotated[Path | None, typer.Option(help="the .svg or .png of --case")] = None,
) -> None:
    """Show every result there is; of one case only methods that were trained on it, or on the reference."""
    results = stored(runs / "results")
    chosen = results if case is None else comparable(r for r in results if r.case == case)
    if not chosen:
        typer.echo("nothing of that is evaluated yet: run `evaluate` first", err=True)
        raise typer.Exit(1)
    if case is None:
        for training, rows in groupby(sorted(chosen, key=lambda r: r.training), key=lambda r: r.training):
            typer.echo(f"# trained on {training}\n\n{report(list(rows))}\n")
        return
    typer.echo(f"{report(chosen)}\n\n{closely(chosen)}")
    if picture is not None:
        from training.aggregates.pictures import draw_report

        draw_report(chosen, best(chosen).method, picture)


def best(results: Sequence[Result]) -> Result:
    """Give the result with the highest accuracy."""
    return max(results, key=lambda r: r.scores.accuracy)


def closely(results: Sequence[Result]) -> str:
    """Write accuracy against photons, radius and overlap, and what the best method confuses."""
    winner = best(results)
    slices = [f"## Accuracy by {by}\n\n{slice_table(results, by)}" for by in EDGES]
    return "\n\n".join([*slices, f"## Confusion of {winner.method}\n\n{confusion_table(winner)}"])


def curves_command(
    methods: MethodsOption,
    setting: SettingOption = "reference-r5",
    sizes: Annotated[list[int] | None, typer.Option(help="training patterns; may be repeated")] = None,
    test_images: TestOption = 5_000,
    runs: RunsOption = RUNS,
    store: StoreOption = STORE,
    seed: SeedOption = 0,
    epochs: EpochsOption = 20,
    out: Annotated[Path, typer.Option(help="the picture to write")] = IMAGES / "aggregates-learning-curve.svg",
) -> None:
    """Draw accuracy against the number of training patterns."""
    from training.aggregates.pictures import draw_curves

    _simulation(setting)
    curves = learning_curves(
        named(methods, runs, store, epochs),
        DataArgs(setting, seed=seed),
        sizes or [300, 1_000, 3_000, 10_000],
        runs / "results",
        images=test_images,
        seed=seed,
    )
    draw_curves(curves, f"{setting}, {test_images:,} test patterns", out)
    typer.echo(f"{curve_table(curves)}\n\n{out}")
