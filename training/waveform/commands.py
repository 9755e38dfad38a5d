"""The commands that train, search, evaluate and draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from app.errors import AppError
from training.waveform.args import DataArgs, TrainArgs
from training.waveform.methods import Method
from training.waveform.sets import MEASURED_NOISE, NOISE_FILE, TEST_SEED, TestArgs
from training.waveform.settings import SIMULATIONS

if TYPE_CHECKING:
    from training.waveform.evaluate import Plan

RUNS: Final = Path("runs/waveform")
SHARED_DATA: Final = Path("../shared/data")
CURVE_METHODS: Final = ("boosting", "boosting + drift time", "source")

RunsOption = Annotated[Path, typer.Option(help="folder of runs and results")]
StoreOption = Annotated[Path, typer.Option(help="the model store")]
SettingOption = Annotated[str, typer.Option(help="simulation to learn from, or `mixed`: many detectors")]
EventsOption = Annotated[int, typer.Option(help="waveforms with two scatters to learn from")]
TestEventsOption = Annotated[int, typer.Option(help="unseen waveforms with two scatters, and as many with one")]
SeedOption = Annotated[int, typer.Option(help="of the training set and of everything else that is drawn")]
SharedOption = Annotated[Path, typer.Option(help="folder of the real measurements, for measured noise")]

T = TypeVar("T")


def or_exit(work: Callable[[], T]) -> T:
    """Do the work; a mistake of the user's ends the program with its message."""
    try:
        return work()
    except AppError as error:
        typer.echo(f"{error.title}: {error.message}", err=True)
    except ValueError as error:
        typer.echo(str(error), err=True)
    raise typer.Exit(1)


def train_command(
    network: Annotated[str, typer.Option(help="source, strided, or source-FILTERS-SECOND-KERNEL")] = "source",
    task: Annotated[str, typer.Option(help="separation (how far apart) or scatters (one or two)")] = "separation",
    setting: SettingOption = "reference",
    events: EventsOption = 16_000,
    seed: SeedOption = 1,
    epochs: Annotated[int, typer.Option(help="passes over the training set at most")] = 10,
    batch_size: Annotated[int, typer.Option(help="waveforms in one step")] = 128,
    optimizer: Annotated[str, typer.Option(help="adam, SGD or RMSprop")] = "RMSprop",
    runs: RunsOption = RUNS,
) -> None:
    """Train a network that looks at samples; leaves `model.keras` and `record.json` with the history of each epoch."""
    from training.waveform.sets import training_set
    from training.waveform.train import save, train

    if task not in ("separation", "scatters"):
        raise typer.BadParameter(f"{task!r} is neither separation nor scatters", param_hint="--task")
    kind = "scatters" if task == "scatters" else "separation"
    args = TrainArgs(network, kind, epochs=epochs, batch_size=batch_size, optimizer=optimizer, seed=seed)
    data = or_exit(lambda: training_set(DataArgs(setting, events, seed), singles=task == "scatters"))
    trained = or_exit(lambda: train(data, args))
    folder = save(trained, runs / "networks" / f"{network}-{task}-{setting}-{events}-seed{seed}")
    best = {name: values[trained.record.best_epoch - 1] for name, values in trained.record.history.items()}
    figures = ", ".join(f"{name} {value:.4g}" for name, value in best.items())
    typer.echo(f"{folder}: epoch {trained.record.best_epoch}: {figures}")


def train_posterior_command(
    out: Annotated[Path, typer.Option(help="folder of the run; an interrupted one goes on")] = RUNS / "posterior",
    events: Annotated[int, typer.Option(help="simulated waveforms; 0: as many as is usual")] = 0,
    epochs: Annotated[int, typer.Option(help="passes over them; 0: as many as is usual")] = 0,
    seed: SeedOption = 1,
) -> None:
    """Train the posterior network that is published: detectors of all kinds, one and two scatters."""
    from training.waveform.posterior_network import PosteriorArgs, train

    usual = PosteriorArgs(seed=seed)
    args = replace(usual, events=events or usual.events, epochs=epochs or usual.epochs)
    _, record = train(args, out)
    last = {name: values[-1] for name, values in record.history.items()}
    typer.echo(f"{out}: " + ", ".join(f"{name} {value:.4g}" for name, value in last.items()))


def grid_command(
    setting: SettingOption = "reference",
    events: EventsOption = 16_000,
    seed: SeedOption = 1,
    epochs: Annotated[int, typer.Option(help="passes over the training set at most")] = 10,
    limit: Annotated[int, typer.Option(help="run at most so many trials now; -1: all")] = -1,
    budget: Annotated[float, typer.Option(help="start no trial after so many hours; 0: no limit")] = 0.0,
    batch_size: Annotated[list[int] | None, typer.Option(help="values of this axis; default 4 32 128")] = None,
    filters: Annotated[list[int] | None, typer.Option(help="default 16 32 64")] = None,
    second_filters: Annotated[list[int] | None, typer.Option(help="default 16 32; 0 is none")] = None,
    kernel: Annotated[list[int] | None, typer.Option(help="default 3")] = None,
    optimizer: Annotated[list[str] | None, typer.Option(help="default adam SGD RMSprop")] = None,
    runs: RunsOption = RUNS,
) -> None:
    """Search the school's grid: finished trials are kept, a rerun goes on. Prints the ranking."""
    from training.waveform.grid import GridArgs, ranking, search

    usual = GridArgs()
    args = GridArgs(
        batch_sizes=tuple(batch_size or usual.batch_sizes),
        filters=tuple(filters or usual.filters),
        second_filters=tuple(second_filters or usual.second_filters),
        kernels=tuple(kernel or usual.kernels),
        optimizers=tuple(optimizer or usual.optimizers),
        epochs=epochs,
        data=DataArgs(setting, events, seed),
        seed=seed,
    )
    most = None if limit < 0 else limit
    found = or_exit(lambda: search(args, runs / "grid", limit=most, budget_s=budget * 3600 or None))
    typer.echo(ranking(found))


def evaluate_command(
    methods: Annotated[list[str] | None, typer.Option(help="names; default: all baselines")] = None,
    model: Annotated[str, typer.Option(help="name[/version] in the store, a version's folder, or a run's")] = "",
    questions: Annotated[list[str] | None, typer.Option(help="settings of the tests; default: all")] = None,
    baselines: Annotated[bool, typer.Option(help="all of them, where no names are given")] = True,
    setting: SettingOption = "reference",
    events: EventsOption = 16_000,
    test_events: TestEventsOption = 4000,
    seed: SeedOption = 1,
    test_seed: Annotated[int, typer.Option(help=f"of the tests, {TEST_SEED} or more")] = TEST_SEED,
    pictures: Annotated[Path | None, typer.Option(help="folder for pictures of the first of the settings")] = None,
    runs: RunsOption = RUNS,
    store: StoreOption = Path("model_store"),
    shared_data: SharedOption = SHARED_DATA,
) -> None:
    """Ask methods about unseen events and detectors; what is done already is kept. Prints tables."""
    from training.waveform.evaluate import evaluate
    from training.waveform.tables import report

    if test_seed < TEST_SEED:
        raise typer.BadParameter(f"seeds below {TEST_SEED} are for training", param_hint="--test-seed")
    learned, asked = DataArgs(setting, events, seed), TestArgs("", test_events, test_seed)
    names, folders = methods if methods or baselines else [], Folders(runs, store, shared_data)
    plan = or_exit(lambda: plan_of(names, model, folders, learned, asked, settings=questions))
    results = or_exit(lambda: evaluate(plan))
    typer.echo(report(results))
    if pictures is not None:
        from training.waveform.figures import save_all

        first = plan.questions[0].setting
        for file in save_all([result for result in results if result.questions.setting == first], pictures):
            typer.echo(str(file))


@dataclass(frozen=True)
class Folders:
    """Where things are: results, the model store, the real measurements."""

    runs: Path
    store: Path
    shared_data: Path


def plan_of(
    methods: list[str] | None,
    model: str,
    folders: Folders,
    learned: DataArgs,
    asked: TestArgs,
    *,
    settings: list[str] | None = None,
) -> Plan:
    """Put an evaluation together.

    Args:
        methods: their names; None for all baselines.
        model: a published model or a run, which comes besides, or nothing.
        folders: where things are.
        learned: what methods learn from.
        asked: size and seed of the tests.
        settings: of the tests; None for all, measured noise among them where it is there.
    """
    from training.waveform.evaluate import Plan

    there = (folders.shared_data / NOISE_FILE).is_file()
    usual = [*SIMULATIONS, *([MEASURED_NOISE] if there else [])]
    return Plan(
        methods=_methods(methods, model, folders.store),
        training=learned,
        questions=[replace(asked, setting=name) for name in settings or usual],
        folder=folders.runs / "evaluate",
        shared_data=folders.shared_data if there else None,
    )


def _methods(names: list[str] | None, model: str, store: Path) -> list[Method]:
    from training.waveform.baselines import BASELINES, FOR_MANY_DETECTORS

    known: dict[str, Method] = {method.name: method for method in (*BASELINES, *FOR_MANY_DETECTORS)}
    wanted = [method.name for method in BASELINES] if names is None else names
    chosen = [known[name] if name in known else network_method(name) for name in wanted]
    return [*chosen, *(_published(model, store) if model else ())]


def _published(model: str, store: Path) -> tuple[Method, ...]:
    from training.waveform.posterior_method import posterior_methods

    return posterior_methods(model, store)


def network_method(name: str) -> Method:
    """Turn ``source``, ``strided`` or ``source-16-32-3`` into a method; ``:scatters`` behind it makes a classifier.

    Raises:
        ValueError: neither a baseline nor a network.
    """
    from training.waveform.baselines import BASELINES, FOR_MANY_DETECTORS
    from training.waveform.networks import NETWORKS, architecture
    from training.waveform.train import NetworkMethod

    network, _, task = name.partition(":")
    try:
        row = architecture(network)
    except ValueError as problem:
        known = ", ".join(method.name for method in (*BASELINES, *FOR_MANY_DETECTORS))
        raise ValueError(f"{problem}; or a baseline: {known}") from problem
    usual = TrainArgs() if row.view == "min-max" else TrainArgs(optimizer="adam", epochs=40)
    if task not in ("", "separation", "scatters"):
        raise ValueError(f"{task!r} is no task of a network; {', '.join(NETWORKS)} can do separation and scatters")
    kind = "scatters" if task == "scatters" else "separation"
    return NetworkMethod(replace(usual, network=network, task=kind))


def curves_command(
    methods: Annotated[list[str] | None, typer.Option(help="names; default: boosting and source")] = None,
    sizes: Annotated[list[int] | None, typer.Option(help="events in training; default 500 to 16,000")] = None,
    network_sizes: Annotated[list[int] | None, typer.Option(help="the same for networks on samples")] = None,
    posterior_sizes: Annotated[list[int] | None, typer.Option(help="the same for the posterior network")] = None,
    run: Annotated[Path | None, typer.Option(help="a trained posterior network whose point is added")] = None,
    picture: Annotated[Path, typer.Option(help="where the picture goes")] = Path(
        "docs/images/waveform-learning-curve.svg"
    ),
    runs: RunsOption = RUNS,
) -> None:
    """Measure errors against the number of events in training, and draw them; finished points are kept."""
    from training.waveform.curves import (
        NETWORK_SIZES,
        POSTERIOR_SIZES,
        SIZES,
        CurveArgs,
        learning_curve,
        posterior_curves,
    )
    from training.waveform.figures import learning_curves, save
    from training.waveform.tables import curve_table

    points = {}
    for method in or_exit(lambda: _methods(methods or list(CURVE_METHODS), "", Path())):
        on_samples = hasattr(method, "args")
        chosen = (network_sizes or NETWORK_SIZES) if on_samples else (sizes or SIZES)
        points[method.name] = learning_curve(method, CurveArgs(sizes=chosen), runs / "evaluate")
    trained = () if run is None else (run,)
    points |= or_exit(lambda: posterior_curves(posterior_sizes or POSTERIOR_SIZES, CurveArgs(), runs, trained))
    save(learning_curves(points), picture)
    typer.echo(curve_table(points))
    typer.echo(str(picture))
