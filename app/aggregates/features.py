"""What the models see of a pattern: half of it on axes free of the particle's size, and its autocorrelation.

Momentum transfer is measured as s = q r, distance as d / r, so that the rings of the particle's form factor fall on the
same points whatever the radius r. Neither changes when the aggregate moves. Intensities are Friedel-symmetric,
I(q) = I(-q): both halves are averaged, which fills most of a gap, and one half is kept.

The same function serves training and service. An answer depends on one pattern alone, never on its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from app.aggregates.setting import DETECTOR_PX, TRANSFORM_PX, Particle, Setting
from app.errors import InvalidInput

HALF: Final = 31
"""Steps of the grid on each side of the beam: rows -31..31, columns 0..31."""
ROWS: Final = 2 * HALF + 1
COLUMNS: Final = HALF + 1
STEP: Final = 5.0 / TRANSFORM_PX
"""Step of s = q r [cycles]; one detector pixel for a radius of 5."""
DISTANCE_STEP: Final = 0.27
"""Step of d / r in the autocorrelation. Five particles in a row reach 8 r between the outermost centres."""
NORM_FROM: Final = 0.35
"""Least s of the intensities that give the scale: nearer to the beam, particles scatter in phase."""
FLOOR: Final = 0.5
"""Photons by which a small expectation is held up, so that a single photon on a dark ring does not stand out."""
FORM_FLOOR: Final = 0.005
"""Share of the forward intensity by which the rings' dark gaps are held up: overlap and soft edges fill them."""
CHANNELS: Final = ("counts", "seen", "structure", "autocorrelation")
PROFILE_BINS: Final = 36
"""Rings of a profile, each one step wide."""
PROFILED: Final = ("counts", "structure", "autocorrelation")
PEAK_RANGES: Final = ((4.0, 8.0), (8.0, 14.0), (14.0, 32.0))
"""Steps from the middle of the autocorrelation between which its highest points are taken."""
PEAK_RANKS: Final = (0, 3, 6, 9, 12, 15, 18, 21)
"""Which of the highest points: a spot covers several."""
PROFILES: Final = 2 * PROFILE_BINS * len(PROFILED) + len(PEAK_RANGES) * len(PEAK_RANKS)
NUMBERS: Final = ("log10_photons", "log10_scale", "radius", "stop", "reach", "seen", "sphere", "log10_background")


@dataclass(frozen=True)
class Features:
    """What the models take.

    Attributes:
        maps: the channels `CHANNELS` on half planes; rows and columns of the first three are s, of the last d / r.
        numbers: the columns `NUMBERS`.
        profiles: mean and variance on rings of three of the maps, and highest points of the autocorrelation; they are
            the same for a pattern and its mirror image.
    """

    maps: Float32[np.ndarray, "image 63 32 channel"]
    numbers: Float32[np.ndarray, "image feature"]
    profiles: Float32[np.ndarray, "image ring"]

    def __len__(self) -> int:
        return len(self.maps)


def features(
    patterns: Float[np.ndarray, "image row col"],
    mask: Bool[np.ndarray, "image row col"] | Bool[np.ndarray, "row col"] | None,
    centre_px: Float[np.ndarray, "image 2"] | None,
    setting: Setting | Sequence[Setting],
) -> Features:
    """Bring patterns of 64 x 64 photon counts into the form that the models take.

    Args:
        patterns: photon counts; what the mask leaves out may hold anything.
        mask: True where a pixel measures; None for all. The declared beam stop is left out in any case.
        centre_px: row and column of the direct beam, pixel centres at whole numbers; None for (32, 32).
        setting: of all patterns, or of each.

    Raises:
        InvalidInput: patterns, mask, centres, or settings do not fit each other.
    """
    settings = [setting] * len(patterns) if isinstance(setting, Setting) else list(setting)
    counts = _checked(patterns, settings)
    centre = np.full((len(counts), 2), DETECTOR_PX / 2) if centre_px is None else np.asarray(centre_px, float)
    seen = visible(counts, mask, centre, settings)
    radius = np.array([each.radius_px for each in settings])
    rows, columns = (_resampling(centre[:, axis], radius) for axis in (0, 1))
    exposure = _half(rows @ seen.astype(np.float32) @ columns.transpose(0, 2, 1))
    photons = _half(rows @ np.where(seen, counts, np.float32(0)) @ columns.transpose(0, 2, 1))
    return _features(photons, exposure, settings)


def visible(
    counts: Float[np.ndarray, "image row col"],
    mask: Bool[np.ndarray, "*image row col"] | None,
    centre_px: Float[np.ndarray, "image 2"],
    settings: Sequence[Setting],
) -> Bool[np.ndarray, "image row col"]:
    """Pixels that measure: finite, not negative, in the mask, and further from the middle pixel than the beam stop."""
    distance = _from_middle()
    stop = np.array([each.beam_stop_px for each in settings])[:, None, None]
    seen = np.isfinite(counts) & (counts >= 0) & ((distance > stop) | (stop == 0))
    return seen if mask is None else seen & np.asarray(mask, bool)


@lru_cache(maxsize=1)
def _from_middle() -> Float[np.ndarray, "64 64"]:
    """Distance of each pixel from the middle one."""
    offset = np.arange(DETECTOR_PX) - DETECTOR_PX // 2
    return np.hypot(offset[:, None], offset[None, :])


def _features(
    photons: Float32[np.ndarray, "image row col"],
    exposure: Float32[np.ndarray, "image row col"],
    settings: Sequence[Setting],
) -> Features:
    """Everything from photons and exposure (pixels) of the half plane."""
    spheres = np.array([each.particle == "sphere" for each in settings])
    background = np.array([each.background or 0.0 for each in settings], np.float32)[:, None, None]
    form = np.where(spheres[:, None, None], form_intensity("sphere"), form_intensity("disc")).astype(np.float32)
    seen = exposure > 0.05
    mean = np.divide(photons, exposure, out=np.zeros_like(photons), where=seen)
    weight = np.where(seen, exposure, np.float32(0)) * half_weights()
    high = weight * (grid() > NORM_FROM)
    scale = ((mean - background) * high).sum((1, 2)) / np.maximum((form * high).sum((1, 2)), 1e-6)
    scale = np.maximum(scale, 1e-3)[:, None, None]
    expected = scale * form + background
    floor = FLOOR / np.maximum(exposure, 0.25)
    steady = expected + floor + FORM_FLOOR * scale
    structure = np.where(seen, np.maximum(mean - background, 0) / steady, np.float32(0))
    trust = weight * (expected / steady) ** 2
    maps = np.stack(
        [
            np.log1p(mean) / np.float32(5),
            np.minimum(exposure, 1),
            np.sqrt(structure),
            autocorrelation(structure, trust),
        ],
        axis=-1,
    )
    radius = np.array([each.radius_px for each in settings])
    numbers = np.stack(
        [
            np.log10((mean * weight).sum((1, 2)) * (5.0 / radius) ** 2 + 1),
            np.log10(scale[:, 0, 0]),
            radius / 5,
            np.array([each.beam_stop_px for each in settings]) * radius / TRANSFORM_PX,
            DETECTOR_PX / 2 * radius / TRANSFORM_PX,
            seen.mean((1, 2)),
            spheres,
            np.log10(background[:, 0, 0] + 1e-2),
        ],
        axis=-1,
    )
    maps = maps.astype(np.float32)
    return Features(maps, numbers.astype(np.float32), profiles(maps))


# --- the grid ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def grid() -> Float32[np.ndarray, "63 32"]:
    """The modulus of s at each point of the half plane [cycles]."""
    rows, columns = np.arange(-HALF, HALF + 1), np.arange(COLUMNS)
    return (np.hypot(rows[:, None], columns[None, :]) * STEP).astype(np.float32)


@lru_cache(maxsize=1)
def half_weights() -> Float32[np.ndarray, "63 32"]:
    """How often a point of the half plane stands in the whole one: column 0 holds its own mirror image."""
    weights = np.ones((ROWS, COLUMNS), np.float32)
    weights[:, 0] = 0.5
    return weights


def _resampling(
    centre_px: Float[np.ndarray, "image"], radius_px: Float[np.ndarray, "image"]
) -> Float32[np.ndarray, "image 63 64"]:
    """Weights that carry one axis of the detector onto the grid: linear interpolation, widened where the grid is
    coarser than the pixels so that no photon is lost. A row sums to one well inside the detector, to less at its edge.
    """
    pixels_a_step = STEP * TRANSFORM_PX / radius_px
    position = centre_px[:, None] + np.arange(-HALF, HALF + 1) * pixels_a_step[:, None]
    width = np.maximum(pixels_a_step, 1.0)[:, None, None]
    distance = np.abs(position[:, :, None] - np.arange(DETECTOR_PX)) / width
    return (np.maximum(1 - distance, 0) / width).astype(np.float32)


def _half(whole: Float32[np.ndarray, "image 63 63"]) -> Float32[np.ndarray, "image 63 32"]:
    """The sum of both Friedel mates on one half plane."""
    return (whole + whole[:, ::-1, ::-1])[:, :, HALF:]


# --- physics on the grid ----------------------------------------------------------------------------------------------


def bessel_j1(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """J1(x) = 1/pi int_0^pi cos(t - x sin t) dt (Abramowitz & Stegun 9.1.21) by the midpoint rule, which converges
    faster than any power of its step because the integrand is periodic; exact to rounding for |x| < 40.
    """
    t = (np.arange(64) + 0.5) * np.pi / 64
    return np.cos(t - x[..., None] * np.sin(t)).mean(axis=-1)


def disc_intensity(s: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """(2 J1(x) / x)^2, x = 2 pi s: far field of a flat disc (Airy, 1835); 1 at s = 0."""
    x = np.where(s > 1e-6, 2 * np.pi * s, 1.0)
    return np.where(s > 1e-6, (2 * bessel_j1(x) / x) ** 2, 1.0)


def sphere_intensity(s: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """(3 (sin x - x cos x) / x^3)^2, x = 2 pi s: far field of a sphere (Rayleigh, 1910); 1 at s = 0."""
    x = np.where(s > 1e-3, 2 * np.pi * s, 1.0)
    return np.where(s > 1e-3, (3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2, 1.0)


@lru_cache(maxsize=2)
def form_intensity(particle: Particle) -> Float32[np.ndarray, "63 32"]:
    """What one particle scatters, on the grid; 1 at s = 0."""
    s = grid().astype(float)
    return (disc_intensity(s) if particle == "disc" else sphere_intensity(s)).astype(np.float32)


@lru_cache(maxsize=1)
def _waves() -> tuple[
    Float32[np.ndarray, "63 63"],
    Float32[np.ndarray, "32 32"],
    Float32[np.ndarray, "63 63"],
    Float32[np.ndarray, "32 32"],
]:
    """Cosines and sines of 2 pi s d: rows (distance, s), columns (s, distance)."""
    whole, half = np.arange(-HALF, HALF + 1), np.arange(COLUMNS)
    phase = 2 * np.pi * STEP * DISTANCE_STEP
    by_row, by_column = phase * np.outer(whole, whole), phase * np.outer(half, half)
    cosines = np.cos(by_row).astype(np.float32), np.cos(by_column).astype(np.float32)
    return *cosines, np.sin(by_row).astype(np.float32), np.sin(by_column).astype(np.float32)


def autocorrelation(
    structure: Float32[np.ndarray, "image 63 32"], trust: Float32[np.ndarray, "image 63 32"]
) -> Float32[np.ndarray, "image 63 32"]:
    """Autocorrelation of the particles' centres: sum of trust structure cos(2 pi s d) over sum of trust structure.

    It is 1 at d = 0; of n particles apart from each other, each pair gives two spots of 1/n.
    """
    weighed = structure * trust
    cos_row, cos_column, sin_row, sin_column = _waves()
    total = cos_row @ weighed @ cos_column - sin_row @ weighed @ sin_column
    return total / np.maximum(weighed.sum((1, 2)), 1e-6)[:, None, None]


def _checked(
    patterns: Float[np.ndarray, "image row col"], settings: Sequence[Setting]
) -> Float32[np.ndarray, "image row col"]:
    counts = np.asarray(patterns, np.float32)
    if counts.ndim != 3 or counts.shape[1:] != (DETECTOR_PX, DETECTOR_PX):
        raise InvalidInput(
            f"the patterns have the shape {counts.shape}; they must be of shape (images, {DETECTOR_PX}, {DETECTOR_PX})"
        )
    if len(settings) != len(counts):
        raise InvalidInput(f"{len(settings)} settings do not fit {len(counts)} patterns; give one, or one for each")
    return counts


# --- profiles ---------------------------------------------------------------------------------------------------------


def profiles(maps: Float32[np.ndarray, "image 63 32 channel"]) -> Float32[np.ndarray, "image ring"]:
    """Mean and variance of counts, structure (not its root), and autocorrelation on rings, and high points of the last.

    Points that nothing was measured at have no weight.
    """
    points = maps.astype(np.float32).reshape(len(maps), ROWS * COLUMNS, len(CHANNELS))
    counts, seen, root, correlation = (points[:, :, k] for k in range(len(CHANNELS)))
    everywhere = np.ones_like(seen)
    found = [_rings(counts, seen), _rings(root**2, seen), _rings(correlation, everywhere)]
    return np.concatenate([*found, _peaks(correlation)], axis=1).astype(np.float32)


def _rings(
    values: Float32[np.ndarray, "image point"], weights: Float32[np.ndarray, "image point"]
) -> Float32[np.ndarray, "image ring"]:
    rings = _ring_weights()
    total = np.maximum(weights @ rings, np.float32(1e-6))
    mean = (values * weights) @ rings / total
    square = (values**2 * weights) @ rings / total
    return np.concatenate([mean, np.maximum(square - mean**2, 0)], axis=1)


def _peaks(correlation: Float32[np.ndarray, "image point"]) -> Float32[np.ndarray, "image peak"]:
    ranks = np.array(PEAK_RANKS)
    found = []
    for points in _peak_points():
        inside = -correlation[:, points]
        found.append(-np.sort(np.partition(inside, ranks.max(), axis=1)[:, : ranks.max() + 1], axis=1)[:, ranks])
    return np.concatenate(found, axis=1)


@lru_cache(maxsize=1)
def _peak_points() -> tuple[Int[np.ndarray, "point"], ...]:
    """Points within each of `PEAK_RANGES`, without the half of column 0 that repeats the other half."""
    once = np.ones((ROWS, COLUMNS), bool)
    once[:HALF, 0] = False
    steps = np.where(once, grid() / STEP, 0.0).ravel()
    return tuple(np.flatnonzero((steps >= least) & (steps < most)) for least, most in PEAK_RANGES)


@lru_cache(maxsize=1)
def _ring_weights() -> Float32[np.ndarray, "point ring"]:
    ring = np.rint(grid().ravel() / STEP).astype(int)
    return (ring[:, None] == np.arange(PROFILE_BINS)).astype(np.float32) * half_weights().reshape(-1, 1)


# --- symmetries -------------------------------------------------------------------------------------------------------

SYMMETRIES: Final = 4
"""The eight symmetries of a square without the half turn, which Friedel's law makes an identity."""


def symmetric(
    maps: Float32[np.ndarray, "image 63 32 channel"], symmetry: int
) -> Float32[np.ndarray, "image 63 32 channel"]:
    """The maps of the pattern mirrored (bit 0) and transposed (bit 1)."""
    if symmetry & 1:
        maps = maps[:, ::-1]
    if symmetry & 2:
        whole = np.concatenate([maps[:, ::-1, :0:-1], maps], axis=2)
        maps = whole[:, HALF:].transpose(0, 2, 1, 3)
    return np.ascontiguousarray(maps)
