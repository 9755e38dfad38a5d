"""Learning curves: the error on the same unseen events against the number of events in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from training.waveform.args import DataArgs
from training.waveform.draft import record_of
from training.waveform.evaluate import Plan, Result, evaluate
from training.waveform.methods import Method
from training.waveform.posterior_network import PosteriorArgs
from training.waveform.sets import TestArgs

SIZES: Final = (500, 1000, 2000, 4000, 8000, 16_000)
NETWORK_SIZES: Final = (1000, 4000, 16_000)
LONGER: Final = (1, 3)
"""How many times the usual number of epochs the posterior network is trained on small sets; the better one counts."""
POSTERIOR_SIZES: Final = (8_000, 32_000, 128_000)

Curve = Mapping[int, float]


@dataclass(frozen=True)
class CurveArgs:
    """What learning curves are made of.

    Attributes:
        sizes: numbers of events with two scatters in training.
        setting: what is learned from.
        seed: of the training sets; a smaller one is the beginning of a larger one.
        questions: what is asked.
    """

    sizes: Sequence[int] = SIZES
    setting: str = "reference"
    seed: int = 1
    questions: TestArgs = field(default_factory=TestArgs)


def learning_curve(method: Method, args: CurveArgs, folder: Path) -> Curve:
    """Give the mean squared error of a method at each size; finished points are kept as any evaluation's."""
    found: dict[int, float] = {}
    for size in args.sizes:
        plan = Plan([method], DataArgs(args.setting, size, args.seed), [args.questions], folder)
        found[size] = _mse(evaluate(plan, progress=False)[0])
    return found


def posterior_curves(
    sizes: Sequence[int], args: CurveArgs, runs: Path, trained: Sequence[Path] = ()
) -> dict[str, Curve]:
    """Train the posterior network on sets of many detectors of each size, and give both of its methods' curves.

    Args:
        sizes: numbers of events, with one scatter or two.
        args: what is asked.
        runs: folder of runs and results.
        trained: folders of runs that are there already, whose points are added.
    """
    from training.waveform.posterior_method import posterior_methods

    found: dict[str, dict[int, float]] = {}
    folders = {size: _trained(size, runs) for size in sizes}
    folders |= {int(record_of(folder)["args"]["events"]): folder for folder in trained}
    for size, folder in folders.items():
        methods = posterior_methods(str(folder))
        plan = Plan(methods, DataArgs(args.setting, size, args.seed), [args.questions], runs / "evaluate")
        for result in evaluate(plan, progress=False):
            found.setdefault(result.method, {})[size] = _mse(result)
    return dict(found)


def _trained(size: int, runs: Path) -> Path:
    """Train for each number of epochs, unless that was done, and give the run of the least validation loss."""
    from training.waveform.posterior_network import RECORD_FILE, train

    usual = PosteriorArgs(events=size)
    longer = LONGER if size < max(POSTERIOR_SIZES) else LONGER[:1]
    folders = []
    for factor in longer:
        args = replace(usual, epochs=usual.epochs * factor)
        folder = runs / f"posterior-{size}-epochs{args.epochs}"
        if not (folder / RECORD_FILE).is_file():
            train(args, folder)
        folders.append(folder)
    return min(folders, key=lambda folder: record_of(folder)["history"]["val_loss"][-1])


def _mse(result: Result) -> float:
    if result.scores.separation is None:
        raise ValueError(f"{result.method} does not answer how far apart two scatters are")
    return result.scores.separation.mse
