"""Patterns with known lines: pseudo-Voigts, single or as K-alpha doublets, on a sloping background, counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.indexing.patterns.pattern import Doublet, Pattern, make_pattern

COPPER = Doublet(1.5405929, 1.5444274)


@dataclass(frozen=True)
class Instrument:
    """Range and step [degrees], width [degrees] at the start and its growth a degree, Lorentzian share, wavelength."""

    low: float = 8.0
    high: float = 80.0
    step: float = 0.02
    fwhm: float = 0.08
    growth: float = 0.0005
    eta: float = 0.5
    doublet: Doublet | None = None
    wavelength_ang: float | None = 1.5405929

    def points(self) -> np.ndarray:
        return np.arange(self.low, self.high, self.step)


def profile(x: np.ndarray, centre: float, fwhm: float, eta: float) -> np.ndarray:
    """A pseudo-Voigt of height 1, averaged over a step as a counter does is not needed at these steps."""
    u = (x - centre) / fwhm
    return eta / (1 + 4 * u**2) + (1 - eta) * np.exp(-4 * np.log(2) * u**2)


def expected(instrument: Instrument, lines: np.ndarray, heights: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Mean counts; `lines` are K-alpha1 positions in degrees, `heights` their counts at the maximum."""
    x = instrument.points()
    total = background.copy()
    for centre, height in zip(lines, heights, strict=True):
        fwhm = instrument.fwhm + instrument.growth * (centre - instrument.low)
        total += height * profile(x, centre, fwhm, instrument.eta)
        if instrument.doublet is not None:
            sine = instrument.doublet.alpha2_ang / instrument.doublet.alpha1_ang * np.sin(np.radians(centre / 2))
            second = np.degrees(2 * np.arcsin(sine))
            total += instrument.doublet.ratio * height * profile(x, second, fwhm, instrument.eta)
    return total


def sloping(instrument: Instrument, level: float = 100.0) -> np.ndarray:
    """Air scatter at low angles, a slope, and an amorphous hump."""
    x = instrument.points()
    return level * (1 + 3 * np.exp(-(x - x[0]) / 8) - 0.004 * (x - x[0]) + 0.5 * np.exp(-0.5 * ((x - 25) / 6) ** 2))


def random_lines(
    rng: np.random.Generator, instrument: Instrument, count: int, apart: float, weakest: float, strongest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions at least `apart` degrees from each other and heights spread evenly in their logarithm."""
    found: list[float] = []
    while len(found) < count:
        at = float(rng.uniform(instrument.low + 1, instrument.high - 1))
        if all(abs(at - other) > apart for other in found):
            found.append(at)
    heights = np.exp(rng.uniform(np.log(weakest), np.log(strongest), count))
    return np.sort(np.array(found)), heights


def counted(rng: np.random.Generator, instrument: Instrument, mean: np.ndarray, **more: object) -> Pattern:
    """A pattern of Poisson counts."""
    return make_pattern(
        instrument.points(),
        rng.poisson(mean).astype(float),
        wavelength_ang=instrument.wavelength_ang,
        **more,  # type: ignore[arg-type]
    )


def matched(found: np.ndarray, true: np.ndarray, within: float) -> tuple[np.ndarray, np.ndarray]:
    """Index of the nearest found line of each true one (-1 where none is within so many degrees), and the unmatched."""
    if len(found) == 0:
        return np.full(len(true), -1), np.empty(0, int)
    nearest = np.abs(found[None, :] - true[:, None])
    index = np.where(nearest.min(axis=1) < within, nearest.argmin(axis=1), -1)
    return index, np.setdiff1d(np.arange(len(found)), index)
