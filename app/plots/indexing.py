"""Pictures of peak searches and of solutions: pattern or sticks, predicted lines as tick marks, differences.

Figures are made without pyplot, which keeps state for the whole process.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from typing import Any, Final, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from app.crystallography import bragg, metric
from app.crystallography.lattice import LATTICES
from app.crystallography.reflections import reflections_within
from app.errors import AppError
from app.indexing.patterns.pattern import Pattern
from app.indexing.patterns.peak_search import PeakSearch
from app.indexing.problem import PeakList, Solution, SolveResult
from app.indexing.report import with_uncertainty

MAX_SHOWN: Final = 4
MAX_LABELS: Final = 24
MAX_TICKS: Final = 2000
_INCHES: Final = (10.0, 4.2)
_DPI: Final = 150
_INK, _GREY, _PALE, _RED, _GREEN = "#111827", "#6b7280", "#e5e7eb", "#b91c1c", "#047857"
_BLUE, _ORANGE = "#0b5394", "#b45309"
_ROWS: Final = (_BLUE, _GREEN, _ORANGE, "#6d28d9")
_STYLE: Final[Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "svg.hashsalt": "indexing",
    "svg.fonttype": "none",
    "text.usetex": False,
    "text.parse_math": False,
}
_drawing = threading.Lock()
"""The style is set for the whole process while a picture is drawn, so one is drawn at a time."""


def drawn_search(search: PeakSearch, form: Literal["png", "svg"]) -> bytes:
    """Draw a pattern with its background and the lines found; gives the file's bytes. Safe to call from threads."""
    with _drawing, mpl.rc_context(_STYLE):
        return _saved(search_figure(search), form)


def drawn_solution(
    result: SolveResult,
    peaks: PeakList,
    form: Literal["png", "svg"],
    *,
    search: PeakSearch | Pattern | None = None,
    name: str = "",
) -> bytes:
    """Draw the lines (over their pattern, where there is one) with what the first solutions predict; the file's bytes.

    Safe to call from threads. A result without solutions is drawn, too: all lines are unindexed.
    """
    with _drawing, mpl.rc_context(_STYLE):
        return _saved(solution_figure(result, peaks, search=search, name=name), form)


def _saved(fig: Figure, form: Literal["png", "svg"]) -> bytes:
    content = io.BytesIO()
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[form]
    fig.savefig(content, format=form, dpi=_DPI, metadata=metadata)
    return content.getvalue()


def _figure(height: float) -> Figure:
    fig = Figure(figsize=(_INCHES[0], height), layout="constrained")
    FigureCanvasAgg(fig)
    return fig


def search_figure(search: PeakSearch) -> Figure:
    """Counts (root scale, so that weak lines show), background, fit, and a mark with 2theta over each line."""
    fig = _figure(_INCHES[1])
    ax = fig.subplots()
    _pattern(ax, search)
    at, top = search.two_theta_deg, np.interp(search.two_theta_deg, search.pattern.two_theta_deg, search.calculated)
    sure = ~search.overlapped
    for which, color, label in ((sure, _BLUE, "line"), (~sure, _ORANGE, "line, overlapped")):
        if which.any():
            ax.plot(at[which], top[which], ls="", marker="v", ms=4.5, color=color, label=label, zorder=4, clip_on=False)
    _annotate(ax, at, top, [f"{value:.2f}" for value in at], search.snr, _INK)
    count = len(at)
    ax.set_title(
        _cut(f"{search.pattern.name or 'pattern'} · {count} line{'s' * (count != 1)}" + _radiation(search)),
        loc="left",
        color=_INK,
    )
    ax.set_xlabel(_two_theta_label(search.wavelength_ang, nominal=search.pattern.nominal))
    ax.legend(frameon=False, fontsize=7.5, loc="upper right", ncols=5, bbox_to_anchor=(1, 1.09), borderaxespad=0)
    return fig


def _radiation(search: PeakSearch) -> str:
    if search.doublet is None:
        return ""
    return f" · Kα₁ {search.doublet.alpha1_ang:.5g} Å with Kα₂, positions are of Kα₁"


def _two_theta_label(wavelength_ang: float | None, *, nominal: bool = False) -> str:
    if wavelength_ang is None:
        return "2θ [°]"
    return f"2θ [°] at {wavelength_ang:.5g} Å" + (" (nominal)" if nominal else "")


def _cut(text: str, length: int = 110) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _pattern(ax: Axes, measured: PeakSearch | Pattern) -> None:
    pattern = measured if isinstance(measured, Pattern) else measured.pattern
    x, y = pattern.two_theta_deg, pattern.counts
    ax.plot(x, y, color=_GREY, lw=0.6, label="measured")
    if isinstance(measured, PeakSearch):
        ax.plot(x, measured.calculated, color=_RED, lw=0.9, alpha=0.8, label="fit")
        ax.plot(x, measured.background, color=_GREEN, lw=1.0, ls="--", label="background")
    low, high = float(np.quantile(y, 0.001)), float(y.max())
    ax.set_xlim(x[0], x[-1])
    _root_scale(ax, low, high + 0.35 * (high - low))
    ax.set_ylabel("counts (root scale)")


def _tops(measured: PeakSearch | Pattern, at: np.ndarray) -> np.ndarray:
    """Counts at lines: of the fit, or the largest measured within three points."""
    if isinstance(measured, PeakSearch):
        return np.interp(at, measured.pattern.two_theta_deg, measured.calculated)
    padded = np.pad(measured.counts, 3, mode="edge")
    highest = np.lib.stride_tricks.sliding_window_view(padded, 7).max(axis=1)
    return np.interp(at, measured.two_theta_deg, highest)


def _root_scale(ax: Axes, low: float, high: float) -> None:
    """Square root above the lowest value."""
    ax.set_yscale(
        "function",
        functions=(
            lambda value: np.sign(value - low) * np.sqrt(np.abs(value - low)),
            lambda root: low + np.sign(root) * root**2,
        ),
    )
    ax.set_ylim(low, high)


def _annotate(
    ax: Axes, x: np.ndarray, y: np.ndarray, labels: Sequence[str], weight: np.ndarray, color: str, size: float = 6.5
) -> None:
    """Upright labels over points, the weightiest first, as many as find room."""
    low, high = ax.get_xlim()
    room = 0.0125 * (high - low)
    taken: list[float] = []
    for at in np.argsort(-weight):
        if len(taken) >= MAX_LABELS * 2 or any(abs(x[at] - other) < room for other in taken):
            continue
        taken.append(float(x[at]))
        ax.annotate(
            str(labels[at]),
            (x[at], y[at]),
            xytext=(0, 6),
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=size,
            color=color,
            annotation_clip=False,
        )


class _Scale:
    """The horizontal axis: 2theta where the wavelength is known, else q."""

    def __init__(self, peaks: PeakList) -> None:
        self.wavelength_ang = peaks.wavelength_ang

    @property
    def label(self) -> str:
        return "q = 1/d [1/Å]" if self.wavelength_ang is None else _two_theta_label(self.wavelength_ang)

    def at(self, q2: np.ndarray, zero_shift_deg: float = 0.0) -> np.ndarray:
        """Where lines of these q^2 stand; those that the wavelength cannot reach are left out."""
        q2 = np.asarray(q2, float)
        if self.wavelength_ang is None:
            return np.sqrt(q2)
        q2 = q2[np.sqrt(q2) * self.wavelength_ang / 2 < 1]
        if not len(q2):
            return q2
        return bragg.two_theta_from_q2(q2_inv_ang2=q2, wavelength_ang=self.wavelength_ang) + zero_shift_deg


def solution_figure(
    result: SolveResult, peaks: PeakList, *, search: PeakSearch | Pattern | None = None, name: str = ""
) -> Figure:
    """Lines, tick marks of the first solutions, and below the differences of the first one."""
    shown = result.solutions[:MAX_SHOWN]
    scale = _Scale(peaks)
    differences = bool(shown) and scale.wavelength_ang is not None
    fig = _figure(4.0 + 0.22 * len(shown) + 1.3 * differences)
    ratios = [3.6, 0.26 * max(len(shown), 1)] + [1.2] * differences
    axes = fig.subplots(len(ratios), 1, sharex=True, gridspec_kw={"height_ratios": ratios, "hspace": 0.02})
    best = shown[0] if shown else None
    measured = None if scale.wavelength_ang is None or _is_nominal(search) else search
    if measured is not None:
        _pattern(axes[0], measured)
    _lines(axes[0], peaks, best, scale, measured)
    _ticks(axes[1], shown, peaks, scale)
    if differences and best is not None:
        _differences(axes[2], best, scale)
    axes[-1].set_xlabel(scale.label)
    axes[0].set_title(_title(result, best, name), loc="left", color=_INK)
    return fig


def _is_nominal(measured: PeakSearch | Pattern | None) -> bool:
    """Whether 2theta is but a change of variable, so that the pattern has no place on the axis of the lines."""
    pattern = measured.pattern if isinstance(measured, PeakSearch) else measured
    return pattern is not None and pattern.nominal


def _title(result: SolveResult, best: Solution | None, name: str) -> str:
    label = _cut(name, 60)
    if best is None:
        return " · ".join(part for part in (label, f"no cell found ({result.stopped})") if part)
    merit = f"M{min(20, best.n_lines)} = {best.m20:.1f}"
    indexed = f"{best.n_indexed}/{best.n_lines} lines"
    sure = _sureness(result, best)
    first = " · ".join(part for part in (label, best.bravais, merit, indexed, sure) if part)
    return f"{first}\n{cell_text(best)}"


def _sureness(result: SolveResult, best: Solution) -> str:
    """The calibrated probability of the best cell, or what the solver thinks of it."""
    if best.probability is None:
        return f"confidence {100 * result.confidence:.0f}%"
    return f"probability {100 * best.probability:.0f}%"


def cell_text(solution: Solution) -> str:
    """The free constants of a cell with their uncertainties in brackets, and the volume."""
    symbols = {"a_ang": "a", "b_ang": "b", "c_ang": "c", "alpha_deg": "α", "beta_deg": "β", "gamma_deg": "γ"}
    parts = []
    for constant in LATTICES[solution.bravais].free_constants:
        value = with_uncertainty(getattr(solution.cell, constant), getattr(solution.cell_sigma, constant), digits=4)
        parts.append(f"{symbols[constant]} = {value} {'Å' if constant.endswith('ang') else '°'}".replace(" °", "°"))
    return "   ".join([*parts, f"V = {solution.volume_ang3:.1f} Å³"])


def _lines(
    ax: Axes, peaks: PeakList, best: Solution | None, scale: _Scale, measured: PeakSearch | Pattern | None
) -> None:
    """Sticks, or marks over a pattern; unindexed ones in red with a cross, indices over the strongest."""
    used = np.array([line.q2_observed_inv_ang2 for line in best.lines]) if best is not None else peaks.q2_inv_ang2
    x = scale.at(used)
    strength = _strength(used, peaks)
    unindexed = np.array([line.hkl is None for line in best.lines]) if best is not None else np.ones(len(used), bool)
    if measured is None:
        height = strength
        for which, color in ((~unindexed, _INK), (unindexed, _RED)):
            ax.vlines(x[which], 0, height[which], color=color, lw=1.3)
        span = float(np.ptp(x)) or 1.0
        ax.set_xlim(max(0.0, float(x.min()) - 0.04 * span), float(x.max()) + 0.04 * span)
        ax.set_ylim(0, 1.35 * float(height.max()))
        ax.set_yticks([])
        ax.set_ylabel("intensity (root scale)" if peaks.intensity is not None else "lines")
    else:
        height = _tops(measured, x)
        low, high = ax.get_xlim()
        span = float(np.ptp(x)) or 1.0
        ax.set_xlim(max(low, float(x.min()) - 0.03 * span), min(high, float(x.max()) + 0.03 * span))
    if unindexed.any():
        label = f"unindexed ({np.count_nonzero(unindexed)})"
        ax.plot(x[unindexed], height[unindexed], ls="", marker="X", ms=6, color=_RED, label=label, zorder=5)
    if best is not None:
        hkl = ["" if line.hkl is None else index_text(line.hkl) for line in best.lines]
        first = np.argsort(np.argsort(x))
        weight = np.where(unindexed, -1.0, strength / max(float(strength.max()), 1e-30) + (first < 6))
        keep = np.flatnonzero(~unindexed)
        _annotate(ax, x[keep], height[keep], [hkl[at] for at in keep], weight[keep], _INK)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=7.5, loc="upper right", ncols=4, borderaxespad=0)


def _strength(used: np.ndarray, peaks: PeakList) -> np.ndarray:
    """Root of each line's intensity, of the largest 1; all 1 where there is none."""
    if peaks.intensity is None or not len(peaks.q2_inv_ang2):
        return np.ones(len(used))
    nearest = np.abs(peaks.q2_inv_ang2[None, :] - used[:, None]).argmin(axis=1)
    value = np.sqrt(np.maximum(peaks.intensity[nearest], 0))
    return value / value.max() if value.max() > 0 else np.ones(len(used))


def index_text(hkl: tuple[int, int, int]) -> str:
    """Indices with bars over negative ones; with blanks where one has two digits."""
    parts = ["".join(f"{digit}\u0305" for digit in str(-index)) if index < 0 else str(index) for index in hkl]
    return (" " if max(map(abs, hkl)) > 9 else "").join(parts)


def _ticks(ax: Axes, shown: Sequence[Solution], peaks: PeakList, scale: _Scale) -> None:
    """A row of predicted lines for each solution, the first on top."""
    ax.set_ylim(-max(len(shown), 1) + 0.5, 0.5)
    ax.set_yticks([-row for row in range(len(shown))])
    names = [f"{row + 1}. {one.bravais}  M {one.m20:.0f}" for row, one in enumerate(shown)]
    ax.set_yticklabels(names, fontsize=7.5)
    for tick, color in zip(ax.get_yticklabels(), _ROWS, strict=False):
        tick.set_color(color)
    q2_max = 1.02 * float(peaks.q2_inv_ang2.max())
    for row, solution in enumerate(shown):
        predicted = _predicted(solution, q2_max)
        if len(predicted):
            at = scale.at(predicted, solution.zero_shift_deg)
            ax.vlines(at, -row - 0.36, -row + 0.36, color=_ROWS[row], lw=0.9 if len(at) < 150 else 0.45)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _predicted(solution: Solution, q2_max: float) -> np.ndarray:
    """q^2 of the lines that a cell predicts; none where there are too many to draw, or the cell is none."""
    lattice = LATTICES[solution.bravais]
    try:
        found = reflections_within(lattice, metric.x_from_cell(lattice, solution.cell), q2_max).q2_inv_ang2
    except AppError:
        return np.empty(0)
    return found if len(found) <= MAX_TICKS else np.empty(0)


def _differences(ax: Axes, best: Solution, scale: _Scale) -> None:
    """Observed less calculated, in thousandths of a degree."""
    pairs = [
        (line.q2_observed_inv_ang2, 1000 * line.delta_two_theta_deg)
        for line in best.lines
        if line.delta_two_theta_deg is not None
    ]
    ax.axhline(0, color=_GREY, lw=0.8)
    ax.set_ylabel("obs − calc\n[0.001°]")
    ax.grid(axis="y", color=_PALE, lw=0.6)
    if not pairs:
        return
    q2, delta = np.array(pairs).T
    x = scale.at(q2)
    ax.vlines(x, 0, delta, color=_BLUE, lw=1.0)
    ax.plot(x, delta, ls="", marker="o", ms=3.2, color=_BLUE)
    reach = 1.35 * max(float(np.abs(delta).max()), 2.0)
    ax.set_ylim(-reach, reach)
    rms = float(np.sqrt(np.mean(delta**2)))
    ax.text(
        0.995,
        0.95,
        f"rms {rms / 1000:.4f}°   zero shift {best.zero_shift_deg:+.4f}°",
        transform=ax.transAxes,
        ha="right",
        va="top",
        fontsize=7.5,
        color=_GREY,
    )
