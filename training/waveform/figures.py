"""Pictures of an evaluation: bias and error by separation beside the bound, ROC curves, learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from training.waveform.evaluate import Result
from training.waveform.scores import FALSE_POSITIVES, ROC_POINTS, SeparationScores, TwoScores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS: Final = "os^vDPX<>*"
DRIFT: Final = " + drift time"
NOT_SHOWN: Final = ("mean",)


def save_all(results: Sequence[Result], folder: Path, *, suffix: str = "svg") -> list[Path]:
    """Draw bias, error and ROC curves of one setting, and give the files."""
    shown = [result for result in results if result.method not in NOT_SHOWN]
    figures = {"bias": bias(shown), "error": error(shown), "roc": roc(shown)}
    return [save(figure, folder / f"waveform-{name}.{suffix}") for name, figure in figures.items()]


def save(figure: Figure, file: Path) -> Path:
    """Write a figure; the same figure gives the same SVG."""
    import matplotlib as mpl

    file.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "waveform", "svg.fonttype": "path"}):
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None, bbox_inches="tight")
    return file


def bias(results: Sequence[Result]) -> Figure:
    """Draw mean error against separation."""
    figure, (axis,) = _panels(1)
    looks = looks_of([result.method for result in results])
    for name, scores in _separations(results):
        axis.plot(_middles(scores), [row.bias for row in scores.bins], label=name, **looks[name])
    axis.axhline(0.0, color="0.5", linewidth=0.8)
    axis.set(ylabel="bias [8 µs]", ylim=(-0.05, 0.12))
    return _finished(figure, axis)


def error(results: Sequence[Result]) -> Figure:
    """Draw the root mean square error against separation, and the Cramer-Rao bounds."""
    figure, (axis,) = _panels(1)
    looks = looks_of([result.method for result in results])
    for name, scores in _separations(results):
        axis.semilogy(_middles(scores), [row.rmse for row in scores.bins], label=name, **looks[name])
    for label, line, scores in _bounds(results):
        bounds = [np.nan if row.bound is None else row.bound for row in scores.bins]
        axis.semilogy(_middles(scores), bounds, line, color="black", label=label)
    axis.set(ylabel="RMSE [8 µs]")
    return _finished(figure, axis)


def roc(results: Sequence[Result]) -> Figure:
    """Draw efficiency against false positives, a panel for each range of separations."""
    known = [(r.method, r.scores.two) for r in results if r.scores.two]
    ranges = [(row.low, row.high) for row in known[0][1].bins] if known else []
    figure, axes = _panels(max(len(ranges), 1))
    share, looks = np.linspace(0, 1, ROC_POINTS), looks_of([result.method for result in results])
    for axis, (low, high) in zip(axes, ranges, strict=False):
        for name, scores in known:
            plain = looks[name] | {"marker": None}
            axis.plot(share, _curve(scores, low), label=f"{name} ({_area(scores, low):.2f})", **plain)
        axis.axvline(FALSE_POSITIVES, color="0.6", linewidth=0.6)
        axis.set(title=f"{low:g} ≤ d < {high:g}", xlabel="single scatters taken for two", xlim=(0, 1), ylim=(0, 1.01))
        axis.legend(fontsize=5.5, loc="lower right")
    axes[0].set(ylabel="two scatters recognised")
    return figure


def learning_curves(points: Mapping[str, Mapping[int, float]], metric: str = "MSE") -> Figure:
    """Draw a figure on unseen events against the number of events in training, of each method."""
    figure, (axis,) = _panels(1)
    looks = looks_of(list(points))
    for name, curve in points.items():
        sizes = sorted(curve)
        axis.loglog(sizes, [curve[size] for size in sizes], label=name, **looks[name])
    axis.set(xlabel="events in training", ylabel=f"{metric} on unseen events")
    axis.grid(visible=True, which="both", linewidth=0.3)
    axis.legend(fontsize=7)
    return figure


def _panels(count: int) -> tuple[Figure, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * count if count > 1 else 6.4, 3.6 if count > 1 else 4.2), layout="constrained")
    axes = figure.subplots(1, count, sharey=count > 1, squeeze=False)
    return figure, list(axes[0])


def _finished(figure: Figure, axis: Any) -> Figure:
    axis.set(xlabel="true separation [8 µs]", xlim=(0, 1))
    axis.grid(visible=True, linewidth=0.3)
    axis.legend(fontsize=7, ncols=2)
    return figure


def looks_of(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Give a colour and a marker to each method, the same with and without the drift time; a full line with it."""
    families = list(dict.fromkeys(name.replace(DRIFT, "") for name in methods))
    return {name: _look(families.index(name.replace(DRIFT, "")), drift=DRIFT in name) for name in methods}


def _look(number: int, *, drift: bool) -> dict[str, Any]:
    return {
        "color": f"C{number % 10}",
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": "-" if drift else "--",
        "markersize": 4,
        "linewidth": 1.2,
    }


def _separations(results: Sequence[Result]) -> list[tuple[str, SeparationScores]]:
    return [(r.method, r.scores.separation) for r in results if r.scores.separation]


def _bounds(results: Sequence[Result]) -> list[tuple[str, str, SeparationScores]]:
    """One bound without the drift time and one with it, taken from any method that has it."""
    found: dict[str, tuple[str, str, SeparationScores]] = {}
    for name, scores in _separations(results):
        drift = "drift time" in name
        label = "bound, drift time known" if drift else "bound"
        found.setdefault(label, (label, "-" if drift else "--", scores))
    return list(found.values())


def _middles(scores: SeparationScores) -> list[float]:
    return [(row.low + row.high) / 2 for row in scores.bins]


def _curve(scores: TwoScores, low: float) -> Sequence[float]:
    return next((row.roc for row in scores.bins if row.low == low), (np.nan,) * ROC_POINTS)


def _area(scores: TwoScores, low: float) -> float:
    return next((row.auc for row in scores.bins if row.low == low), float("nan"))
