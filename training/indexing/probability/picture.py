"""The reliability diagram: how often cells were right against the probability that they were given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from training.indexing.probability.scores import Scores

_STYLE: Final[Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "indexing",
    "svg.fonttype": "none",
    "legend.frameon": False,
}
_COLOURS: Final = ("#0b5394", "#b45309", "#047857", "#6d28d9")
_NORMAL_95: Final = 1.96


def draw_reliability(panels: Mapping[str, Mapping[str, Scores]], path: Path) -> None:
    """Draw a panel for each set of patterns with a line for each method.

    Args:
        panels: set -> method -> scores. Bars are the 95 % interval of a share by its binomial spread.
        path: an SVG or PNG file.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.3 * len(panels), 3.5), layout="constrained")
        for axis, (title, methods) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            axis.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle="--")
            for colour, (name, found) in zip(_COLOURS, methods.items(), strict=False):
                p = np.array([one.probability for one in found.bins])
                share = np.array([one.right for one in found.bins])
                spread = _NORMAL_95 * np.sqrt(np.clip(p * (1.0 - p), 1e-4, 1.0) / [one.count for one in found.bins])
                label = f"{name}: ECE {found.ece:.3f}"
                axis.errorbar(p, share, yerr=spread, fmt="o-", ms=3, lw=1, elinewidth=0.8, color=colour, label=label)
            count = next(iter(methods.values())).count
            axis.set(title=f"{title} ({count})", xlabel="probability", ylabel="share that was right")
            axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
            axis.legend(loc="upper left", fontsize=7.5)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
