"""Answers about powder patterns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from beamline_client.answers.shared import FieldProblem, UsedModel

Bravais = Literal["cF", "cI", "cP", "hR", "hP", "tI", "tP", "oF", "oI", "oC", "oP", "mC", "mP", "aP"]


@dataclass(frozen=True)
class Cell:
    """Six cell constants; rhombohedral lattices in hexagonal axes."""

    a_ang: float
    b_ang: float
    c_ang: float
    alpha_deg: float
    beta_deg: float
    gamma_deg: float


@dataclass(frozen=True)
class CellSummary:
    """A cell in short: conventional and Niggli-reduced, with its figures of merit."""

    bravais: Bravais
    cell: Cell
    niggli: Cell
    volume_ang3: float
    m20: float | None
    f20: float | None
    log_odds: float
    n_indexed: int
    n_lines: int


@dataclass(frozen=True)
class Line:
    """One line in the light of one cell; None where the cell does not explain it, or no wavelength was given."""

    hkl: list[int] | None
    q2_observed_inv_ang2: float
    q2_calculated_inv_ang2: float | None
    d_observed_ang: float
    d_calculated_ang: float | None
    two_theta_observed_deg: float | None
    two_theta_calculated_deg: float | None
    delta_two_theta_deg: float | None


@dataclass(frozen=True)
class Extinction:
    """An extinction symbol that the indexed lines allow, and its space groups."""

    symbol: str
    space_groups: list[str]
    n_forbidden: int
    n_absent: int


@dataclass(frozen=True)
class Solution(CellSummary):
    """One ranked cell. ``relatives`` are places in the list, from 0, of its sub- and superlattices."""

    cell_sigma: Cell
    f20_mean_delta_deg: float | None
    f20_n_possible: int | None
    weight: float
    probability: float | None
    zero_shift_deg: float
    n_possible: int
    relatives: list[int]
    found_by: str
    extinctions: list[Extinction]
    lines: list[Line]


@dataclass(frozen=True)
class Search:
    """What one generator did on one lattice, and whether it left nothing out."""

    lattice: str
    generator: str
    n_candidates: int
    complete: bool
    seconds: float
    best_log_odds: float | None


@dataclass(frozen=True)
class SolveAnswer:
    """Ranked cells of one pattern, best first; none where nothing explains the lines."""

    name: str | None
    solutions: list[Solution]
    stopped: Literal["certain", "settled", "complete", "deadline", "cancelled"]
    confidence: float
    probability: float | None
    warnings: list[str]
    models: list[UsedModel]
    searches: list[Search]
    n_candidates: int
    seconds: float
    seed: int
    device: str
    wavelength_ang: float | None


@dataclass(frozen=True)
class Background:
    """Counts under the lines."""

    smallest: float
    median: float
    largest: float


@dataclass(frozen=True)
class PeaksAnswer:
    """Lines of a pattern by columns, from the largest d; the names are those that `solve` takes."""

    name: str | None
    n_lines: int
    wavelength_ang: float | None
    k_alpha2: bool
    two_theta_deg: list[float] | None
    sigma_two_theta_deg: list[float] | None
    d_ang: list[float] | None
    sigma_d_ang: list[float] | None
    intensity: list[float]
    sigma_intensity: list[float]
    height: list[float]
    fwhm_deg: list[float] | None
    snr: list[float]
    overlapped: list[bool]
    background: Background
    n_points: int
    warnings: list[str]


@dataclass(frozen=True)
class PatternProblem:
    """Why one pattern of many has no answer; ``kind`` is a kind of problem."""

    kind: str
    detail: str
    errors: list[FieldProblem]


@dataclass(frozen=True)
class BatchEntry:
    """One pattern of many: of result and error one is None."""

    result: SolveAnswer | None
    error: PatternProblem | None


@dataclass(frozen=True)
class BatchAnswer:
    """Answers in the order of the patterns."""

    answers: list[BatchEntry]


@dataclass(frozen=True)
class FileEntry(BatchEntry):
    """One file of many, by its name."""

    file: str


@dataclass(frozen=True)
class SkippedFile:
    """A file of a zip that was not read, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class FilesAnswer:
    """Answers in the order of the files."""

    answers: list[FileEntry]
    skipped: list[SkippedFile]
