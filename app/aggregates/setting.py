"""What is declared about a measurement of an aggregate's diffraction pattern.

Lengths of the object are in *object pixels*: the unit in which one detector pixel is 1/128 of a cycle per pixel, so
that the 64 x 64 pixels around the beam are what is left of a 128 x 128 Fourier transform of a 64 x 64 object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from app.errors import InvalidInput

Particle = Literal["disc", "sphere"]
PARTICLES: Final[tuple[Particle, ...]] = get_args(Particle)

Verdict = Literal["fits", "radius", "particle", "mask", "object"]
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
"""Whether a pattern fits what is declared, and if not, what it is that does not fit."""

DETECTOR_PX: Final = 64
"""Rows and columns of a pattern."""
TRANSFORM_PX: Final = 128
"""Samples of the Fourier transform along one axis; one detector pixel is 1/TRANSFORM_PX cycles per object pixel."""
COUNTS: Final = (1, 2, 3, 4, 5)
"""Numbers of particles that a model tells apart, in the order of its probabilities."""


@dataclass(frozen=True)
class Setting:
    """What is known of the sample and the detector.

    Attributes:
        radius_px: radius of one particle [object pixels].
        beam_stop_px: radius of the beam stop around the beam centre [detector pixels]; 0 without one.
        particle: flat discs (thin cylinders along the beam) or spheres in projection.
        full_well: counts at which a pixel saturates; None where unknown.
        background: expected background per pixel [photons]; None where unknown.
    """

    radius_px: float = 5.0
    beam_stop_px: float = 3.0
    particle: Particle = "disc"
    full_well: float | None = 2e4
    background: float | None = 0.05

    def __post_init__(self) -> None:
        if not 0.0 < self.radius_px < float("inf"):
            raise InvalidInput(f"the radius is {self.radius_px:g} object pixels; it must be positive and finite")
        if not 0.0 <= self.beam_stop_px < DETECTOR_PX / 2:
            raise InvalidInput(
                f"the radius of the beam stop is {self.beam_stop_px:g} detector pixels; it must be at least 0 and "
                f"less than {DETECTOR_PX // 2}"
            )
        if self.particle not in PARTICLES:
            raise InvalidInput(f"particle is {self.particle!r}; it must be one of {', '.join(PARTICLES)}")
        if self.full_well is not None and not self.full_well > 0.0:
            raise InvalidInput(f"the full well is {self.full_well:g} counts; it must be positive, or left out")
        if self.background is not None and not 0.0 <= self.background < float("inf"):
            raise InvalidInput(f"the background is {self.background:g} photons per pixel; it must not be negative")


def radius_px_from_geometry(*, radius_nm: float, wavelength_nm: float, distance_mm: float, pixel_mm: float) -> float:
    """Radius in object pixels, for small angles: q = x / (wavelength distance) [1/nm] at x from the beam.

    A detector pixel is `pixel_mm / (wavelength_nm distance_mm)` cycles per nm; an object pixel is what makes that
    1/128 of a cycle.

    Raises:
        InvalidInput: a length is not positive.
    """
    lengths = {"radius_nm": radius_nm, "wavelength_nm": wavelength_nm, "distance_mm": distance_mm, "pixel_mm": pixel_mm}
    for name, length in lengths.items():
        if not 0.0 < length < float("inf"):
            raise InvalidInput(f"{name} is {length:g}; it must be positive and finite")
    return TRANSFORM_PX * radius_nm * pixel_mm / (wavelength_nm * distance_mm)
