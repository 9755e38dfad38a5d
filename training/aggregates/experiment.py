"""Spheres in a soft X-ray free-electron laser, in nanometres and photons: what the simulator's units stand for.

One sphere of radius R in a pulse of F photons per area scatters, at small angles and in the first Born approximation,

    N = F r_e^2 rho_e^2 integral |V f(qR)|^2 dOmega = 2 pi F r_e^2 rho_e^2 lambda^2 R^4

photons (dOmega = lambda^2 d^2s with s = q/2 pi, and Parseval's theorem for the projected thickness).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from app.aggregates.setting import radius_px_from_geometry
from training.aggregates.detector import Detector
from training.aggregates.place import Growth
from training.aggregates.simulate import Simulation

CLASSICAL_ELECTRON_RADIUS_NM: Final = 2.8179403205e-6
"""r_e [nm], CODATA 2022."""
HC_KEV_NM: Final = 1.2398419843320026
"""Planck's constant times the speed of light [keV nm], exact in the SI of 2019."""
AVOGADRO_PER_MOL: Final = 6.02214076e23
"""Exact in the SI of 2019."""
STYRENE_ELECTRONS: Final = 56
"""Electrons of one C8H8."""
STYRENE_G_PER_MOL: Final = 104.15
"""Molar mass of C8H8, from the standard atomic weights C 12.011 and H 1.008 (IUPAC)."""
POLYSTYRENE_G_PER_CM3: Final = 1.05
"""Density of amorphous polystyrene, commonly quoted as 1.04 to 1.065."""
NM3_PER_CM3: Final = 1e21
POLYSTYRENE_ELECTRONS_PER_NM3: Final = (
    POLYSTYRENE_G_PER_CM3 / STYRENE_G_PER_MOL * AVOGADRO_PER_MOL * STYRENE_ELECTRONS / NM3_PER_CM3
)
"""About 340. Every electron counts as free: the photon energy is well above carbon's K edge at 0.284 keV."""
UM2_PER_NM2: Final = 1e-6

PNCCD_PIXEL_MM: Final = 0.075
"""Pixel of the 1 megapixel pnCCD of the SQS instrument at the European XFEL (its manual, chapter 4, "The pnCCD
Hardware"; Kuster et al., arXiv:2011.11443)."""
PNCCD_PHOTONS_AT_1_KEV: Final = 1500
"""Dynamic range of one of its pixels at 1 keV (the same chapter)."""


@dataclass(frozen=True)
class Experiment:
    """Equal spheres of polystyrene in the focus, and a pnCCD behind it.

    Pixel and dynamic range are the detector's. Energy lies in the instrument's range; diameter, distance, binning and
    fluence are choices that put about 10 nm on an object pixel and 1e5 to 3e6 photons on a pattern.

    Attributes:
        energy_kev: photon energy.
        diameter_nm: of the spheres.
        diameter_spread: standard deviation of the diameters as a share of their mean.
        distance_mm: from focus to detector.
        binning: detector pixels along each side of one pixel of a pattern.
        fluence_per_um2: smallest and largest number of photons per area that hits an aggregate: particles cross the
            focus anywhere.
    """

    energy_kev: float = 1.0
    diameter_nm: float = 100.0
    diameter_spread: float = 0.05
    distance_mm: float = 300.0
    binning: int = 4
    fluence_per_um2: tuple[float, float] = (2e9, 5e10)

    @property
    def wavelength_nm(self) -> float:
        return HC_KEV_NM / self.energy_kev

    @property
    def pixel_mm(self) -> float:
        """Side of one pixel of a pattern."""
        return self.binning * PNCCD_PIXEL_MM

    @property
    def object_pixel_nm(self) -> float:
        """What one object pixel is: lambda L/(128 p)."""
        return self.diameter_nm / 2 / self.radius_px

    @property
    def radius_px(self) -> float:
        """Radius of a sphere in object pixels."""
        return radius_px_from_geometry(
            radius_nm=self.diameter_nm / 2,
            wavelength_nm=self.wavelength_nm,
            distance_mm=self.distance_mm,
            pixel_mm=self.pixel_mm,
        )

    @property
    def full_well_photons(self) -> float:
        """Photons that one pixel of a pattern can hold."""
        return PNCCD_PHOTONS_AT_1_KEV / self.energy_kev * self.binning**2


def photons_per_sphere(*, fluence_per_um2: float, diameter_nm: float, wavelength_nm: float) -> float:
    """Photons that one sphere of polystyrene scatters: 2 pi F r_e^2 rho_e^2 lambda^2 R^4.

    Args:
        fluence_per_um2: photons per square micrometre in the pulse.
        diameter_nm: 2 R.
        wavelength_nm: lambda.
    """
    amplitude = CLASSICAL_ELECTRON_RADIUS_NM * POLYSTYRENE_ELECTRONS_PER_NM3 * wavelength_nm * (diameter_nm / 2) ** 2
    return 2 * np.pi * fluence_per_um2 * UM2_PER_NM2 * amplitude**2


def simulation(experiment: Experiment, detector: Detector | None = None) -> Simulation:
    """The simulation, in object pixels and photons, that stands for an experiment.

    Args:
        experiment: what is measured.
        detector: background, beam stop, gaps; its full well is taken from the experiment.

    Raises:
        InvalidInput: a length is not positive.
    """
    dimmest, brightest = (
        photons_per_sphere(
            fluence_per_um2=fluence, diameter_nm=experiment.diameter_nm, wavelength_nm=experiment.wavelength_nm
        )
        for fluence in experiment.fluence_per_um2
    )
    return Simulation(
        particle="sphere",
        radius_px=(experiment.radius_px, experiment.radius_px),
        size_spread=experiment.diameter_spread,
        growth=Growth(least_distance=2.0),
        photons=(dimmest, brightest),
        detector=replace(detector or Detector(), full_well_photons=experiment.full_well_photons),
    )
