"""The picture of what is simulated: objects and patterns of 1 to 5 discs and spheres."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from training.aggregates.place import MOST
from training.aggregates.settings import REFERENCE, SPHERES
from training.aggregates.simulate import Patterns, Simulation, objects, simulate

PANEL_INCHES: Final = 1.5
BRIGHTEST: Final = 2e4
"""Photons at the upper end of the colours: the full well."""


def draw_gallery(path: Path, seed: int, kinds: Sequence[tuple[str, Simulation]] | None = None) -> None:
    """Draw one aggregate of each number: its object, and below it the photons that the detector counts.

    Args:
        path: a PNG or SVG file.
        seed: of the aggregates.
        kinds: names and simulations, two rows each; without them discs and spheres of 5 px.
    """
    kinds = kinds or (("discs", REFERENCE), ("spheres", SPHERES))
    figure = Figure(figsize=(PANEL_INCHES * MOST, 2 * PANEL_INCHES * len(kinds)), layout="constrained")
    panels = figure.subplots(2 * len(kinds), MOST, squeeze=False)
    for pair, (name, settings) in enumerate(kinds):
        rng = np.random.default_rng(seed)
        patterns = simulate(settings, MOST, rng, numbers=np.arange(1, MOST + 1))
        _draw_rows(panels[2 * pair], panels[2 * pair + 1], patterns)
        panels[2 * pair, 0].set_ylabel(name)
        panels[2 * pair + 1, 0].set_ylabel("photons")
    for number, axes in enumerate(panels[0], 1):
        axes.set_title(str(number), fontsize=9)
    figure.savefig(path, dpi=110, metadata={"Software": None} if path.suffix == ".png" else {"Date": None})


def _draw_rows(above: Sequence[Axes], below: Sequence[Axes], patterns: Patterns) -> None:
    rows = zip(above, below, objects(patterns), patterns.counts, patterns.mask, strict=True)
    for top, bottom, image, counts, mask in rows:
        top.imshow(image, cmap="gray", interpolation="nearest")
        shown = np.where(mask, np.maximum(counts, 0.5), np.nan)
        bottom.imshow(shown, norm=LogNorm(0.5, BRIGHTEST), cmap="viridis", interpolation="nearest")
        for axes in (top, bottom):
            axes.set(xticks=[], yticks=[])
