"""Answers about the decay of the polarization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from beamline_client.answers.shared import Remark, UsedModel


@dataclass(frozen=True)
class Anchor:
    """A calibration as it was used."""

    role: Literal["initial", "final"]
    time_s: float
    time: str | None
    polarization: float
    sigma: float


@dataclass(frozen=True)
class Threshold:
    """When the polarization falls under the threshold; None where it does not within eight lifetimes."""

    polarization: float
    time_s: float | None
    earliest_s: float | None
    latest_s: float | None
    time: str | None
    earliest: str | None
    latest: str | None


@dataclass(frozen=True)
class Decay:
    """The answer for one experiment; all lists have the order of the times asked.

    ``time_s`` counts from the initial calibration, ``time`` are the same as ISO date-times where the request had those.
    """

    name: str | None
    material: Literal["crystalline", "amorphous"]
    time_s: list[float]
    time: list[str] | None
    polarization: list[float]
    polarization_sigma: list[float]
    flipping_ratio: list[float | None]
    flipping_ratio_sigma: list[float | None]
    physics_polarization: list[float] | None
    physics_sigma: list[float] | None
    t1_h: float | None
    t1_sigma_h: float | None
    threshold: Threshold | None
    anchors: list[Anchor]
    models: list[UsedModel]
    correction: Literal["sloped", "none"]
    warnings: list[Remark]


@dataclass(frozen=True)
class PolarizationAnswer:
    """Answers in the order of the experiments."""

    experiments: list[Decay]


@dataclass(frozen=True)
class ExcludedRow:
    """A row of a file that was not used."""

    line: int
    time: str
    polarization: float | None
    reason: str


@dataclass(frozen=True)
class Segment:
    """One reflection's calibration rows while one cell was in place.

    ``prediction`` is None where the segment was rejected (``reason``) or could not be predicted (``problem``).
    """

    name: str | None
    accepted: bool
    reason: str
    notes: list[str]
    sources: list[str]
    cell_id: str | None
    analyser_id: str | None
    reflection: list[float] | None
    rows: int
    excluded: list[ExcludedRow]
    prediction: Decay | None
    problem: str


@dataclass(frozen=True)
class DamagedLine:
    """A line that should have been understood and was not."""

    file: str
    line: int
    text: str
    reason: str


@dataclass(frozen=True)
class FileRemark:
    """A file that was left out, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class PolarizationFileAnswer:
    """What the files hold, in order of time, and what is predicted for it."""

    segments: list[Segment]
    damaged: list[DamagedLine]
    left_out: list[FileRemark]
