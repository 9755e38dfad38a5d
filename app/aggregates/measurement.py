"""What a caller declares of a measurement, in the detector's own pixels, and what follows for the models' grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from app.aggregates.setting import DETECTOR_PX, Particle, radius_px_from_geometry
from app.errors import InvalidInput

HC_EV_ANG: Final = 12_398.419843320026
"""Planck's constant times the speed of light [eV Angstrom], exact in the SI of 2019 (CODATA)."""
BEST_RADIUS_PX: Final = 5.0
"""Binning brings the particle's radius as near to this as it can: the radius at which the models are at their best."""


@dataclass(frozen=True)
class Note:
    """Something to know of an answer: a stable code, and the same in words."""

    code: str
    message: str


@dataclass(frozen=True)
class Measurement:
    """Sample and detector as the caller gives them; None where unknown.

    The radius comes as `radius_px`, or as the particle's radius with the geometry.

    Attributes:
        radius_px: 128 r p / (wavelength distance), with the particle's radius r and the detector's pixel p.
        particle_radius_nm: r.
        wavelength_ang, photon_energy_ev: of the X-rays; one of both.
        detector_distance_mm: from the sample.
        pixel_um: side of a pixel of the images as they are sent.
        particle: flat discs, or spheres in projection.
        beam_stop_px: radius of the beam stop [detector pixels]; None: found in mask and pattern.
        full_well: photons at which a pixel saturates.
        background: photons per pixel [1/detector pixel] that do not come from the aggregate.
        adu_per_photon: detector units of one photon; None: the values are photons.
        binning: detector pixels along each side of a grid point; None: chosen.
    """

    radius_px: float | None = None
    particle_radius_nm: float | None = None
    wavelength_ang: float | None = None
    photon_energy_ev: float | None = None
    detector_distance_mm: float | None = None
    pixel_um: float | None = None
    particle: Particle = "disc"
    beam_stop_px: float | None = None
    full_well: float | None = None
    background: float | None = None
    adu_per_photon: float | None = None
    binning: int | None = None


def wavelength_ang(measurement: Measurement) -> float | None:
    """Wavelength [Angstrom], from itself or the photon energy.

    Raises:
        InvalidInput: both are given.
    """
    if measurement.photon_energy_ev is None:
        return measurement.wavelength_ang
    if measurement.wavelength_ang is not None:
        raise InvalidInput("give wavelength_ang or photon_energy_ev, not both", details={"field": "photon_energy_ev"})
    return HC_EV_ANG / measurement.photon_energy_ev


def radius_in_image_px(measurement: Measurement) -> float:
    """The particle's radius in object pixels for the images' own pixels, before binning.

    Raises:
        InvalidInput: neither the radius nor all of the geometry is given, or both are.
    """
    geometry = {
        "particle_radius_nm": measurement.particle_radius_nm,
        "wavelength_ang (or photon_energy_ev)": wavelength_ang(measurement),
        "detector_distance_mm": measurement.detector_distance_mm,
        "pixel_um": measurement.pixel_um,
    }
    missing = [name for name, value in geometry.items() if value is None]
    if measurement.radius_px is not None:
        if measurement.particle_radius_nm is not None:
            raise InvalidInput(
                "give radius_px, or particle_radius_nm with the geometry", details={"field": "radius_px"}
            )
        return measurement.radius_px
    if missing:
        raise InvalidInput(
            "the size of the particles is not known: give radius_px, or particle_radius_nm with the geometry; missing "
            f"are {', '.join(missing)}",
            details={"field": "radius_px"},
        )
    radius_nm, wavelength, distance_mm, pixel_um = (float(value or 0.0) for value in geometry.values())
    return radius_px_from_geometry(
        radius_nm=radius_nm, wavelength_nm=wavelength / 10.0, distance_mm=distance_mm, pixel_mm=pixel_um / 1000.0
    )


def binning_for(radius_px: float, rows: int, columns: int) -> int:
    """Detector pixels along a side of a grid point: what brings the radius nearest to `BEST_RADIUS_PX`.

    At least 1, and no more than lets the grid lie on the image.
    """
    most = max(1, max(rows, columns) // DETECTOR_PX)
    wanted = BEST_RADIUS_PX / radius_px
    choices = {min(max(1, choice), most) for choice in (math.floor(wanted), math.ceil(wanted))}
    return min(choices, key=lambda choice: abs(math.log(choice * radius_px / BEST_RADIUS_PX)))
