"""Learning curves: accuracy on unseen patterns against the number of training patterns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from training.aggregates.args import DataArgs
from training.aggregates.evaluate import evaluate, markdown
from training.aggregates.methods import Method

Curves = Mapping[str, Mapping[int, tuple[float, float]]]
"""Method -> training patterns -> (accuracy, its standard error)."""


def learning_curves(
    methods: Sequence[Method],
    data: DataArgs,
    sizes: Sequence[int],
    folder: Path,
    *,
    images: int,
    seed: int = 0,
    progress: bool = True,
) -> Curves:
    """Fit every method on the first patterns of one training set and test it on the same simulation.

    Args:
        methods: see `evaluate`.
        data: the simulation; its number of patterns is replaced by each size.
        sizes: numbers of training patterns; a larger set begins with the smaller one.
        folder: of the results; finished fits are read.
        images: test patterns.
        seed: of fits and test patterns.
        progress: show bars.
    """
    curves: dict[str, dict[int, tuple[float, float]]] = {method.name: {} for method in methods}
    for size in sorted(sizes):
        told = replace(data, images=size)
        for result in evaluate(methods, told, [data.setting], folder, images=images, seed=seed, progress=progress):
            curves[result.method][size] = result.scores.accuracy, result.scores.accuracy_sigma
    return curves


def curve_table(curves: Curves) -> str:
    """Write methods (rows) against numbers of training patterns (columns) as a Markdown table."""
    sizes = sorted({size for curve in curves.values() for size in curve})
    body = [[name, *(_cell(curve.get(size)) for size in sizes)] for name, curve in curves.items()]
    return markdown(["method", *(f"{size:,}" for size in sizes)], body)


def _cell(found: tuple[float, float] | None) -> str:
    return "" if found is None else f"{found[0]:.4f}"
