"""A unit cell by its six named constants."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UnitCell:
    """Lengths in Angstrom, angles in degrees; hexagonal and rhombohedral lattices in hexagonal axes, gamma = 120."""

    a_ang: float
    b_ang: float
    c_ang: float
    alpha_deg: float
    beta_deg: float
    gamma_deg: float

    @property
    def constants(self) -> tuple[float, float, float, float, float, float]:
        """The six constants in the usual order."""
        return (self.a_ang, self.b_ang, self.c_ang, self.alpha_deg, self.beta_deg, self.gamma_deg)
