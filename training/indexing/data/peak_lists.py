"""The two lists of lines of a crystal: all that are not systematically absent, and those that a measurement would show.

The second list is made from the powder pattern of 0 to 60 degrees at the copper wavelength with peaks 0.1 degrees wide
(full width at half maximum), as the report on data-driven indexing (section 2.1.1) makes it. A line is in it where

1. it is not systematically absent;
2. the pattern, divided by the root of the sum of its squares over points 0.02 degrees apart, is above 0.001 there;
3. the second derivative of the pattern is negative there;
4. no stronger line of the list lies within 0.1/1.5 degrees.

Lines are taken from the strongest down for the fourth condition, so that a line that is hidden itself hides no other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from app.crystallography import metric
from app.crystallography.bragg import q2_from_two_theta, two_theta_from_q2
from app.crystallography.lattice import LATTICES, BravaisLattice, products
from app.errors import TooLarge
from training.indexing.data.kinematic import Atoms, squared_structure_factors
from training.indexing.data.pattern_set import N_LINES
from training.indexing.data.powder import lorentz_polarisation
from training.indexing.data.space_groups import Operations, Setting

_SAME = 1e-9
"""Relative difference of two q^2 that are one number."""
_LARGEST_INDEX = 127
_NORM_REACH_DEG = 0.5
"""Where peaks are cut off in the sum of squares; of the square of a peak, less than a thousandth lies beyond."""
_GENEROUS = 1.5
"""Room for the first guess of the sphere that holds enough lines."""


@dataclass(frozen=True)
class Instrument:
    """What the observable lines are seen with.

    Attributes:
        wavelength_ang: of the radiation, copper K-alpha 1.
        two_theta_max_deg: end of the pattern; it starts at 0.
        step_deg: between points of the pattern.
        fwhm_deg: full width of a peak at half its height.
        lorentzian: share of the Lorentzian in the pseudo-Voigt peak.
        least: of the normalised pattern at a line that is seen.
        apart_deg: two lines closer than this are one.
        reach_deg: where peaks are cut off.
    """

    wavelength_ang: float = 1.5406
    two_theta_max_deg: float = 60.0
    step_deg: float = 0.02
    fwhm_deg: float = 0.1
    lorentzian: float = 0.5
    least: float = 0.001
    apart_deg: float = 0.1 / 1.5
    reach_deg: float = 2.0


INSTRUMENT = Instrument()


@dataclass(frozen=True)
class Reflections:
    """Reflections of one crystal that are not systematically absent, one of each Friedel pair, and their lines.

    Attributes:
        hkl: ascending in q^2, shape (ref, 3).
        q2_inv_ang2: shape (ref,).
        starts: first reflection of each line, shape (line,).
        names: the reflection that names each line, shape (line,): few negative indices, then large h, k and l.
    """

    hkl: Int[np.ndarray, "ref 3"]
    q2_inv_ang2: Float[np.ndarray, "ref"]
    starts: Int[np.ndarray, "line"]
    names: Int[np.ndarray, "line"]


@dataclass(frozen=True)
class PeakLists:
    """Both lists of one crystal; the fields are those of `PatternSet`, not yet padded."""

    q2_all: Float[np.ndarray, "line"]
    hkl_all: Int[np.ndarray, "line 3"]
    q2: Float[np.ndarray, "seen"]
    hkl: Int[np.ndarray, "seen 3"]
    intensity: Float[np.ndarray, "seen"]


def peak_lists(
    bravais: str, setting: Setting, cell: Float[np.ndarray, "6"], atoms: Atoms, instrument: Instrument = INSTRUMENT
) -> PeakLists:
    """Return both lists of a crystal in the conventional axes of its lattice."""
    end = q2_max(instrument)
    found = enough_reflections(bravais, setting, cell, least_q2=end)
    q2 = found.q2_inv_ang2[found.starts]
    n_inside = int(np.searchsorted(q2, end, side="right"))
    n_refs = int(np.append(found.starts, len(found.hkl))[n_inside])
    squared = squared_structure_factors(atoms, found.hkl[:n_refs], found.q2_inv_ang2[:n_refs])
    sums = np.add.reduceat(squared, found.starts[:n_inside]) if n_inside else np.empty(0)
    two_theta = two_theta_from_q2(q2_inv_ang2=q2[:n_inside], wavelength_ang=instrument.wavelength_ang)
    intensity = 2.0 * sums * lorentz_polarisation(np.radians(two_theta / 2.0))
    seen = observable(two_theta, intensity, instrument)
    strongest = intensity[seen].max(initial=0.0)
    hkl = found.hkl[found.names]
    return PeakLists(
        q2[:N_LINES], hkl[:N_LINES], q2[seen], hkl[seen], 100.0 * intensity[seen] / (strongest if strongest else 1.0)
    )


def q2_max(instrument: Instrument = INSTRUMENT) -> float:
    """Return q^2 at the end of the pattern, Angstrom^-2."""
    end = q2_from_two_theta(two_theta_deg=instrument.two_theta_max_deg, wavelength_ang=instrument.wavelength_ang)
    return float(end)


def is_of_smaller_cell(bravais: str, operations: Operations, hkl: Int[np.ndarray, "ref 3"]) -> bool:
    """Say whether these reflections and their equivalents all belong to a cell of a half, a third or a fifth.

    Nobody could find the larger cell from them: the rest of its lattice is absent.
    """
    every = (hkl[:, None, None, :] @ operations.rotations).reshape(-1, 3)
    in_primitive = np.round(every @ LATTICES[bravais].centring.primitive.T).astype(np.int64)
    return any(((in_primitive @ vectors.T) % prime == 0).all(axis=0).any() for prime, vectors in _SUBLATTICES)


def _sublattice_vectors(prime: int) -> Int[np.ndarray, "sublattice 3"]:
    """One v for each sublattice {h : v.h = 0 mod p} of index p: the points of a projective plane."""
    box = np.stack(np.meshgrid(*[np.arange(prime)] * 3, indexing="ij"), -1).reshape(-1, 3)[1:]
    return box[box[np.arange(len(box)), (box != 0).argmax(axis=1)] == 1]


_SUBLATTICES = tuple((prime, _sublattice_vectors(prime)) for prime in (2, 3, 5))


# Reflections


def enough_reflections(
    bravais: str, setting: Setting, cell: Float[np.ndarray, "6"], *, least_q2: float = 0.0, n_lines: int = N_LINES
) -> Reflections:
    """Return the reflections up to at least ``least_q2`` and at least the first ``n_lines`` lines.

    Raises:
        TooLarge: an axis is so long, or so many lines are absent, that an index goes beyond 127.
    """
    lattice = LATTICES[bravais]
    form = metric.form_from_constants(cell)
    primitive = float(metric.volume_from_form(form)) / lattice.centring.multiplicity
    sphere = (_GENEROUS * n_lines * lattice.laue_order / (4.0 / 3.0 * np.pi * primitive)) ** (2.0 / 3.0)
    limit = max(least_q2, sphere)
    while True:
        found = _reflections(lattice, setting, cell, form, limit)
        if len(found.starts) >= n_lines:
            return found
        limit *= 1.6


def _reflections(
    lattice: BravaisLattice,
    setting: Setting,
    cell: Float[np.ndarray, "6"],
    form: Float[np.ndarray, "6"],
    limit: float,
) -> Reflections:
    bounds = np.floor(cell[:3] * np.sqrt(limit) * (1.0 + _SAME)).astype(int)
    if bounds.max() > _LARGEST_INDEX:
        raise TooLarge(f"a reflection below q^2 = {limit:.3g} has an index above {_LARGEST_INDEX}: an axis is too long")
    hkl, six = _box(lattice.centring.symbol, *(int(bound) for bound in bounds))
    q2 = six @ form
    inside = np.flatnonzero(q2 <= limit)
    hkl, q2 = hkl[inside].astype(np.int32), q2[inside]
    present = np.flatnonzero(~np.asarray(setting.operations.systematic_absences(hkl), bool))
    order = present[np.argsort(q2[present], kind="stable")]
    hkl, q2 = hkl[order], q2[order]
    starts = np.flatnonzero(np.diff(q2, prepend=-1.0) > _SAME * q2)
    # Rows of the box stand in the order of preference: the least of a line names it.
    place = np.empty(len(inside), np.int64)
    place[order] = np.arange(len(order))
    names = place[np.minimum.reduceat(order, starts)] if len(starts) else starts
    return Reflections(hkl, q2, starts, names)


@lru_cache(maxsize=256)
def _box(centring: str, h_max: int, k_max: int, l_max: int) -> tuple[np.ndarray, np.ndarray]:
    """One of each Friedel pair that the centring allows, preferred ones first, and their six products as floats."""
    ranges = np.arange(h_max + 1), np.arange(-k_max, k_max + 1), np.arange(-l_max, l_max + 1)
    hkl = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3)
    hkl = hkl[k_max * (2 * l_max + 1) + l_max + 1 :][::-1]
    hkl = hkl[_CENTRINGS[centring].allowed(hkl)]
    hkl = hkl[np.argsort((hkl < 0).sum(axis=1), kind="stable")]
    return hkl.astype(np.int8), products(hkl).astype(float)


_CENTRINGS = {lattice.centring.symbol: lattice.centring for lattice in LATTICES.values()}


# What is seen of them


def observable(
    two_theta_deg: Float[np.ndarray, "line"],
    intensity: Float[np.ndarray, "line"],
    instrument: Instrument = INSTRUMENT,
    *,
    count: int = N_LINES,
) -> Int[np.ndarray, "seen"]:
    """Return the first ``count`` lines that the four conditions leave, in ascending order.

    Args:
        two_theta_deg: of lines that are not systematically absent, ascending.
        intensity: integrated, on any scale.
        instrument: that makes the pattern.
        count: lines wanted.
    """
    if not len(two_theta_deg) or intensity.max() <= 0.0:
        return np.empty(0, np.int64)
    norm = _norm(two_theta_deg, intensity, instrument)
    for n_rows in (4 * count, len(two_theta_deg)):
        rows = min(n_rows, len(two_theta_deg))
        height, curvature = _at_lines(two_theta_deg, intensity, rows, instrument)
        shown = np.flatnonzero((height > instrument.least * norm) & (curvature < 0.0))
        kept = _apart(shown, two_theta_deg, intensity, instrument.apart_deg)
        if rows == len(two_theta_deg):
            break
        # Lines at the end of the rows may have a stronger neighbour behind it.
        kept = kept[two_theta_deg[kept] < two_theta_deg[rows - 1] - 5 * instrument.apart_deg]
        if len(kept) >= count:
            break
    return kept[:count]


def _apart(
    shown: Int[np.ndarray, "shown"],
    two_theta: Float[np.ndarray, "line"],
    intensity: Float[np.ndarray, "line"],
    least: float,
) -> Int[np.ndarray, "kept"]:
    """Drop lines close to a stronger one that is kept itself."""
    position = two_theta[shown]
    close = np.diff(position, prepend=-np.inf, append=np.inf) < least
    crowded = np.flatnonzero(close[:-1] | close[1:])
    kept = np.ones(len(shown), bool)
    for row in crowded[np.argsort(-intensity[shown[crowded]], kind="stable")]:
        if kept[row]:
            near = np.abs(position - position[row]) < least
            near[row] = False
            kept &= ~near
    return shown[kept]


def _at_lines(
    two_theta: Float[np.ndarray, "line"], intensity: Float[np.ndarray, "line"], rows: int, instrument: Instrument
) -> tuple[Float[np.ndarray, "row"], Float[np.ndarray, "row"]]:
    """Return the pattern and its second derivative at the first lines."""
    left = np.searchsorted(two_theta, two_theta[:rows] - instrument.reach_deg)
    right = np.searchsorted(two_theta, two_theta[:rows] + instrument.reach_deg)
    counts = right - left
    owner = np.repeat(np.arange(rows), counts)
    other = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts - left, counts)
    distance = two_theta[owner] - two_theta[other]
    height, curvature = (
        np.bincount(owner, weights=intensity[other] * shape(distance, instrument), minlength=rows)
        for shape in (peak, peak_curvature)
    )
    return height, curvature


def _norm(two_theta: Float[np.ndarray, "line"], intensity: Float[np.ndarray, "line"], instrument: Instrument) -> float:
    """Return the root of the sum of the squared pattern over its points."""
    strong = intensity > 1e-5 * intensity.max()
    position, step = two_theta[strong], instrument.step_deg
    width = round(_NORM_REACH_DEG / step)
    nearest = np.round(position / step).astype(int)
    points = nearest[:, None] + np.arange(-width, width + 1)
    values = intensity[strong][:, None] * peak(points * step - position[:, None], instrument)
    n_points = round(instrument.two_theta_max_deg / step) + 1
    inside = (points >= 0) & (points < n_points)
    pattern = np.bincount(points[inside], weights=values[inside], minlength=n_points)
    return float(np.sqrt(np.sum(pattern**2)))


Shape = Callable[[Float[np.ndarray, "..."], Instrument], Float[np.ndarray, "..."]]


def peak(distance_deg: Float[np.ndarray, "..."], instrument: Instrument) -> Float[np.ndarray, "..."]:
    """Return a pseudo-Voigt peak of area 1, per degree."""
    gamma = instrument.fwhm_deg / 2.0
    variance = gamma**2 / (2.0 * np.log(2.0))
    square = distance_deg**2
    gaussian = np.exp(square * (-0.5 / variance)) / np.sqrt(2.0 * np.pi * variance)
    lorentzian = (gamma / np.pi) / (square + gamma**2)
    return (1.0 - instrument.lorentzian) * gaussian + instrument.lorentzian * lorentzian


def peak_curvature(distance_deg: Float[np.ndarray, "..."], instrument: Instrument) -> Float[np.ndarray, "..."]:
    """Return the second derivative of `peak`."""
    gamma = instrument.fwhm_deg / 2.0
    variance = gamma**2 / (2.0 * np.log(2.0))
    square = distance_deg**2
    gaussian = np.exp(square * (-0.5 / variance)) / np.sqrt(2.0 * np.pi * variance)
    lorentzian = (gamma / np.pi) * (6.0 * square - 2.0 * gamma**2) / (square + gamma**2) ** 3
    bent = gaussian * (square / variance**2 - 1.0 / variance)
    return (1.0 - instrument.lorentzian) * bent + instrument.lorentzian * lorentzian
