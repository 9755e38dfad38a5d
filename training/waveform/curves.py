"""Learning curves: the error on the same unseen events against the number of events in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from training.waveform.args import DataArgs
from training.waveform.evaluate import Plan, Result, evaluate
from training.waveform.methods import Method
from training.waveform.posterior_network import PosteriorArgs
from training.waveform.sets import TestArgs

SIZES: Final = (500, 1000, 2000, 4000, 8000, 16_000)
NETWORK_SIZES: Final = (1000, 4000, 16_000)
LONGEST: Final = 60
"""Epochs of the posterior network at most."""
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


def posterior_curves(sizes: Sequence[int], args: CurveArgs, runs: Path) -> dict[str, Curve]:
    """Train the posterior network on sets of many detectors of each size, and give both of its methods' curves."""
    from training.waveform.posterior_method import posterior_methods
    from training.waveform.posterior_network import RECORD_FILE, train

    found: dict[str, dict[int, float]] = {}
    for size in sizes:
        run = runs / f"posterior-{size}"
        if not (run / RECORD_FILE).is_file():
            train(_as_long(replace(PosteriorArgs(), events=size)), run)
        methods = posterior_methods(str(run))
        plan = Plan(methods, DataArgs(args.setting, size, args.seed), [args.questions], runs / "evaluate")
        for result in evaluate(plan, progress=False):
            found.setdefault(result.method, {})[size] = _mse(result)
    return dict(found)


def _as_long(args: PosteriorArgs) -> PosteriorArgs:
    """Take so many epochs that a small set gets about as many steps as the largest, within reason."""
    longer = round(args.epochs * max(POSTERIOR_SIZES) / args.events)
    return replace(args, epochs=min(max(args.epochs, longer), LONGEST))


def _mse(result: Result) -> float:
    if result.scores.separation is None:
        raise ValueError(f"{result.method} does not answer how far apart two scatters are")
    return result.scores.separation.mse
