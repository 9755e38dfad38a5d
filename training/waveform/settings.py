"""What a simulated S2 depends on besides the detector: light, electronics and the population of events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from app.waveform.detector import DETECTORS, Detector

SAMPLES: Final = 5000
SAMPLE_US: Final = 0.01
"""Sampling of XENON1T, XENONnT and LZ: 10 ns (pax, config/XENON1T.ini; LZ, NIM A 953, 2020, 163047)."""

WINDOW_US: Final = SAMPLES * SAMPLE_US

XENON1T_NOISE_AR: Final = (
    0.530, 0.291, -0.020, 0.133, -0.070, 0.063, -0.216, -0.045, -0.148, 0.013, -0.051, 0.231,
)  # fmt: skip
"""Autoregression of the summed noise of XENON1T at 10 ns: Yule-Walker of order 12 on the run 170203_0850 that is in
XENONnT/strax_auxiliary_files (10,000 samples, 248 channels)."""


@dataclass(frozen=True)
class Emission:
    """From an extracted electron to photoelectrons in time. The defaults are those of the reference setting.

    Attributes:
        gain_spread: relative standard deviation of the light of one electron beyond Poisson (position, wires, Fano).
        trapping_us: mean of an exponential delay before an electron leaves the liquid [us].
        singlet_us, triplet_us: decay times of the gas excimers [us]; zero is prompt.
        singlet_share: share of the singlet among the photons.
        transit_us: standard deviation of a photomultiplier's transit time [us].
        charge_spread: relative standard deviation of the charge of one photoelectron (gamma distributed).
        double_share: probability that a detected photon frees two photoelectrons.
    """

    gain_spread: float = 0.0
    trapping_us: float = 0.0
    singlet_us: float = 0.0
    triplet_us: float = 0.0
    singlet_share: float = 1.0
    transit_us: float = 0.0
    charge_spread: float = 0.0
    double_share: float = 0.0


@dataclass(frozen=True)
class Electronics:
    """From photoelectrons to samples. The defaults are those of the reference setting.

    Attributes:
        noise_phd: standard deviation of the noise of one sample [phd].
        noise_ar: coefficients of the noise's autoregression at 10 ns; empty is white noise.
        pulse_sigma_us: width of the pulse of one photoelectron [us], a Gaussian; zero is shorter than a sample.
        baseline_phd: the baseline's offset is uniform within plus and minus this [phd per sample].
        drift_phd: the baseline's change over the window, a straight line, uniform within plus and minus this [phd].
        step_phd: least step of the digitiser [phd]; zero is none.
        full_scale_phd: where the digitiser saturates [phd per sample].
    """

    noise_phd: float = 0.5
    noise_ar: tuple[float, ...] = ()
    pulse_sigma_us: float = 0.0
    baseline_phd: float = 0.0
    drift_phd: float = 0.0
    step_phd: float = 0.0
    full_scale_phd: float = float("inf")


@dataclass(frozen=True)
class Population:
    """Which events there are. The defaults are those of the reference setting.

    Attributes:
        electrons_min, electrons_max: extracted electrons of both scatters together, uniform, both included.
        split_min, split_max: share of the first scatter, uniform.
        d_max_us: longest separation; it is a whole number of samples, uniform from zero on.
        jitter_us: the pulse lies uniformly within plus and minus this around the middle of the window [us].
    """

    electrons_min: int = 300
    electrons_max: int = 3000
    split_min: float = 0.3
    split_max: float = 0.7
    d_max_us: float = 8.0
    jitter_us: float = 6.0


@dataclass(frozen=True)
class Simulation:
    """All that a set of events depends on, but for the seed and the share of two scatters."""

    detector: Detector = field(default_factory=lambda: DETECTORS["reference"])
    emission: Emission = field(default_factory=Emission)
    electronics: Electronics = field(default_factory=Electronics)
    population: Population = field(default_factory=Population)


REALISTIC_EMISSION: Final = Emission(
    gain_spread=0.2,  # chosen: with the Poisson spread of 47 phd a single electron is 25 % wide
    trapping_us=0.14,  # XENONnT/fuse, public configuration: electron_trapping_time
    singlet_us=0.00588,  # XENONnT/fuse, public configuration: singlet_lifetime_gas
    triplet_us=0.1001,  # XENONnT/fuse, public configuration: triplet_lifetime_gas
    singlet_share=0.35,  # XENONnT/fuse, public configuration: singlet_fraction_gas
    transit_us=0.009 / 2.3548,  # XENONnT/fuse: 9 ns, the full width at half maximum of the R11410
    charge_spread=0.41,  # XENON1T: median of 248 photomultipliers in XENON1T_spe_distributions.csv
    double_share=0.219,  # XENONnT/fuse, public configuration: p_double_pe_emision
)
REALISTIC_ELECTRONICS: Final = Electronics(
    noise_ar=XENON1T_NOISE_AR,
    pulse_sigma_us=0.01,
    baseline_phd=2.0,
    drift_phd=1.0,
    step_phd=0.05,
    full_scale_phd=800.0,
)

SIMULATIONS: Final[Mapping[str, Simulation]] = MappingProxyType(
    {name: Simulation(detector) for name, detector in DETECTORS.items()}
    | {"realistic": Simulation(DETECTORS["lz-ws2024"], REALISTIC_EMISSION, REALISTIC_ELECTRONICS)}
)
"""Named settings: each detector with the reference's light and electronics, and `realistic` with all effects on."""
