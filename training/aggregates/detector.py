"""What a photon-counting detector makes of an expected pattern: Poisson noise, full well, beam stop, gaps, bad pixels.

Patterns are 64 x 64 pixels; the direct beam falls on pixel (32, 32), as `np.fft.fftshift` puts it, plus the jitter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32

from app.errors import InvalidInput

IMAGE: Final = 64
"""Pixels on each side of a pattern."""
CENTRE: Final = IMAGE // 2
"""Row and column of the direct beam."""


@dataclass(frozen=True)
class Detector:
    """The detector, and what stands before it.

    Attributes:
        background: expected photons per pixel that no particle scattered: carrier gas, slits, fluorescence.
        full_well_photons: most photons a pixel can hold; more are read as this many.
        beam_stop_px: smallest and largest radius [detector pixels] of the beam stop, drawn anew for each pattern;
            below 0 there is none.
        jitter_px: standard deviation [detector pixels] of the direct beam along each axis, from shot to shot. The beam
            stop and the gaps stay where they are.
        gap_rows: (first row, number of rows) of each gap between modules.
        gap_columns: (first column, number of columns) of each.
        bad_fraction: share of pixels that do not count; the same ones in all patterns of one call.
    """

    background: float = 0.05
    full_well_photons: float = 2e4
    beam_stop_px: tuple[float, float] = (3.0, 3.0)
    jitter_px: float = 0.0
    gap_rows: tuple[tuple[int, int], ...] = ()
    gap_columns: tuple[tuple[int, int], ...] = ()
    bad_fraction: float = 0.0

    def __post_init__(self) -> None:
        sound = {
            "background": 0 <= self.background < np.inf,
            "full_well_photons": self.full_well_photons > 0,
            "beam_stop_px": self.beam_stop_px[0] <= self.beam_stop_px[1] < CENTRE,
            "jitter_px": 0 <= self.jitter_px < CENTRE,
            "bad_fraction": 0 <= self.bad_fraction < 1,
            "gap_rows": all(0 <= first < IMAGE and width > 0 for first, width in self.gap_rows),
            "gap_columns": all(0 <= first < IMAGE and width > 0 for first, width in self.gap_columns),
        }
        for name in (name for name, good in sound.items() if not good):
            raise InvalidInput(f"the detector's {name} is {getattr(self, name)}, which no detector of 64 x 64 px has.")


def centres(detector: Detector, count: int, rng: np.random.Generator) -> Float[np.ndarray, "image 2"]:
    """Row and column [px] on which the direct beam falls in each of `count` patterns."""
    return CENTRE + detector.jitter_px * rng.standard_normal((count, 2))


def beam_stops(detector: Detector, count: int, rng: np.random.Generator) -> Float[np.ndarray, " image"]:
    """Radius [px] of the beam stop in each of `count` patterns."""
    return rng.uniform(*detector.beam_stop_px, count)


def working(detector: Detector, rng: np.random.Generator) -> Bool[np.ndarray, "row col"]:
    """Pixels that are there and count, without the beam stop."""
    alive = rng.random((IMAGE, IMAGE)) >= detector.bad_fraction
    for first, width in detector.gap_rows:
        alive[first : first + width] = False
    for first, width in detector.gap_columns:
        alive[:, first : first + width] = False
    return alive


def masks(
    alive: Bool[np.ndarray, "row col"], beam_stop_px: Float[np.ndarray, " image"]
) -> Bool[np.ndarray, "image row col"]:
    """Pixels that measure: they work, and lie further from pixel (32, 32) than the beam stop reaches."""
    offset = np.arange(IMAGE) - CENTRE
    distance = np.hypot(offset[:, None], offset[None, :])
    return alive & (distance > beam_stop_px[:, None, None])


def read_out(
    expected: Float[np.ndarray, "image row col"],
    measured: Bool[np.ndarray, "image row col"],
    detector: Detector,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "image row col"]:
    """Photons counted: Poisson around expected + background, cut at the full well, 0 where nothing is measured.

    Args:
        expected: photons that the aggregate scatters into each pixel.
        measured: True where a pixel measures.
        detector: background and full well.
        rng: where the noise comes from.
    """
    counts = np.zeros(expected.shape, np.float32)
    counts[measured] = rng.poisson(expected[measured] + detector.background)
    return np.minimum(counts, np.float32(detector.full_well_photons))
