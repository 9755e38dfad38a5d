"""Events of many detectors, from a broad prior around the real ones, for networks that take the detector as input."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

import numpy as np
from numpy.random import Generator

from app.waveform.detector import MM2_PER_US_FROM_CM2_PER_S, Detector
from training.waveform.settings import XENON1T_NOISE_AR, Electronics, Emission, Population, Simulation
from training.waveform.simulate import Events, Transport, draw_truth, measure

WIDEST_US: Final = 3.5
"""Diffusion beyond this does not fit the window together with the longest separation; drift ends before it."""

SHORTEST_DRIFT_US: Final = 5.0


def random_detector(rng: Generator) -> Detector:
    """Draw a detector.

    The ranges hold all of `app.waveform.detector.DETECTORS` and what NEST gives for fields of 23 to 400 V/cm (drift
    velocity, longitudinal diffusion), gaps of 2.5 to 8 mm in fields of 6 to 11 kV/cm, and single electrons from those
    of small prototypes to LZ's.
    """
    velocity = rng.uniform(0.6, 2.0)
    diffusion = rng.uniform(15.0, 50.0)
    longest = (WIDEST_US * velocity) ** 2 / (2.0 * diffusion * MM2_PER_US_FROM_CM2_PER_S)
    return Detector(
        drift_velocity_mm_per_us=velocity,
        longitudinal_diffusion_cm2_per_s=diffusion,
        gas_gap_us=rng.uniform(0.25, 1.8),
        phd_per_electron=_log_uniform(rng, 10.0, 80.0),
        drift_min_us=SHORTEST_DRIFT_US,
        drift_max_us=min(rng.uniform(200.0, 1150.0), longest),
    )


def random_emission(rng: Generator) -> Emission:
    """Draw the light's details; in half of the cases none, as in the reference."""
    if rng.random() < 0.5:
        return Emission()
    return Emission(
        gain_spread=rng.uniform(0.0, 0.4),
        trapping_us=rng.uniform(0.0, 0.2),
        singlet_us=0.00588,
        triplet_us=rng.uniform(0.08, 0.12),
        singlet_share=rng.uniform(0.2, 0.6),
        transit_us=rng.uniform(0.0, 0.006),
        charge_spread=rng.uniform(0.2, 0.5),
        double_share=rng.uniform(0.1, 0.25),
    )


def random_electronics(rng: Generator) -> Electronics:
    """Draw noise, white or coloured, and baseline; nothing is clipped, since a clipped pulse is refused or flagged."""
    detailed = rng.random() < 0.5
    return Electronics(
        noise_phd=rng.uniform(0.0, 3.0) if rng.random() < 0.5 else rng.uniform(0.0, 1.0),
        noise_ar=_noise_ar(rng) if detailed else (),
        pulse_sigma_us=rng.uniform(0.0, 0.02) if detailed else 0.0,
        baseline_phd=3.0 if detailed else 0.0,
        drift_phd=rng.uniform(0.0, 1.0) if detailed else 0.0,
        step_phd=rng.uniform(0.01, 0.5) if detailed else 0.0,
    )


def random_simulation(rng: Generator) -> Simulation:
    """Draw detector, light and electronics. Separations and splits are the reference's; electrons reach further."""
    population = Population(electrons_min=int(rng.integers(150, 301)), electrons_max=int(rng.integers(3000, 6001)))
    return Simulation(random_detector(rng), random_emission(rng), random_electronics(rng), population)


def simulate_mixed(n: int, rng: Generator, *, two_share: float = 1.0) -> Events:
    """Draw ``n`` events, each of its own detector; light, electronics and population are one draw for all of them."""
    settings = random_simulation(rng)
    detectors = [random_detector(rng) for _ in range(n)]
    transport = Transport(**{f.name: np.array([getattr(d, f.name) for d in detectors]) for f in fields(Transport)})
    drift_time_us = rng.uniform(SHORTEST_DRIFT_US, [detector.drift_max_us for detector in detectors])
    truth = draw_truth(settings.population, transport, drift_time_us, rng, two_share=two_share)
    return measure(truth, settings.emission, settings.electronics, rng)


def _noise_ar(rng: Generator) -> tuple[float, ...]:
    """XENON1T's, or a first-order one of a correlation of up to 0.9 between neighbours."""
    return XENON1T_NOISE_AR if rng.random() < 0.5 else (float(rng.uniform(0.0, 0.9)),)


def _log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
