"""What of a dual-phase xenon detector shapes an S2 pulse in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Float

MM2_PER_US_FROM_CM2_PER_S: Final = 1e-4


def diffusion_us_from_drift(
    drift_time_us: Float[np.ndarray, "*any"] | float,
    *,
    drift_velocity_mm_per_us: Float[np.ndarray, "*any"] | float,
    longitudinal_diffusion_cm2_per_s: Float[np.ndarray, "*any"] | float,
) -> Float[np.ndarray, "*any"]:
    """Standard deviation of the arrival times after a drift [us]: sqrt(2 D_L t) / v (Sorensen, NIM A 635, 2011)."""
    d_mm2_per_us = np.asarray(longitudinal_diffusion_cm2_per_s) * MM2_PER_US_FROM_CM2_PER_S
    return np.sqrt(2.0 * d_mm2_per_us * np.asarray(drift_time_us)) / drift_velocity_mm_per_us


@dataclass(frozen=True)
class Detector:
    """Transport and amplification of the electrons.

    Attributes:
        drift_velocity_mm_per_us: of electrons in the liquid.
        longitudinal_diffusion_cm2_per_s: D_L of electrons in the liquid.
        gas_gap_us: for how long one electron makes light while it crosses the gas.
        phd_per_electron: mean detected photons of one extracted electron.
        drift_min_us, drift_max_us: shortest and longest drift time of an event.
    """

    drift_velocity_mm_per_us: float = 1.5
    longitudinal_diffusion_cm2_per_s: float = 26.0
    gas_gap_us: float = 1.1
    phd_per_electron: float = 40.0
    drift_min_us: float = 20.0 / 1.5
    drift_max_us: float = 1450.0 / 1.5

    def diffusion_us(self, drift_time_us: Float[np.ndarray, "*any"] | float) -> Float[np.ndarray, "*any"]:
        """Standard deviation of the arrival times after a drift [us]: sqrt(2 D_L t) / v (Sorensen, NIM A 635, 2011)."""
        return diffusion_us_from_drift(
            drift_time_us,
            drift_velocity_mm_per_us=self.drift_velocity_mm_per_us,
            longitudinal_diffusion_cm2_per_s=self.longitudinal_diffusion_cm2_per_s,
        )


DETECTORS: Final[Mapping[str, Detector]] = MappingProxyType(
    {
        "reference": Detector(),
        # LZ at 96.5 V/cm: drift velocity, longest drift and single electron (46.85 phd) are NEST's for LZ_WS2024.hh
        # (nestpy 2.1.3); D_L is NEST's GetDiffLong_Liquid. The gap is derived: 8.0 mm at 6.18 mm/us, the velocity of
        # NEST's SetDriftVelocity_MagBoltz at 8.30 kV/cm, 1.86 bar, 175.9 K.
        "lz-ws2024": Detector(1.330, 27.5, 1.29, 46.9, 10.0, 1029.0),
        # XENON1T: pax, config/XENON1T.ini; 969 mm long. The gap is derived: 2.66 mm at 7.41 mm/us, the same formula at
        # 10.2 kV/cm (4 kV over 2.66 mm of gas and 2.34 mm of liquid of permittivity 1.874), 1.94 bar, 177 K.
        "xenon1t": Detector(1.440, 22.8, 0.36, 21.3, 10.0, 673.0),
        # XENONnT-like: fuse, examples/files/XENONnT_public_config.json; 1486.5 mm long. It is not the running detector:
        # at 23 V/cm electrons drift at 0.62 mm/us (NEST). The light is 21.3 photoelectrons per electron over 1.219
        # photoelectrons per photon. The gap is derived: 2.99 mm at 4.98 mm/us, as above at 7.0 kV/cm.
        "xenonnt": Detector(1.335, 44.5, 0.60, 17.5, 10.0, 1113.0),
    }
)
"""Named settings. The shipped model learned from `reference`, where methods are compared, and a range around all."""
