"""Answers about S2 waveforms."""

from __future__ import annotations

from dataclasses import dataclass

from beamline_client.answers.shared import Remark, UsedModel


@dataclass(frozen=True)
class Pulse:
    """One pulse of a waveform; ``area`` is in the unit of the waveform times us."""

    time_us: float
    area: float
    share: float
    sigma_us: float
    rms_us: float


@dataclass(frozen=True)
class Waveform:
    """The answer for one waveform: 0, 1 or 2 S2s, and how far apart, given that there are two.

    None stands where nothing can be said; ``pulses`` are there where they were asked for.
    """

    number_of_s2: int | None
    p_two: float | None
    separation_us: float | None
    sigma_us: float | None
    low68_us: float | None
    high68_us: float | None
    low95_us: float | None
    high95_us: float | None
    separation_mm: float | None
    sigma_mm: float | None
    low68_mm: float | None
    high68_mm: float | None
    low95_mm: float | None
    high95_mm: float | None
    pulses: list[Pulse] | None
    warnings: list[Remark]


@dataclass(frozen=True)
class Detector:
    """The settings that were used."""

    drift_velocity_mm_per_us: float
    longitudinal_diffusion_cm2_per_s: float
    gas_gap_us: float
    phd_per_electron: float
    drift_min_us: float
    drift_max_us: float


@dataclass(frozen=True)
class WaveformAnswer:
    """Answers in the order of the waveforms."""

    model: UsedModel
    detector: Detector
    prior_two: float
    waveforms: list[Waveform]
