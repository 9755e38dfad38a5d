"""The picture of an S2 waveform: the record, the one or two pulses that it is made of, and what is said of it."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from app.errors import TooLarge
from app.waveform.detector import Detector
from app.waveform.features import SAMPLE_US, Pulses, find_pulses
from app.waveform.intake import take
from app.waveform.predict import UNANSWERED, Answered, Ask
from app.waveform.pulses import Parts, drawn_parts, parts

MAX_PANELS: Final = 12
SHOWN_WIDTHS: Final = 4.0
"""Standard deviations of the light that a panel shows on both sides, beyond the pulses."""
_PANEL_INCHES: Final = (6.4, 3.8)
_DPI: Final = 150
_RECORD, _SUM, _PULSES, _TEXT = "#9ca3af", "#111827", ("#0b5394", "#b45309"), "#111827"
_STYLE: Final[Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "svg.hashsalt": "waveform",
    "svg.fonttype": "none",
    "text.usetex": False,
    "text.parse_math": False,
}
_drawing = threading.Lock()
"""The style is set for the whole process while a picture is drawn, so one is drawn at a time."""


def drawn(ask: Ask, answered: Answered, names: Sequence[int], form: Literal["png", "svg"]) -> bytes:
    """Draw waveforms with their answers and give the file's bytes. Safe to call from several threads.

    Args:
        ask: the waveforms to draw, all of them.
        answered: their answers.
        names: number of each waveform in what was sent.

    Raises:
        TooLarge: more than `MAX_PANELS` waveforms.
    """
    content = io.BytesIO()
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[form]
    with _drawing, mpl.rc_context(_STYLE):
        figure(ask, answered, names).savefig(content, format=form, dpi=_DPI, metadata=metadata)
    return content.getvalue()


def figure(ask: Ask, answered: Answered, names: Sequence[int]) -> Figure:
    """Give a figure with one panel a waveform.

    Raises:
        TooLarge: more than `MAX_PANELS` waveforms.
    """
    n = len(ask.waveforms)
    if n > MAX_PANELS:
        raise TooLarge(f"{n} waveforms, one picture shows at most {MAX_PANELS}: choose some with `show`")
    taken = take(ask.waveforms, ask.intake)
    pulses = find_pulses(taken.samples)
    number = np.maximum(answered.number, 0)
    found = answered.parts or parts(pulses, number, answered.separation_us, ask.detector, ask.drift_time_us)
    columns = 1 if n == 1 else 2 if n <= 4 else 3
    rows = math.ceil(n / columns)
    width, height = _PANEL_INCHES
    fig = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(fig)
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for row, (ax, name) in enumerate(zip(axes, names, strict=False)):
        sign = -1.0 if taken.negative[row] else 1.0
        _panel(ax, sign * taken.samples[row], sign, row, pulses, found, ask.detector)
        ax.set_title(_title(answered, row, name), loc="left", color=_TEXT)
    for ax in axes[n:]:
        ax.remove()
    return fig


def _panel(
    ax: Axes, samples: Float[np.ndarray, "sample"], sign: float, row: int, pulses: Pulses, found: Parts, gas: Detector
) -> None:
    """One waveform in the user's unit and polarity."""
    time = (np.arange(len(samples)) + 0.5) * SAMPLE_US
    ax.plot(time, samples, color=_RECORD, lw=0.6, label="waveform")
    if found.number[row]:
        first, last = pulses.baseline[row]
        baseline = sign * np.linspace(first, last, len(samples))
        one = _row(found, row)
        shapes = sign * drawn_parts(one, time, gas)[0][: found.number[row]]
        for k, shape in enumerate(shapes):
            ax.fill_between(time, baseline, baseline + shape, color=_PULSES[k], alpha=0.35, lw=0)
            label = f"S2 at {one.time_us[0, k]:.2f} µs, {one.area[0, k] / one.area.sum():.0%} of the light"
            ax.plot(time, baseline + shape, color=_PULSES[k], lw=1.2, label=label)
            ax.axvline(one.time_us[0, k], color=_PULSES[k], lw=0.8, ls=":")
        if len(shapes) > 1:
            ax.plot(time, baseline + shapes.sum(axis=0), color=_SUM, lw=1.0, ls="--", label="together")
        ax.set_xlim(*_view(one, time[-1]))
    else:
        ax.set_xlim(0.0, time[-1])
    ax.set_xlabel("time [µs]")
    ax.set_ylabel("signal [unit of the waveform]")
    ax.grid(color="#e5e7eb", lw=0.6)
    ax.set_axisbelow(True)
    ax.legend(framealpha=0.8, edgecolor="none", fontsize=7.5, loc="best", handlelength=1.6)


def _row(found: Parts, row: int) -> Parts:
    one = slice(row, row + 1)
    return replace(
        found,
        number=found.number[one],
        time_us=found.time_us[one],
        area=found.area[one],
        sigma_us=found.sigma_us[one],
        rms_us=found.rms_us[one],
    )


def _view(one: Parts, end_us: float) -> tuple[float, float]:
    """Around the pulses, and no less than a fifth of the record."""
    margin = max(SHOWN_WIDTHS * float(one.rms_us[0]), end_us / 10.0)
    return max(float(np.nanmin(one.time_us)) - margin, 0.0), min(float(np.nanmax(one.time_us)) + margin, end_us)


def _title(answered: Answered, row: int, name: int) -> str:
    number = int(answered.number[row])
    if number == UNANSWERED:
        said = "nothing can be said"
    elif number == 0:
        said = "no S2"
    else:
        d = f"d = {answered.separation_us[row]:.2f} ± {answered.sigma_us[row]:.2f} µs"
        said = f"{number} S2{'s' * (number > 1)} · p(two) = {answered.p_two[row]:.3f} · {d}{' if two' * (number < 2)}"
    warned = ", ".join(w.code for w in answered.warnings[row])
    return f"waveform {name} · {said}" + (f"\n{warned}" if warned else "")
