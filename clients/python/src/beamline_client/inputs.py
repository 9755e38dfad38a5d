"""What the methods take beside the measurement: plain dictionaries with the names and units of the service.

Whatever is left out has the service's own default.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypedDict

from beamline_client.answers.indexing import Bravais
from beamline_client.encoding import Numbers

DateTime = str | datetime
Picture = Literal["png", "svg"]


class _Cell(TypedDict):
    cell_id: str
    pressure_bar: float


class Analyser(_Cell):
    """The analyser cell of the amorphous set-up."""


class _Polarizer(_Cell):
    lab_polarization: float


class Polarizer(_Polarizer, total=False):
    """The polarizer cell; when the lab polarization was measured, as a date-time or in seconds."""

    lab_time: DateTime
    lab_time_s: float


class Calibration(TypedDict, total=False):
    """A measured polarization, or the flipping ratio, with its standard deviation and its time."""

    time: DateTime
    time_s: float
    polarization: float
    sigma: float
    flipping_ratio: float
    flipping_ratio_sigma: float


class PredictAt(TypedDict, total=False):
    """Where to predict: a list of times, or a grid."""

    times: Sequence[DateTime]
    times_s: Numbers
    start: DateTime
    stop: DateTime
    start_s: float
    stop_s: float
    step_s: float


class _Experiment(TypedDict):
    material: Literal["crystalline", "amorphous"]
    polarizer: Polarizer


class Experiment(_Experiment, total=False):
    """One decay: the cells, the calibrations, and where to predict."""

    name: str
    analyser: Analyser
    initial: Calibration
    final: Calibration
    predict_at: PredictAt
    threshold_polarization: float
    measured: Sequence[Calibration]


class PolarizationOptions(TypedDict, total=False):
    """Which model answers, and whether the curve passes through the calibrations."""

    model: str | Sequence[str]
    version: str
    correction: Literal["sloped", "none"]


class PolarizationFileOptions(TypedDict, total=False):
    """The same beside files."""

    step_s: float
    correction: Literal["sloped", "none"]
    model: str
    version: str
    threshold_polarization: float
    filename: str


class Lines(TypedDict, total=False):
    """Lines of one powder pattern: exactly one kind of position."""

    name: str
    d_ang: Numbers
    q_inv_ang: Numbers
    q_2pi_inv_ang: Numbers
    q2_inv_ang2: Numbers
    two_theta_deg: Numbers
    sigma_d_ang: float | Numbers
    sigma_q_inv_ang: float | Numbers
    sigma_q_2pi_inv_ang: float | Numbers
    sigma_q2_inv_ang2: float | Numbers
    sigma_two_theta_deg: float | Numbers
    intensity: Numbers
    wavelength_ang: float
    xray_energy_kev: float
    neutron_energy_mev: float


class SearchOptions(TypedDict, total=False):
    """What to search. A good pattern needs none of these."""

    lattices: Sequence[Bravais]
    min_length_ang: float
    max_length_ang: float
    max_volume_ang3: float
    max_impurities: int
    zero_shift_deg: float
    max_peaks: int
    max_seconds: float
    seed: int
    device: Literal["auto", "cpu", "gpu"]
    max_solutions: int
    learned: bool
    models: Sequence[str]


class Question(Lines, SearchOptions, total=False):
    """Lines of one pattern, and what to search."""


class PatternOptions(TypedDict, total=False):
    """What may be said of a measured pattern."""

    filename: str
    axis: Literal["two_theta_deg", "d_ang", "q_inv_ang", "q_2pi_inv_ang", "q_2pi_inv_nm"]
    wavelength_ang: float
    min_snr: float
    two_theta_min_deg: float
    two_theta_max_deg: float
    k_alpha2: Literal["auto", "yes", "no"]


class PeaksOptions(PatternOptions, total=False):
    """What may be said beside a pattern whose lines are asked for."""

    max_peaks: int


class SolveFileOptions(PatternOptions, SearchOptions, total=False):
    """What may be said beside files whose cells are asked for."""

    content: Literal["auto", "pattern", "lines"]


class DetectorFields(TypedDict, total=False):
    """Settings of a detector; each goes before that of the named detector."""

    drift_velocity_mm_per_us: float
    longitudinal_diffusion_cm2_per_s: float
    gas_gap_us: float
    phd_per_electron: float
    drift_min_us: float
    drift_max_us: float


class DetectorSettings(DetectorFields, total=False):
    """A named detector, with settings that differ."""

    name: str


class _WaveformOptions(TypedDict, total=False):
    prior_two: float
    length: Literal["refuse", "resample"]
    sample_period_ns: float
    polarity: Literal["auto", "positive", "negative"]
    pulses: bool
    model: str
    version: str
    show: Sequence[int]


class WaveformOptions(_WaveformOptions, total=False):
    """What may be said of waveforms; ``drift_time_us`` for all, or for each with None where unknown."""

    detector: str | DetectorSettings
    drift_time_us: float | Sequence[float | None]


class WaveformFileOptions(_WaveformOptions, DetectorFields, total=False):
    """The same beside a file."""

    detector: str
    drift_time_us: float
    dataset: str
    filename: str


class _AggregatesOptions(TypedDict, total=False):
    radius_px: float
    particle_radius_nm: float
    wavelength_ang: float
    photon_energy_ev: float
    detector_distance_mm: float
    pixel_um: float
    particle: Literal["disc", "sphere"]
    beam_stop_px: float
    full_well: float
    background: float
    adu_per_photon: float
    binning: int
    mask_marks: Literal["bad", "good"]
    model: str
    version: str


class AggregatesOptions(_AggregatesOptions, total=False):
    """What is declared of sample and detector; ``centre_px`` (row, column) for all patterns or for each."""

    centre_px: Numbers | Sequence[Numbers]


class AggregatesFileOptions(_AggregatesOptions, total=False):
    """The same beside a file; ``first`` and ``count`` take a part of its images."""

    centre_px: tuple[float, float]
    dataset: str
    mask_dataset: str
    first: int
    count: int
