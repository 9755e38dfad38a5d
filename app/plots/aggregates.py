"""The picture of answers on aggregates: each pattern beside the probabilities of 1 to 5 particles.

Figures are made without pyplot, which keeps state for the whole process.
"""

from __future__ import annotations

import io
import math
import textwrap
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import matplotlib as mpl
import numpy as np
from jaxtyping import Bool, Float, Float32
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import StrMethodFormatter

from app.aggregates.intake import Prepared
from app.aggregates.predict import Answer
from app.aggregates.setting import COUNTS, TRANSFORM_PX, Particle, Setting
from app.errors import TooLarge

MAX_PANELS: Final = 12
FIRST_DARK_RING: Final[dict[Particle, float]] = {"disc": 0.609835, "sphere": 0.715148}
"""q r of the first zero of a particle's form factor: J1(x) = 0 at x = 3.83171, tan x = x at 4.49341; x = 2 pi q r."""
_PANEL_INCHES: Final = (4.6, 2.75)
_DPI: Final = 150
_BAR, _DOUBT, _INK, _GREY, _MASKED, _WARN = "#0b5394", "#9ca3af", "#111827", "#6b7280", "#d1d5db", "#b45309"
_STYLE: Final[Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "svg.hashsalt": "aggregates",
    "svg.fonttype": "none",
    "text.usetex": False,
    "text.parse_math": False,
}
_drawing = threading.Lock()
"""The style is set for the whole process while a picture is drawn, so one is drawn at a time."""


@dataclass(frozen=True)
class Panel:
    """One pattern on the grid with what is said of it.

    Attributes:
        title: which pattern it is.
        counts: photons.
        seen: True where a grid point measures.
        centre_px: row and column of the beam on the grid.
        setting: what was declared, in grid pixels.
    """

    title: str
    counts: Float32[np.ndarray, "64 64"]
    seen: Bool[np.ndarray, "64 64"]
    centre_px: Float[np.ndarray, "2"]
    setting: Setting
    answer: Answer


def panels_of(prepared: Prepared, answers: Sequence[Answer], titles: Sequence[str]) -> list[Panel]:
    """A panel for each pattern."""
    columns = (titles, prepared.patterns, prepared.mask, prepared.centre_px, prepared.settings, answers)
    return [Panel(*row) for row in zip(*columns, strict=True)]


def drawn(panels: Sequence[Panel], form: Literal["png", "svg"]) -> bytes:
    """Draw the answers and give the file's bytes. Safe to call from several threads.

    Raises:
        TooLarge: more than `MAX_PANELS` patterns.
    """
    content = io.BytesIO()
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[form]
    with _drawing, mpl.rc_context(_STYLE):
        figure(panels).savefig(content, format=form, dpi=_DPI, metadata=metadata)
    return content.getvalue()


def figure(panels: Sequence[Panel]) -> Figure:
    """Give a figure with a pattern and its probabilities for each panel.

    Raises:
        TooLarge: more than `MAX_PANELS` patterns.
    """
    if len(panels) > MAX_PANELS:
        raise TooLarge(
            f"{len(panels)} patterns, one picture shows at most {MAX_PANELS}: take a part of them with `first` and "
            "`count`, or ask for CSV"
        )
    columns = min(len(panels), 1 if len(panels) == 1 else 2 if len(panels) <= 4 else 3)
    rows = math.ceil(len(panels) / columns)
    width, height = _PANEL_INCHES
    fig = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(fig)
    for place, panel in zip(np.ravel(fig.subfigures(rows, columns, squeeze=False)), panels, strict=False):
        left, right = place.subplots(1, 2, gridspec_kw={"width_ratios": (1.35, 1)})
        _pattern(left, panel)
        _bars(right, panel.answer)
        if panel.answer.abstained:
            place.supxlabel(_reason(panel.answer), fontsize=7, color=_WARN, x=0.02, ha="left")
    return fig


def _reason(answer: Answer) -> str:
    return textwrap.fill(textwrap.shorten("; ".join(answer.reasons), 170, placeholder=" …"), 88)


def _pattern(ax: Axes, panel: Panel) -> None:
    counts, seen = panel.counts, panel.seen
    colours = mpl.colormaps["viridis"].with_extremes(under=mpl.colormaps["viridis"](0.0), bad=_MASKED)
    scale = _scale(counts, seen)
    # A logarithm takes 0 for no number: dark points are drawn as darker than the scale.
    visible = np.ma.masked_array(np.maximum(counts, 0.5 * float(scale.vmin or 1.0)), ~seen)
    image = ax.imshow(visible, norm=scale, cmap=colours, interpolation="nearest")
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03, format=StrMethodFormatter("{x:g}"))
    bar.ax.tick_params(labelsize=7, length=2)
    _marks(ax, panel.centre_px, panel.setting)
    ax.set(xticks=[], yticks=[], xlim=(-0.5, 63.5), ylim=(63.5, -0.5))
    ax.set_title(f"{panel.title} · photons", loc="left", color=_INK)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _scale(counts: Float32[np.ndarray, "64 64"], seen: Bool[np.ndarray, "64 64"]) -> LogNorm:
    """From one photon, or the least there is, to the brightest point."""
    there = counts[seen & (counts > 0)]
    low, high = (min(1.0, float(there.min())), float(there.max())) if there.size else (1.0, 10.0)
    return LogNorm(max(low, high * 1e-6), max(high, 10.0 * low))


def _marks(ax: Axes, centre: Float[np.ndarray, "2"], setting: Setting) -> None:
    """The beam, and where the declared radius has its first dark ring: the eye sees whether the two agree."""
    row, column = centre
    ring = FIRST_DARK_RING[setting.particle] * TRANSFORM_PX / setting.radius_px
    ax.plot([column], [row], "+", color="white", ms=5, mew=0.8)
    ax.add_patch(Circle((column, row), ring, fill=False, ec="white", lw=0.7, ls=(0, (3, 3)), alpha=0.8))


def _bars(ax: Axes, answer: Answer) -> None:
    best = [count == answer.most_probable and not answer.abstained for count in COUNTS]
    bars = ax.barh([str(count) for count in COUNTS], answer.probability, color=[_BAR if b else _DOUBT for b in best])
    ax.bar_label(bars, [f"{100 * p:.0f} %" if p >= 0.005 else "" for p in answer.probability], padding=2, fontsize=7.5)
    ax.invert_yaxis()
    ax.set(xlim=(0, 1.22), xticks=[0, 0.5, 1])
    ax.set_xlabel("probability", color=_GREY)
    ax.set_ylabel("particles", color=_GREY)
    if answer.count is None:
        ax.set_title("not said", loc="left", color=_WARN)
        return
    ax.set_title(f"{answer.count} particle{'s' if answer.count > 1 else ''}", loc="left", color=_INK)
