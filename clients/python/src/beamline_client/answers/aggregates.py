"""Answers about the particles of aggregates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from beamline_client.answers.shared import Remark, UsedModel


@dataclass(frozen=True)
class Pattern:
    """The answer for one pattern: 1 to 5 particles, or None with ``reasons`` where nothing is said.

    ``centre_px`` is row and column; lengths are in pixels of the image.
    """

    index: int
    count: int | None
    most_probable: int
    probability: list[float]
    abstained: bool
    reasons: list[str]
    unlike: float
    seen_radius_px: float
    photons: float
    measured: float
    centre_px: list[float]
    beam_stop_px: float
    warnings: list[Remark]


@dataclass(frozen=True)
class Setting:
    """What the model was told of the measurement; lengths in pixels of its grid."""

    radius_px: float
    particle: Literal["disc", "sphere"]
    binning: int
    full_well: float | None
    background: float | None


@dataclass(frozen=True)
class AggregatesAnswer:
    """Answers in the order of the patterns."""

    patterns: list[Pattern]
    setting: Setting
    model: UsedModel
    source: str
