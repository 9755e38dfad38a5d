"""The picture of a predicted decay: curve with its bands, calibrations, measured points, physics, threshold.

Figures are made without pyplot, which keeps state for the whole process.
"""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Sequence
from typing import Any, Final, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from app.errors import TooLarge
from app.polarization.case import Case, Solved
from app.polarization.decay import HOUR_S
from app.polarization.experiment import Calibration

MAX_PANELS: Final = 24
_PANEL_INCHES: Final = (6.4, 4.0)
_DPI: Final = 150
_CURVE, _ANCHOR, _POINT, _GREY = "#0b5394", "#b45309", "#111827", "#6b7280"
_STYLE: Final[Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "svg.hashsalt": "polarization",
    "svg.fonttype": "none",
    "text.usetex": False,
    "text.parse_math": False,
}
_drawing = threading.Lock()
"""The style is set for the whole process while a picture is drawn, so one is drawn at a time."""


def drawn(solved: Sequence[Solved], form: Literal["png", "svg"]) -> bytes:
    """Draw the decays and give the file's bytes. Safe to call from several threads.

    Raises:
        TooLarge: more than `MAX_PANELS` decays.
    """
    content = io.BytesIO()
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[form]
    with _drawing, mpl.rc_context(_STYLE):
        figure(solved).savefig(content, format=form, dpi=_DPI, metadata=metadata)
    return content.getvalue()


def figure(solved: Sequence[Solved]) -> Figure:
    """Give a figure with one panel a decay.

    Raises:
        TooLarge: more than `MAX_PANELS` decays.
    """
    if len(solved) > MAX_PANELS:
        raise TooLarge(f"{len(solved)} decays, one picture shows at most {MAX_PANELS}: ask for fewer, or for CSV")
    columns = min(len(solved), 1 if len(solved) == 1 else 2 if len(solved) <= 4 else 3)
    rows = math.ceil(len(solved) / columns)
    width, height = _PANEL_INCHES
    fig = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(fig)
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax, one in zip(axes, solved, strict=False):
        _panel(ax, one)
    for ax in axes[len(solved) :]:
        ax.remove()
    return fig


def _panel(ax: Axes, solved: Solved) -> None:
    case, answered = solved.case, solved.answered
    order = np.argsort(case.ask.time_s)
    x = _x(case, case.ask.time_s[order])
    mean, sigma = answered.curve.mean[order], answered.curve.sigma[order]
    for width, alpha, label in ((2, 0.14, "2σ"), (1, 0.28, "1σ")):
        ax.fill_between(x, mean - width * sigma, mean + width * sigma, color=_CURVE, alpha=alpha, lw=0, label=label)
    ax.plot(x, mean, color=_CURVE, lw=1.6, label="predicted", marker="." if len(x) == 1 else "")
    if answered.physics is not None:
        ax.plot(x, answered.physics.mean[order], color=_GREY, lw=0.8, ls="--", label="³He decay alone")
    _points(ax, case, case.measured, marker="o", ms=3.2, color=_POINT, label="measured", lw=0.8)
    anchors = [anchor for anchor in (case.ask.initial, case.ask.final) if anchor is not None]
    _points(ax, case, anchors, marker="D", ms=4.6, color=_ANCHOR, label="calibrations", lw=1.1)
    _threshold(ax, solved)
    ax.set_ylabel("neutron polarization")
    ax.set_title(_title(solved), loc="left", color=_POINT)
    ax.grid(color="#e5e7eb", lw=0.6)
    ax.set_axisbelow(True)
    _time_axis(ax, case)
    ax.legend(frameon=False, fontsize=7.5, loc="best", ncols=2, handlelength=1.6, columnspacing=1.2)


def _x(case: Case, time_s: np.ndarray) -> np.ndarray:
    """Date-times where they are known, else hours since the initial calibration."""
    dates = case.date_times(time_s)
    return time_s / HOUR_S if dates is None else dates


def _points(
    ax: Axes, case: Case, points: Sequence[Calibration], *, marker: str, ms: float, color: str, label: str, lw: float
) -> None:
    if not points:
        return
    x = _x(case, np.array([point.time_s for point in points]))
    y, error = np.array([(point.polarization, point.sigma) for point in points]).T
    ax.errorbar(x, y, yerr=error, ls="", marker=marker, ms=ms, color=color, elinewidth=lw, label=label, zorder=4)


def _threshold(ax: Axes, solved: Solved) -> None:
    threshold = solved.case.ask.threshold
    if threshold is None:
        return
    ax.axhline(threshold, color=_ANCHOR, lw=0.9, ls=":", label=f"P = {threshold:g}")


def _title(solved: Solved) -> str:
    case, lifetime = solved.case, solved.answered.lifetime
    cell = case.ask.polarizer.cell_id
    label = case.name if cell in case.name else " · ".join(part for part in (case.name, cell) if part)
    t1 = "" if lifetime is None else f"T₁ = {_with_sigma(lifetime.t1_h, lifetime.sigma_h)} h"
    label = label if len(label) <= 64 else label[:63] + "…"
    return f"{label}\n{t1}" if t1 and len(label) > 40 else " · ".join(part for part in (label, t1) if part)


def _with_sigma(value: float, sigma: float) -> str:
    """Value and error, both to the second digit of the error."""
    digits = max(0, 1 - math.floor(math.log10(sigma))) if sigma > 0 else 0
    return f"{value:.{digits}f} ± {sigma:.{digits}f}"


def _time_axis(ax: Axes, case: Case) -> None:
    if case.zero is None:
        ax.set_xlabel("time since the initial calibration [h]")
        return
    locator = AutoDateLocator(minticks=4, maxticks=8)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    ax.set_xlabel("time [UTC]" if case.utc else "local time of the instrument")
