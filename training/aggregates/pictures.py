"""Pictures of an evaluation: confusion, reliability, accuracy against a quantity, learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.aggregates.setting import COUNTS
from training.aggregates.evaluate import EDGES, Result
from training.aggregates.scores import Slice, confusion, reliability, sliced

STYLE: Final[Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "aggregates",
    "svg.fonttype": "none",
    "legend.frameon": False,
}
LABELS: Final = MappingProxyType(
    {"photons": "photons of one particle", "radius_px": "radius (object pixels)", "overlap": "hidden share of the area"}
)


def draw_report(results: Sequence[Result], best: str, path: Path) -> None:
    """Draw confusion and reliability of the best method, and accuracy of all against photons, radius and overlap.

    Args:
        results: of one case.
        best: name of the method to look at closely.
        path: an SVG or PNG file.
    """
    closely = next(r for r in results if r.method == best)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 6.2), layout="constrained")
        axes = figure.subplots(2, 3)
        _confusion(axes[0, 0], closely)
        _reliability(axes[0, 1], results)
        handles, labels = axes[0, 1].get_legend_handles_labels()
        axes[0, 2].axis("off")
        axes[0, 2].legend(handles, labels, loc="center left")
        for panel, by in zip(axes[1], EDGES, strict=True):
            _against(panel, results, by)
        _save(figure, path)


def _confusion(axes: Axes, result: Result) -> None:
    table = confusion(result.outcome)
    axes.imshow(table / table.sum(axis=1, keepdims=True).clip(1), cmap="Blues", vmin=0, vmax=1)
    for row, line in enumerate(table):
        for column, count in enumerate(line):
            axes.text(column, row, str(count), ha="center", va="center", color="white" if row == column else "black")
    ticks = range(len(COUNTS))
    axes.set(xticks=ticks, yticks=ticks, xticklabels=COUNTS, yticklabels=COUNTS)
    axes.set(xlabel="most probable number", ylabel="true number", title=result.method)


def _reliability(axes: Axes, results: Sequence[Result]) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for result in results:
        found = reliability(result.outcome)
        axes.plot(found.confidence, found.accuracy, ".-", label=result.method)
    axes.set(xlabel="stated probability", ylabel="share that is true", xlim=(0, 1.02), ylim=(0, 1.02))


def _against(axes: Axes, results: Sequence[Result], by: str) -> None:
    for result in results:
        slices = sliced(result.outcome, getattr(result.outcome, by), EDGES[by])
        middle = [_middle(by, s) for s in slices]
        error = [s.accuracy_sigma for s in slices]
        axes.errorbar(middle, [s.accuracy for s in slices], error, fmt=".-", linewidth=1)
    axes.set(xlabel=LABELS[by], ylabel="accuracy", xscale="log" if by == "photons" else "linear")
    axes.grid(alpha=0.3)


def _middle(by: str, found: Slice) -> float:
    return (found.low * found.high) ** 0.5 if by == "photons" else (found.low + found.high) / 2


def draw_curves(curves: Mapping[str, Mapping[int, tuple[float, float]]], title: str, path: Path) -> None:
    """Draw the share of wrong answers against the number of training patterns.

    Args:
        curves: method -> training patterns -> (accuracy, its standard error).
        title: what was tested.
        path: an SVG or PNG file.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for name, curve in curves.items():
            sizes = sorted(curve)
            axes.errorbar(sizes, [curve[n][0] for n in sizes], [curve[n][1] for n in sizes], fmt="o-", label=name)
        axes.set(xscale="log", xlabel="training patterns", ylabel="accuracy on unseen patterns", title=title)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
        _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, dpi=150, metadata=metadata)
