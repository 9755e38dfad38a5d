"""Synthetic powder patterns of random lattices: geometry, extinctions and random intensities, without any structure.

A pattern is the list of reflections behind its first lines, some of them missing (weak, overlapped, below the first
measured angle) and some lines foreign (impurities). Cells are drawn broadly, from 2 to 50 Angstrom.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

import gemmi
import numpy as np
from jaxtyping import Bool, Float, Int

from app.crystallography import metric
from app.crystallography.bragg import q2_from_two_theta, two_theta_from_q2
from app.crystallography.lattice import LATTICES, BravaisLattice
from app.crystallography.reflections import MAX_INDEX, reference_reflections

FOREIGN = -1
"""In place of a reflection: the line belongs to another substance, or the pattern has fewer lines."""
_ALL = 10**6
_CHUNK = 64

# How often a space group occurs in inorganic and molecular databases together, in percent, rounded.
_FREQUENCY = {
    14: 20, 2: 10, 15: 6, 225: 6, 12: 5, 166: 5, 227: 5, 4: 4, 19: 4, 63: 4, 139: 4, 194: 4, 11: 3, 61: 3, 62: 6,
    167: 3, 221: 3, 1: 2, 33: 2, 136: 2, 129: 2, 141: 2, 148: 2, 176: 2, 193: 1, 216: 2, 230: 2, 5: 1.5, 9: 1.5,
    43: 2, 64: 1.5, 70: 2, 74: 2, 123: 1.5, 140: 1.5, 186: 1.5, 55: 1, 58: 1, 59: 1, 60: 1, 71: 1, 72: 1, 88: 1,
    229: 1, 7: 0.7,
}  # fmt: skip
_RARE = 0.3
_SYSTEMS = {
    "c": ("cubic",),
    "t": ("tetragonal",),
    "h": ("hexagonal", "trigonal"),
    "o": ("orthorhombic",),
    "m": ("monoclinic",),
    "a": ("triclinic",),
}


@dataclass(frozen=True)
class PatternOptions:
    """How random patterns are made. A pair is the range of a uniform distribution, drawn for each pattern.

    Attributes:
        n_lines: lines kept, from the lowest angle.
        wavelength_ang: of the radiation.
        two_theta_min_deg: where the pattern starts.
        two_theta_max_deg: where it ends.
        reach: lines of a random lattice of this volume (extinctions aside) up to which intensities are drawn.
        log_weakest: log10 of the weakest line that is seen, against the strongest.
        merge_deg: a weaker line this close to a stronger one is not seen.
        falloff_ang2: k in exp(-k q^2), the decay of |F|^2.
        foreign: mean number of impurity lines among the first dozen (Poisson).
        volume_ang3: of conventional cells: median, standard deviation of ln V, smallest, largest.
        length_ang: shortest and longest axis.
        spreads: standard deviation of ln(length) in ordinary and in thin or flat cells.
        thin: share of the latter.
    """

    n_lines: int = 20
    wavelength_ang: float = 1.5406
    two_theta_min_deg: tuple[float, float] = (2.0, 6.0)
    two_theta_max_deg: float = 110.0
    reach: float = 70.0
    log_weakest: tuple[float, float] = (-2.5, -1.7)
    merge_deg: tuple[float, float] = (0.04, 0.1)
    falloff_ang2: tuple[float, float] = (1.0, 6.0)
    foreign: float = 0.25
    volume_ang3: tuple[float, float, float, float] = (400.0, 0.9, 30.0, 6000.0)
    length_ang: tuple[float, float] = (2.0, 50.0)
    spreads: tuple[float, float] = (0.35, 0.6)
    thin: float = 0.35


@dataclass(frozen=True)
class Patterns:
    """Patterns of one Bravais lattice, lines ascending in q^2.

    Attributes:
        x: metric terms, Angstrom^-2, shape (pattern, param).
        ref: rows of `all_references`, `FOREIGN` where a line has none, shape (pattern, peak).
        q2_inv_ang2: of the lines that have a reflection, NaN elsewhere, shape (pattern, peak).
    """

    x: Float[np.ndarray, "pattern param"]
    ref: Int[np.ndarray, "pattern peak"]
    q2_inv_ang2: Float[np.ndarray, "pattern peak"]


@dataclass(frozen=True)
class Extinction:
    """What a space-group setting leaves of the reference reflections.

    Attributes:
        members: reflections that share each line, 0 where the group extinguishes all, shape (ref,).
        centric: whether the group has an inversion centre.
        weight: how often it occurs.
    """

    members: Int[np.ndarray, "ref"]
    centric: bool
    weight: float


@cache
def all_references(symbol: str) -> tuple[Int[np.ndarray, "ref 3"], Float[np.ndarray, "ref param"]]:
    """Return hkl and design of every distinct line with indices in -20..20, by descending typical spacing."""
    references = reference_reflections(symbol, _ALL)
    return references.hkl, references.design


@cache
def reference_index(symbol: str) -> Int[np.ndarray, "h k l"]:
    """Return the row of `all_references` for each (h, k, l) + 20 in 0..40; -1 where the centring extinguishes it."""
    lattice = LATTICES[symbol]
    box = np.stack(np.meshgrid(*[np.arange(-MAX_INDEX, MAX_INDEX + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    inside = np.flatnonzero(lattice.allowed(box) & box.any(axis=1))
    rows = np.concatenate((all_references(symbol)[1].astype(int), lattice.design(box[inside])))
    _, inverse = np.unique(_radix(rows), return_inverse=True)
    n_refs = len(all_references(symbol)[0])
    owner = np.empty(n_refs, np.int32)
    owner[inverse[:n_refs]] = np.arange(n_refs)
    table = np.full(len(box), FOREIGN, np.int32)
    table[inside] = owner[inverse[n_refs:]]
    return table.reshape([2 * MAX_INDEX + 1] * 3)


def _radix(design: Int[np.ndarray, "ref param"]) -> Int[np.ndarray, "ref"]:
    return design @ (3 * MAX_INDEX**2 + 1) ** np.arange(design.shape[1], dtype=np.int64)


@cache
def extinctions(symbol: str) -> tuple[Extinction, ...]:
    """Return the space-group settings of a Bravais lattice, in the axes of `app.crystallography.lattice`.

    The frequency of a group is shared by its settings (cell choices, permuted axes).
    """
    settings = [group for group in gemmi.spacegroup_table() if _has_lattice(group, symbol)]
    numbers = [group.number for group in settings]
    return tuple(
        _extinction(group, symbol, group_frequency(group.number) / numbers.count(group.number)) for group in settings
    )


def group_frequency(number: int) -> float:
    """How often the space group of a number occurs, in percent, rounded."""
    return _FREQUENCY.get(number, _RARE)


def _has_lattice(group: gemmi.SpaceGroup, symbol: str) -> bool:
    oriented = {"m": group.monoclinic_unique_axis() == "b", "h": group.ext != "R"}.get(symbol[0], True)
    return oriented and group.crystal_system_str() in _SYSTEMS[symbol[0]] and group.hm[0] == symbol[1]


def _extinction(group: gemmi.SpaceGroup, symbol: str, weight: float) -> Extinction:
    operations, table = group.operations(), reference_index(symbol)
    hkl = np.argwhere(table >= 0).astype(np.int32) - MAX_INDEX
    present = hkl[~np.asarray(operations.systematic_absences(hkl))] + MAX_INDEX
    members = np.bincount(table[tuple(present.T)], minlength=len(all_references(symbol)[0]))
    return Extinction(members, operations.is_centrosymmetric(), weight)


def random_constants(
    lattice: BravaisLattice, count: int, rng: np.random.Generator, options: PatternOptions | None = None
) -> Float[np.ndarray, "cell 6"]:
    """Draw conventional cells in no particular setting; constants in Angstrom and degrees.

    Fewer than ``count`` come back, since cells that do not exist or have axes out of bounds are left out.
    """
    options = options or PatternOptions()
    spread = np.where(rng.random(count) < options.thin, options.spreads[1], options.spreads[0])
    lengths = np.exp(spread[:, None] * rng.standard_normal((count, 3)))
    constants = np.concatenate((lengths, _angles(lattice, count, rng)), axis=1)
    sources, fixed = np.array(lattice.constant_sources), np.array(lattice.fixed_constants)
    constants = np.where(sources >= 0, constants[:, np.maximum(sources, 0)], fixed)
    constants = constants[metric.exists(constants)]
    volume = metric.volume_from_form(metric.form_from_constants(constants))
    median, deviation, smallest, largest = options.volume_ang3
    wanted = np.clip(median * np.exp(deviation * rng.standard_normal(len(constants))), smallest, largest)
    constants[:, :3] *= np.cbrt(wanted / volume)[:, None]
    shortest, longest = options.length_ang
    return constants[((constants[:, :3] >= shortest) & (constants[:, :3] <= longest)).all(axis=1)]


def _angles(lattice: BravaisLattice, count: int, rng: np.random.Generator) -> Float[np.ndarray, "cell 3"]:
    """Free angles near 90 degrees in half of the cells, anywhere between 55 and 125 in the others."""
    near = 90.0 + 14.0 * rng.standard_normal((count, 3))
    wide = rng.uniform(55.0, 125.0, (count, 3))
    return np.clip(np.where(rng.random((count, 1)) < 0.5, near, wide), 50.0, 130.0)


def draw_patterns(symbol: str, count: int, rng: np.random.Generator, options: PatternOptions | None = None) -> Patterns:
    """Draw ``count`` random patterns of a Bravais lattice.

    Each has a random cell and space-group setting; |F|^2 follows Wilson's distributions (A. J. C. Wilson, Acta Cryst.
    2 (1949) 318): exponential without, chi-squared of one degree with a centre of symmetry.
    """
    options = options or PatternOptions()
    rows = list(islice(_patterns(symbol, rng, options), count))
    x, ref, q2 = (np.stack(column) for column in zip(*rows, strict=True))
    return Patterns(x, ref, q2)


Row = tuple[Float[np.ndarray, "param"], Int[np.ndarray, "peak"], Float[np.ndarray, "peak"]]


def _patterns(symbol: str, rng: np.random.Generator, options: PatternOptions) -> Iterator[Row]:
    lattice, groups = LATTICES[symbol], extinctions(symbol)
    weight = np.array([group.weight for group in groups])
    while True:
        constants = random_constants(lattice, _CHUNK, rng, options)
        chosen = rng.choice(len(groups), size=len(constants), p=weight / weight.sum())
        for x, group in zip(metric.x_from_constants(lattice, constants), chosen, strict=True):
            ref, q2 = _lines(symbol, x, groups[group], rng, options)
            if np.count_nonzero(ref >= 0) >= lattice.n_params + 4:
                yield x, ref, q2


def _lines(
    symbol: str, x: Float[np.ndarray, "param"], group: Extinction, rng: np.random.Generator, options: PatternOptions
) -> tuple[Int[np.ndarray, "peak"], Float[np.ndarray, "peak"]]:
    """Return the reflections and q^2 of the first lines that are seen, with foreign lines among them."""
    q2 = all_references(symbol)[1] @ x
    inside = np.flatnonzero((q2 < _reach_q2(LATTICES[symbol], x, options)) & (group.members > 0))
    inside = inside[np.argsort(q2[inside], kind="stable")]
    two_theta = two_theta_from_q2(q2_inv_ang2=q2[inside], wavelength_ang=options.wavelength_ang)
    strength = _intensity(np.radians(two_theta / 2), q2[inside], group, group.members[inside], rng, options)
    seen = _seen(two_theta, strength, rng, options)
    ref = np.append(inside[seen], np.full(options.n_lines, FOREIGN))
    for position in rng.integers(0, 12, rng.poisson(options.foreign)):
        ref = np.insert(ref, position, FOREIGN)
    ref = ref[: options.n_lines]
    return ref, np.where(ref >= 0, q2[ref], np.nan)


def _reach_q2(lattice: BravaisLattice, x: Float[np.ndarray, "param"], options: PatternOptions) -> float:
    """q^2 up to which about ``options.reach`` distinct lines lie, at most that of the end of the pattern."""
    primitive = float(metric.volume_from_x(lattice, x)) / lattice.centring.multiplicity
    sphere = (options.reach * lattice.laue_order / (4 / 3 * np.pi * primitive)) ** (2 / 3)
    end = q2_from_two_theta(two_theta_deg=options.two_theta_max_deg, wavelength_ang=options.wavelength_ang)
    return min(sphere, float(end))


def _intensity(
    theta: Float[np.ndarray, "ref"],
    q2: Float[np.ndarray, "ref"],
    group: Extinction,
    members: Int[np.ndarray, "ref"],
    rng: np.random.Generator,
    options: PatternOptions,
) -> Float[np.ndarray, "ref"]:
    lorentz_polarisation = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    wilson = rng.gamma(0.5 if group.centric else 1.0, 1.0, len(q2))
    return wilson * members * lorentz_polarisation * np.exp(-rng.uniform(*options.falloff_ang2) * q2)


def _seen(
    two_theta: Float[np.ndarray, "ref"],
    strength: Float[np.ndarray, "ref"],
    rng: np.random.Generator,
    options: PatternOptions,
) -> Bool[np.ndarray, "ref"]:
    """Tell which lines are in the measured range, strong enough, and not beside a stronger one."""
    first, weakest, merge = (
        rng.uniform(*r) for r in (options.two_theta_min_deg, options.log_weakest, options.merge_deg)
    )
    seen = two_theta >= first
    seen &= strength > 10**weakest * np.max(strength, where=seen, initial=0.0)
    near = np.abs(two_theta[:, None] - two_theta[None]) < merge
    return seen & ~(near & (strength[None] > strength[:, None])).any(axis=1)
