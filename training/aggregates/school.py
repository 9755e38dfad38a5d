"""What the aggregates network learns from: patterns of many settings, and some whose setting is declared wrongly.

The set is cut into blocks. Each block has one simulation drawn at random (particle, overlap, light, detector), so that
hundreds of settings are seen; the radius is drawn for each pattern. In some blocks what is declared differs from what
was simulated, or the object is no aggregate: from these the network learns to say what a pattern does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from app.aggregates.features import STEP, Features, features
from app.aggregates.setting import TRANSFORM_PX, VERDICTS, Setting, Verdict
from training.aggregates.detector import IMAGE, Detector, read_out
from training.aggregates.discs import PADDED, far_field
from training.aggregates.place import OBJECT, Growth
from training.aggregates.simulate import Particle, Patterns, Simulation, simulate

BLOCK: Final = 125
"""Patterns of one block."""
USUAL_RADIUS_PX: Final = STEP * TRANSFORM_PX

WRONG: Final[Mapping[Verdict, float]] = MappingProxyType(
    {"radius": 0.45, "particle": 0.25, "mask": 0.15, "object": 0.15}
)
"""What is wrong in a block where something is, and how often."""


@dataclass(frozen=True)
class SchoolArgs:
    """What is drawn.

    Attributes:
        radius_px: range of the particle's radius [object pixels].
        usual_radius: share of blocks of a declared radius of exactly `USUAL_RADIUS_PX`: at this one alone every point
            of the features' grid is one pixel, with the noise of one.
        photons: range of photons per particle in most blocks.
        photons_dim: the same in a share `dim` of them.
        dim: share of blocks with little light.
        spheres: share of blocks of spheres.
        pairwise: share of blocks of discs that all touch each other.
        apart: share of blocks of discs that overlap less than the simulator's default, tangent ones included.
        usual_stop: share of blocks with a beam stop of 3 px; the others draw from `beam_stop_px`.
        beam_stop_px: range of the beam stop's radius [detector pixels].
        uneven: share of blocks whose particles differ in size, by up to `size_spread`.
        size_spread: largest standard deviation of the radii, as a share of their mean.
        equal_within: spread above which particles are not taken for equal any more: the verdict is `object`.
        gaps: share of blocks with gaps and bad pixels.
        jitter: share of blocks whose beam moves, with a standard deviation up to 1 px.
        untold: share, of the blocks with a moving beam or with gaps, in which that is not declared. The network bears
            with a beam that moves; gaps are what the verdict `mask` is for.
        misdeclared: share of blocks in which the setting is declared wrongly or the object is no aggregate.
        wrong_radius: least and largest factor between declared and true radius, or its inverse.
    """

    radius_px: tuple[float, float] = (3.0, 7.0)
    usual_radius: float = 0.0
    photons: tuple[float, float] = (1e5, 3e6)
    photons_dim: tuple[float, float] = (3e3, 1e5)
    dim: float = 0.15
    spheres: float = 0.4
    pairwise: float = 0.06
    apart: float = 0.15
    usual_stop: float = 0.6
    beam_stop_px: tuple[float, float] = (2.0, 8.0)
    uneven: float = 0.1
    size_spread: float = 0.08
    equal_within: float = 0.08
    gaps: float = 0.15
    jitter: float = 0.15
    untold: float = 0.0
    misdeclared: float = 0.2
    wrong_radius: tuple[float, float] = (1.07, 1.6)


SCHOOLS: Final = MappingProxyType[str, SchoolArgs](
    {
        "broad": SchoolArgs(),
        "review": SchoolArgs(usual_radius=0.25, uneven=0.2, size_spread=0.15, untold=0.3),
    }
)
"""`broad` comes first; `review` is for a network that has been through it, and adds what that was found weak at."""


@dataclass(frozen=True)
class Lesson:
    """Some patterns as the network sees them.

    Attributes:
        features: what the model takes.
        number: particles, 1 to 5; without meaning where the object is no aggregate.
        verdict: index into `VERDICTS`: what the pattern does not fit.
        log_ratio: logarithm of true over declared radius; 0 where the radius is declared rightly.
        patterns: where they come from.
        settings: what was declared of each.
    """

    features: Features
    number: Int[np.ndarray, "image"]
    verdict: Int[np.ndarray, "image"]
    log_ratio: Float[np.ndarray, "image"]
    patterns: Patterns
    settings: list[Setting]


def lesson(args: SchoolArgs, seed: int, index: int) -> Lesson:
    """Block `index` of the endless set that `seed` names; blocks may be drawn in any order, by any process."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    simulation = draw_simulation(args, rng)
    verdict = draw_verdict(args, rng)
    usual = args.usual_radius > 0 and rng.random() < args.usual_radius
    if usual:
        simulation = replace(
            simulation, radius_px=_beside(args, rng) if verdict == "radius" else (USUAL_RADIUS_PX,) * 2
        )
    patterns = simulate(simulation, BLOCK, rng)
    if verdict == "object":
        patterns = replace(patterns, counts=foreign_counts(patterns, simulation.detector, rng))
    settings = [misdeclared(each, verdict, args, rng) for each in declarations(patterns, simulation)]
    if usual:
        settings = [replace(each, radius_px=USUAL_RADIUS_PX) for each in settings]
    verdict, mask, centre_px = _told(args, verdict, patterns, simulation.detector, rng)
    if verdict == "fits" and simulation.size_spread > args.equal_within:
        verdict = "object"
    seen = features(patterns.counts, mask, centre_px, settings)
    log_ratio = np.log(patterns.radius_px / [each.radius_px for each in settings])
    return Lesson(
        seen, patterns.number, np.full(BLOCK, VERDICTS.index(verdict)), log_ratio, patterns=patterns, settings=settings
    )


def _beside(args: SchoolArgs, rng: np.random.Generator) -> tuple[float, float]:
    """True radii that differ from the usual one by at least the least wrong factor."""
    least = args.wrong_radius[0]
    below, above = (args.radius_px[0], USUAL_RADIUS_PX / least), (USUAL_RADIUS_PX * least, args.radius_px[1])
    return above if rng.random() < 0.5 else below


def _told(
    args: SchoolArgs, verdict: Verdict, patterns: Patterns, detector: Detector, rng: np.random.Generator
) -> tuple[Verdict, Bool[np.ndarray, "image row col"] | None, Float[np.ndarray, "image 2"] | None]:
    """The verdict, and the mask and the beam centres that are declared; None: no mask, the middle pixel."""
    untold = args.untold > 0 and rng.random() < args.untold
    centre_px = None if untold and detector.jitter_px > 0 else patterns.centre_px
    if verdict == "mask":
        return verdict, None, centre_px
    if untold and verdict == "fits" and (detector.gap_rows or detector.gap_columns):
        return "mask", None, centre_px
    return verdict, patterns.mask, centre_px


def draw_simulation(args: SchoolArgs, rng: np.random.Generator) -> Simulation:
    """One block's simulation."""
    particle: Particle = "sphere" if rng.random() < args.spheres else "disc"
    return Simulation(
        particle=particle,
        radius_px=args.radius_px,
        size_spread=float(rng.uniform(0, args.size_spread)) if rng.random() < args.uneven else 0.0,
        growth=Growth(2.0) if particle == "sphere" else _growth(args, rng),
        photons=args.photons_dim if rng.random() < args.dim else args.photons,
        detector=_detector(args, rng),
    )


def _growth(args: SchoolArgs, rng: np.random.Generator) -> Growth:
    kind = rng.random()
    if kind < args.pairwise:
        return Growth(1.0, "pairwise")
    return Growth(min(float(rng.uniform(1.0, 2.4)), 2.0)) if kind < args.pairwise + args.apart else Growth(1.0)


def _detector(args: SchoolArgs, rng: np.random.Generator) -> Detector:
    usual = (3.0, 3.0) if rng.random() < args.usual_stop else args.beam_stop_px
    plain = Detector(
        background=float(np.exp(rng.uniform(np.log(0.01), np.log(0.3)))) if rng.random() < 0.3 else 0.05,
        beam_stop_px=usual,
        jitter_px=float(rng.uniform(0, 1)) if rng.random() < args.jitter else 0.0,
    )
    if rng.random() >= args.gaps:
        return plain
    rows, columns = (
        tuple((int(rng.integers(0, IMAGE - 4)), int(rng.integers(1, 5))) for _ in range(int(rng.integers(0, 3))))
        for _ in range(2)
    )
    return replace(plain, gap_rows=rows, gap_columns=columns, bad_fraction=float(rng.uniform(0, 0.03)))


def declarations(patterns: Patterns, simulation: Simulation) -> list[Setting]:
    """The true setting of each pattern."""
    detector = simulation.detector
    return [
        Setting(float(r), float(stop), patterns.particle, detector.full_well_photons, detector.background)
        for r, stop in zip(patterns.radius_px, patterns.beam_stop_px, strict=True)
    ]


def draw_verdict(args: SchoolArgs, rng: np.random.Generator) -> Verdict:
    """What is wrong in a block; mostly nothing."""
    if rng.random() >= args.misdeclared:
        return "fits"
    return tuple(WRONG)[int(rng.choice(len(WRONG), p=tuple(WRONG.values())))]


def misdeclared(true: Setting, verdict: Verdict, args: SchoolArgs, rng: np.random.Generator) -> Setting:
    """What is said instead of the truth."""
    if verdict == "radius":
        factor = np.exp(rng.uniform(*np.log(args.wrong_radius)) * rng.choice((-1, 1)))
        return replace(true, radius_px=true.radius_px * float(factor))
    if verdict == "particle":
        return replace(true, particle="disc" if true.particle == "sphere" else "sphere")
    if verdict == "mask":
        return replace(true, beam_stop_px=float(max(true.beam_stop_px - rng.uniform(1.5, 6), 0.0)))
    return true


# --- objects that are no aggregates -----------------------------------------------------------------------------------


def foreign_counts(
    patterns: Patterns, detector: Detector, rng: np.random.Generator
) -> Float32[np.ndarray, "image row col"]:
    """Photons of other objects, as bright as the patterns they replace: boxes, rods, ellipses, and ragged flakes."""
    objects = foreign_objects(len(patterns), rng)
    intensity = np.abs(far_field(objects, patterns.centre_px)) ** 2 / PADDED**2
    photons = patterns.photons * patterns.number / (objects**2).sum((1, 2)).clip(min=1.0)
    return read_out(intensity * photons[:, None, None], patterns.mask, detector, rng)


def foreign_objects(n: int, rng: np.random.Generator) -> Float32[np.ndarray, "image y x"]:
    """Boxes, ellipses (rods are thin ones), and flakes whose outline is a random Fourier series, 4 to 40 px across."""
    offset = np.arange(OBJECT, dtype=np.float32) - OBJECT / 2
    angle = rng.uniform(0, np.pi, (n, 1, 1))
    along = np.cos(angle) * offset[:, None] + np.sin(angle) * offset
    across = np.cos(angle) * offset - np.sin(angle) * offset[:, None]
    half = np.exp(rng.uniform(np.log(2), np.log(20), (2, n, 1, 1)))
    box = np.minimum(half[0] - np.abs(along), half[1] - np.abs(across))
    reach = np.hypot(along / half[0], across / half[1])
    ellipse = (1 - reach) * half.min(axis=0)
    turn, waves = np.arctan2(across, along), rng.normal(0, 0.25, (4, n, 1, 1))
    phases = rng.uniform(0, 2 * np.pi, (4, n, 1, 1))
    outline = half[0] * (1 + sum(waves[k] * np.cos((k + 2) * turn + phases[k]) for k in range(4)))
    flake = outline - np.hypot(along, across)
    kind = rng.integers(0, 3, (n, 1, 1))
    return np.clip(np.choose(kind, [box, ellipse, flake]) + 0.5, 0, 1).astype(np.float32)
