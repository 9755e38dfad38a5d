"""The kinematic powder pattern of a structure as a list of lines."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
from jaxtyping import Float

from training.indexing.data.amcsd import Site, Structure

# An isotropic B of 0.6 Angstrom^2, usual in minerals at room temperature, where none was published.
_U_ISO_ANG2 = 0.6 / (8.0 * np.pi**2)


@dataclass(frozen=True)
class LineOptions:
    """How a pattern becomes a list of lines.

    Attributes:
        wavelength_ang: of the radiation.
        two_theta_max_deg: end of the pattern.
        minimum_percent: lines weaker than this share of the strongest are not seen.
        merge_deg: neighbours closer than this are one line, at their intensity-weighted mean.
        n_lines: lines kept, from the lowest angle.
        sigma_deg: standard deviation of the noise added to each 2theta after merging.
    """

    wavelength_ang: float = 1.5406
    two_theta_max_deg: float = 90.0
    minimum_percent: float = 0.3
    merge_deg: float = 0.07
    n_lines: int = 20
    sigma_deg: float = 0.0


@dataclass(frozen=True)
class Lines:
    """Lines in ascending 2theta; intensity in percent of the strongest line of the whole pattern."""

    two_theta_deg: Float[np.ndarray, "peak"]
    intensity: Float[np.ndarray, "peak"]


def reflections(structure: Structure, *, d_min_ang: float) -> tuple[Float[np.ndarray, "ref"], Float[np.ndarray, "ref"]]:
    """Return d (Angstrom) and m |F|^2 of every reflection family down to ``d_min_ang``.

    m counts the members of the family, Friedel mates included; F is gemmi's sum over the cell with X-ray form
    factors (International Tables C, 6.1.1) and isotropic displacements.
    """
    group = structure.space_group
    assert group is not None  # noqa: S101
    small, operations = _small_structure(structure), group.operations()
    calculator = gemmi.StructureFactorCalculatorX(small.cell)
    hkl = gemmi.make_miller_array(small.cell, group, d_min_ang)
    strength = [
        _members(operations, index) * abs(calculator.calculate_sf_from_small_structure(small, index)) ** 2
        for index in hkl.tolist()
    ]
    return small.cell.calculate_d_array(hkl), np.array(strength)


def line_list(structure: Structure, options: LineOptions, rng: np.random.Generator | None = None) -> Lines:
    """Return what a peak search would list for ``structure``: weak lines dropped, neighbours merged, noise added."""
    d_min = options.wavelength_ang / 2.0 / np.sin(np.radians(options.two_theta_max_deg / 2.0))
    d, strength = reflections(structure, d_min_ang=d_min)
    theta = np.arcsin(np.clip(options.wavelength_ang / (2.0 * d), 0.0, 1.0))
    full = Lines(np.degrees(2.0 * theta), strength * lorentz_polarisation(theta))
    merged = merge(full, options)
    keep = slice(None, options.n_lines)
    two_theta = merged.two_theta_deg[keep]
    if rng is not None and options.sigma_deg > 0:
        two_theta = two_theta + rng.normal(0.0, options.sigma_deg, two_theta.size)
    order = np.argsort(two_theta)
    return Lines(two_theta[order], merged.intensity[keep][order])


def lorentz_polarisation(theta_rad: Float[np.ndarray, "ref"]) -> Float[np.ndarray, "ref"]:
    """Return (1 + cos^2 2theta) / (sin^2 theta cos theta): unpolarised beam, no monochromator, Debye-Scherrer rings."""
    return (1.0 + np.cos(2.0 * theta_rad) ** 2) / (np.sin(theta_rad) ** 2 * np.cos(theta_rad))


def merge(lines: Lines, options: LineOptions) -> Lines:
    """Join each chain of neighbours closer than ``merge_deg``, then drop what is weak against the strongest."""
    joined = _joined(lines, gap_deg=options.merge_deg)
    percent = 100.0 * joined.intensity / joined.intensity.max()
    seen = percent > options.minimum_percent
    return Lines(joined.two_theta_deg[seen], percent[seen])


def _joined(lines: Lines, *, gap_deg: float) -> Lines:
    order = np.argsort(lines.two_theta_deg)
    two_theta, intensity = lines.two_theta_deg[order], lines.intensity[order]
    starts = np.flatnonzero(np.diff(two_theta, prepend=-np.inf) >= gap_deg)
    total = np.add.reduceat(intensity, starts)
    moment = np.add.reduceat(intensity * two_theta, starts)
    count = np.diff(np.append(starts, two_theta.size))
    plain = np.add.reduceat(two_theta, starts) / count
    return Lines(np.divide(moment, total, out=plain, where=total > 0), total)


def _members(operations: gemmi.GroupOps, hkl: list[int]) -> int:
    """Count the reflections equivalent to ``hkl`` under the Laue class."""
    orbit = len(operations.sym_ops) // operations.epsilon_factor_without_centering(hkl)
    return orbit if operations.is_reflection_centric(hkl) else 2 * orbit


def _small_structure(structure: Structure) -> gemmi.SmallStructure:
    assert structure.space_group is not None  # noqa: S101
    small = gemmi.SmallStructure()
    small.cell = structure.cell
    small.symops = [operation.triplet() for operation in structure.space_group.operations()]
    small.determine_and_set_spacegroup("S")
    for site in structure.sites:
        small.add_site(_gemmi_site(site))
    small.setup_cell_images()
    small.change_occupancies_to_crystallographic()
    return small


def _gemmi_site(site: Site) -> gemmi.SmallStructure.Site:
    made = gemmi.SmallStructure.Site()
    made.label = site.label
    made.type_symbol = site.element
    made.element = gemmi.Element(site.element)
    made.fract = gemmi.Fractional(*site.fract)
    made.occ = site.occupancy
    made.u_iso = _U_ISO_ANG2 if site.u_iso_ang2 is None or site.u_iso_ang2 <= 0 else site.u_iso_ang2
    return made
