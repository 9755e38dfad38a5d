"""K-alpha lines of X-ray tubes, and where the second line of a doublet stands."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float

from app.indexing.patterns.pattern import Doublet

TUBES: Final[dict[str, Doublet]] = {
    "Cr": Doublet(2.2897263, 2.2936513),
    "Fe": Doublet(1.9360413, 1.9399733),
    "Co": Doublet(1.7889960, 1.7928350),
    "Cu": Doublet(1.5405929, 1.5444274),
    "Mo": Doublet(0.7093172, 0.7136070),
    "Ag": Doublet(0.5594218, 0.5638131),
}
"""K-alpha1 and K-alpha2 in Angstrom: Hoelzer et al., Phys. Rev. A 56 (1997) 4554 (Cr to Cu); Deslattes et al., Rev.
Mod. Phys. 75 (2003) 35 (Mo, Ag)."""

TOLERANCE: Final = 1.5e-4
"""Relative: tables of the last sixty years differ by 3e-5, users give four digits."""


def doublet_of_tube(wavelength_ang: float) -> Doublet | None:
    """The doublet of the tube whose K-alpha1, or weighted mean of both lines, this is; None where it is no tube's.

    The doublet's ratio of wavelengths is the table's, its K-alpha1 the one given.
    """
    for tube in TUBES.values():
        ratio = tube.alpha2_ang / tube.alpha1_ang
        if abs(wavelength_ang / tube.alpha1_ang - 1) < TOLERANCE:
            return Doublet(wavelength_ang, wavelength_ang * ratio)
        if abs(wavelength_ang / mean_wavelength(tube) - 1) < TOLERANCE:
            return tube
    return None


def mean_wavelength(doublet: Doublet) -> float:
    """The mean of both lines, weighted by intensity: 1.5418 Angstrom for copper."""
    return (doublet.alpha1_ang + doublet.ratio * doublet.alpha2_ang) / (1 + doublet.ratio)


def alpha2_from_alpha1(
    *, two_theta_deg: Float[np.ndarray, "..."], doublet: Doublet
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """2theta of K-alpha2 for lines at 2theta of K-alpha1, and its derivative; both degrees.

    Beyond the angle that K-alpha2 can reach it stands at 180 degrees.
    """
    ratio = doublet.alpha2_ang / doublet.alpha1_ang
    theta = np.radians(np.asarray(two_theta_deg, float) / 2)
    sine = np.minimum(ratio * np.sin(theta), 1.0)
    cosine = np.sqrt(np.maximum(1 - sine**2, 1e-12))
    return np.degrees(2 * np.arcsin(sine)), ratio * np.cos(theta) / cosine
