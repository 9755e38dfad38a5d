"""Make the small files that the console offers as examples: ``python -m tests.console.make_examples``."""

from __future__ import annotations

import shutil
from pathlib import Path

import gemmi
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "app" / "static" / "console" / "examples"
CU_KA1_ANG = 1.540593

QUARTZ_CELL = (4.9134, 4.9134, 5.4052, 90.0, 90.0, 120.0)
QUARTZ_ATOMS = (("Si", (0.4697, 0.0, 2 / 3)), ("O", (0.4135, 0.2669, 0.7858)))
"""Levien, Prewitt and Weidner, Am. Mineral. 65 (1980) 920, in the axes of the International Tables."""


def quartz() -> str:
    """Powder pattern of quartz: intensities of its structure, pseudo-Voigt lines, Poisson noise."""
    two_theta = np.arange(18.0, 84.0, 0.025)
    counts = 60.0 - 0.35 * two_theta
    for position, intensity in _quartz_lines():
        counts += intensity * _line(two_theta - position, 0.13 + 0.0003 * position)
    noisy = np.random.default_rng(1).poisson(counts)
    rows = [f"{x:.3f} {n}" for x, n in zip(two_theta, noisy, strict=True)]
    return "# quartz, simulated: 2theta [deg], counts\n" + "\n".join(rows) + "\n"


def _line(x: np.ndarray, fwhm: float) -> np.ndarray:
    gauss = np.exp(-4 * np.log(2) * (x / fwhm) ** 2)
    return 0.6 * gauss + 0.4 / (1 + 4 * (x / fwhm) ** 2)


def _quartz_lines() -> list[tuple[float, float]]:
    structure = gemmi.SmallStructure()
    structure.cell = gemmi.UnitCell(*QUARTZ_CELL)
    structure.spacegroup = group = gemmi.SpaceGroup("P 32 2 1")
    for element, place in QUARTZ_ATOMS:
        site = gemmi.SmallStructure.Site()
        site.label = site.type_symbol = element
        site.element = gemmi.Element(element)
        site.fract = gemmi.Fractional(*place)
        site.occ, site.u_iso = 1.0, 0.008
        structure.add_site(site)
    structure.setup_cell_images()
    calculator = gemmi.StructureFactorCalculatorX(structure.cell)
    found = {}
    for hkl in gemmi.make_miller_array(structure.cell, group, dmin=1.09, unique=False):
        d = structure.cell.calculate_d(hkl)
        theta = np.arcsin(CU_KA1_ANG / (2 * d))
        lorentz = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
        power = abs(calculator.calculate_sf_from_small_structure(structure, list(hkl))) ** 2 * lorentz
        key = round(float(np.degrees(2 * theta)), 4)
        found[key] = found.get(key, 0.0) + float(power)
    strongest = max(found.values())
    return [(position, 6000.0 * power / strongest) for position, power in sorted(found.items())]


def two_s2() -> np.ndarray:
    """Photons of 700 and 500 electrons that arrive 2.7 us apart, digitized."""
    rng = np.random.default_rng(1)
    electrons_us = np.concatenate([rng.normal(23.4, 0.96, 700), rng.normal(26.1, 0.96, 500)])
    photons_us = np.repeat(electrons_us, 40) + rng.uniform(0.0, 1.1, 40 * 1200)
    counts = np.histogram(photons_us, 5000, (0.0, 50.0))[0] + rng.normal(0.0, 0.5, 5000) + 8.0
    return np.clip(np.round(counts), 0, 255).astype(np.uint8)[None]


def three_discs() -> np.ndarray:
    """Photons behind three touching discs of radius 5 in a grid of 128: a disc's pattern times their interference."""
    y, x = np.mgrid[-32:32, -32:32] / 128
    z = 2 * np.pi * 5 * np.maximum(np.hypot(x, y), 1e-9)
    angle = (np.arange(256) + 0.5) * np.pi / 256
    bessel = np.cos(angle - z[..., None] * np.sin(angle)).mean(axis=-1)
    turns = np.radians([20.0, 140.0, 260.0])
    places = 10 / np.sqrt(3) * np.stack([np.cos(turns), np.sin(turns)])
    waves = np.exp(2j * np.pi * (places[0, :, None, None] * x + places[1, :, None, None] * y)).sum(axis=0)
    expected = 5e3 * (2 * bessel / z) ** 2 * np.abs(waves) ** 2 + 0.05
    photons = np.random.default_rng(1).poisson(expected)
    photons[np.hypot(x, y) * 128 <= 3] = 0
    return np.minimum(photons, 65535).astype(np.uint16)


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "docs" / "examples" / "decay.fli", FOLDER / "decay.fli")
    (FOLDER / "quartz.xy").write_text(quartz(), encoding="ascii")
    np.save(FOLDER / "two-s2.npy", two_s2())
    np.save(FOLDER / "three-discs.npy", three_discs())


if __name__ == "__main__":
    main()
