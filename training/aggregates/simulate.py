"""Diffraction patterns of aggregates of 1 to 5 particles, with the truth behind each.

Flat discs that may overlap, or spheres in space; then the photons that a detector counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from app.errors import InvalidInput
from training.aggregates import discs, spheres
from training.aggregates.detector import Detector, beam_stops, centres, masks, read_out, working
from training.aggregates.place import MOST, Growth, place

Particle = Literal["disc", "sphere"]

BLOCK: Final = 250
"""Patterns drawn from one seed by `batches`; a set is the same whatever its batches."""
CHUNK: Final = 50
"""Patterns computed at once: what fits the processor's cache."""
LARGEST_SPREAD: Final = 3.0
"""Radii are drawn again when they are further than this many standard deviations from their mean."""


@dataclass(frozen=True)
class Simulation:
    """What is simulated.

    Attributes:
        particle: `disc`, flat and opaque to overlap; `sphere`, in space, thickness adds up.
        radius_px: smallest and largest radius [object pixels], drawn evenly for each aggregate. An object pixel is
            lambda L/(128 p): wavelength, distance, and detector pixel.
        size_spread: standard deviation of the radii within an aggregate, as a share of their mean.
        growth: how particles stick together.
        photons: smallest and largest number of photons that one particle alone would scatter into the padded
            128 x 128 points, drawn evenly in the logarithm for each pattern.
        detector: what counts them.
    """

    particle: Particle = "disc"
    radius_px: tuple[float, float] = (5.0, 5.0)
    size_spread: float = 0.0
    growth: Growth = field(default_factory=Growth)
    photons: tuple[float, float] = (1e5, 3e6)
    detector: Detector = field(default_factory=Detector)

    def __post_init__(self) -> None:
        for name in ("radius_px", "photons"):
            least, most = getattr(self, name)
            if not 0 < least <= most < np.inf:
                raise InvalidInput(f"{name} is {least:g} to {most:g}; give a smallest value above 0, then the largest.")
        if not 0 <= self.size_spread < 1 / LARGEST_SPREAD:
            raise InvalidInput(f"size_spread is {self.size_spread:g}; it must be at least 0 and below 1/3.")


@dataclass(frozen=True)
class Patterns:
    """Patterns and the truth behind them.

    Attributes:
        counts: photons counted, shape (image, 64, 64); 0 where nothing was measured.
        mask: True where a pixel measured.
        number: particles, 1 to 5.
        radius_px: mean radius [object pixels] around which the aggregate's radii were drawn.
        photons: photons that one particle alone would scatter.
        overlap: share of the particles' areas that is hidden behind others: 1 - union/sum, 0 for tangent discs.
        beam_stop_px: radius of the beam stop [detector pixels].
        centre_px: row and column of the direct beam [detector pixels].
        positions_px: centres [object pixels], (row, column) of discs, (row, column, depth) of spheres; depth 0 for
            discs; NaN beyond `number`.
        radii_px: radius of each particle [object pixels].
        particle: what they are.
    """

    counts: Float32[np.ndarray, "image row col"]
    mask: Bool[np.ndarray, "image row col"]
    number: Int[np.ndarray, " image"]
    radius_px: Float[np.ndarray, " image"]
    photons: Float[np.ndarray, " image"]
    overlap: Float[np.ndarray, " image"]
    beam_stop_px: Float[np.ndarray, " image"]
    centre_px: Float[np.ndarray, "image 2"]
    positions_px: Float[np.ndarray, "image particle 3"]
    radii_px: Float[np.ndarray, "image particle"]
    particle: Particle = "disc"

    def __len__(self) -> int:
        return len(self.number)

    def __getitem__(self, rows: slice | np.ndarray) -> Patterns:
        """Some of the patterns."""
        return Patterns(**{name: getattr(self, name)[rows] for name in ARRAYS}, particle=self.particle)


ARRAYS: Final = tuple(each.name for each in fields(Patterns) if each.name != "particle")


@dataclass(frozen=True)
class Shape:
    """What differs between kinds of particles: dimensions, |F|^2/128^2, and its sum for one particle alone."""

    dimensions: int
    intensity: Callable[..., Float32[np.ndarray, "image row col"]]
    self_energy: Callable[[np.ndarray], np.ndarray]
    image: Callable[..., Float32[np.ndarray, "image y x"]]


SHAPES: Final = MappingProxyType[Particle, Shape](
    {
        "disc": Shape(2, discs.intensity, discs.self_energy, discs.union),
        "sphere": Shape(3, spheres.intensity, spheres.self_energy, spheres.thickness),
    }
)


def simulate(
    settings: Simulation, n: int, rng: np.random.Generator, *, numbers: Int[np.ndarray, " image"] | None = None
) -> Patterns:
    """Draw aggregates and what a detector sees of them.

    Args:
        settings: what is simulated.
        n: number of patterns.
        rng: where all randomness comes from.
        numbers: particles of each aggregate, shape (n,); without it each of 1 to 5 equally often, in random order.

    Raises:
        InvalidInput: numbers outside 1 to 5, radii above a quarter of the object, or aggregates that do not fit.
    """
    number = _numbers(n, numbers, rng)
    shape = SHAPES[settings.particle]
    radius = rng.uniform(*settings.radius_px, n)
    radii = _radii(radius, settings.size_spread, rng)
    positions = np.where(np.arange(MOST) < number[:, None], 0.0, np.nan)[:, :, None] * np.ones(3)
    positions[:, :, : shape.dimensions] = place(number, radii, settings.growth, shape.dimensions, rng)
    photons = np.exp(rng.uniform(np.log(settings.photons[0]), np.log(settings.photons[1]), n))
    beam = centres(settings.detector, n, rng)
    stops = beam_stops(settings.detector, n, rng)
    mask = masks(working(settings.detector, rng), stops)
    counts = np.empty(mask.shape, np.float32)
    overlap = np.empty(n)
    for first in range(0, n, CHUNK):
        some = slice(first, first + CHUNK)
        where = positions[some], radii[some], number[some]
        expected = shape.intensity(*where, beam[some]) * _scale(shape, radius[some], photons[some])
        counts[some] = read_out(expected, mask[some], settings.detector, rng)
        overlap[some] = hidden_share(*where)
    truth = number, radius, photons, overlap, stops, beam, positions, radii
    return Patterns(counts, mask, *truth, particle=settings.particle)


def batches(settings: Simulation, n: int, seed: int, *, size: int = BLOCK) -> Iterator[Patterns]:
    """The first `n` patterns of the endless set that `seed` names, `size` at a time.

    The same seed gives the same set whatever `size` and `n` are, and any process can draw its part.
    """
    kept: list[Patterns] = []
    for block in range(-(-n // BLOCK)):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(block,)))
        kept.append(simulate(settings, BLOCK, rng)[: n - block * BLOCK])
        held = sum(map(len, kept))
        if held >= size:
            whole, full = join(kept), held - held % size
            yield from (whole[first : first + size] for first in range(0, full, size))
            kept = [whole[full:]]
    if any(map(len, kept)):
        yield join(kept)


def drawn(settings: Simulation, n: int, seed: int) -> Patterns:
    """The first `n` patterns of the set that `seed` names, at once."""
    return join(list(batches(settings, n, seed)))


def join(parts: list[Patterns]) -> Patterns:
    """Patterns of several parts, in order; they must be of one kind of particle."""
    return Patterns(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS},
        particle=parts[0].particle,
    )


def objects(patterns: Patterns) -> Float32[np.ndarray, "image y x"]:
    """The objects behind patterns on the 64 x 64 grid: coverage 0 to 1 of discs, thickness [px] of spheres."""
    image = SHAPES[patterns.particle].image
    return image(patterns.positions_px, patterns.radii_px, patterns.number)


def expected_counts(patterns: Patterns) -> Float32[np.ndarray, "image row col"]:
    """Photons expected in each pixel, without background, noise, full well, and beam stop."""
    shape = SHAPES[patterns.particle]
    intensity = shape.intensity(patterns.positions_px, patterns.radii_px, patterns.number, patterns.centre_px)
    return intensity * _scale(shape, patterns.radius_px, patterns.photons)


def hidden_share(
    positions_px: Float[np.ndarray, "image particle axis"],
    radii_px: Float[np.ndarray, "image particle"],
    number: Int[np.ndarray, " image"],
) -> Float[np.ndarray, " image"]:
    """Share of the particles' areas, seen along the beam, that is hidden behind others: 0 where none overlap."""
    covered = discs.union(positions_px, radii_px, number).sum(axis=(1, 2), dtype=float)
    there = np.arange(radii_px.shape[1]) < number[:, None]
    areas = np.sum(np.pi * (radii_px**2 + discs.EDGE_PX**2 / 12), axis=1, where=there)
    first, second = np.triu_indices(radii_px.shape[1], 1)
    apart = np.linalg.norm(positions_px[:, first, :2] - positions_px[:, second, :2], axis=2)
    overlaps = np.any(apart < (radii_px[:, first] + radii_px[:, second]) * (1 - 1e-6), axis=1)
    return np.where(overlaps, np.clip(1 - covered / areas, 0, 1), 0.0)


def _scale(
    shape: Shape, radius: Float[np.ndarray, " image"], photons: Float[np.ndarray, " image"]
) -> Float32[np.ndarray, "image 1 1"]:
    return (photons / shape.self_energy(radius)).astype(np.float32)[:, None, None]


def _numbers(n: int, numbers: Int[np.ndarray, " image"] | None, rng: np.random.Generator) -> Int[np.ndarray, " image"]:
    if numbers is None:
        return rng.permutation(np.arange(n) % MOST + 1)
    numbers = np.asarray(numbers)
    if numbers.shape != (n,) or (n and not (numbers.min() >= 1 and numbers.max() <= MOST)):
        raise InvalidInput(f"Numbers of particles must be {n} whole numbers from 1 to {MOST}; found {numbers.shape}.")
    return numbers


def _radii(
    radius: Float[np.ndarray, " image"], spread: float, rng: np.random.Generator
) -> Float[np.ndarray, "image particle"]:
    deviation = np.zeros((len(radius), MOST))
    if spread > 0:
        deviation = rng.standard_normal(deviation.shape)
        while (far := np.abs(deviation) > LARGEST_SPREAD).any():
            deviation[far] = rng.standard_normal(int(far.sum()))
    return radius[:, None] * (1 + spread * deviation)
