"""What the solver is asked and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from app.crystallography.cell import UnitCell
from app.crystallography.extinction_symbol import Extinction

BRAVAIS = ("cF", "cI", "cP", "hR", "hP", "tI", "tP", "oF", "oI", "oC", "oP", "mC", "mP", "aP")


@dataclass(frozen=True)
class PeakList:
    """The observed lines, ascending in q^2.

    Attributes:
        q2_inv_ang2: q^2 = 1/d^2 of each line, Angstrom^-2, shape (peak,).
        sigma_q2_inv_ang2: standard deviation of each, shape (peak,); None where the measurement gave none.
        intensity: integrated intensity on any scale, shape (peak,); None where the measurement gave none.
        wavelength_ang: with it a zero shift in 2theta can be fitted, and sigmas have a meaning in degrees.
    """

    q2_inv_ang2: Float[np.ndarray, "peak"]
    sigma_q2_inv_ang2: Float[np.ndarray, "peak"] | None = None
    intensity: Float[np.ndarray, "peak"] | None = None
    wavelength_ang: float | None = None


@dataclass(frozen=True)
class SolveOptions:
    """What to search and for how long; the defaults suit a good laboratory pattern and need no expert.

    Attributes:
        lattices: Bravais lattices to search.
        min_length_ang: shortest conventional axis.
        max_length_ang: longest conventional axis.
        max_volume_ang3: largest primitive volume; None takes what the density of lines allows.
        max_impurities: lines among the first 20 that may stay unindexed; None finds out.
        zero_shift_deg: the largest zero shift to look for; 0 takes the positions as they are. Needs a wavelength.
        max_peaks: lines used, from the lowest q.
        max_seconds: deadline; the best so far is the answer when it passes.
        seed: of all randomness.
        device: auto, cpu or gpu, for the batched refinement.
        max_solutions: families in the answer.
    """

    lattices: tuple[str, ...] = BRAVAIS
    min_length_ang: float = 2.0
    max_length_ang: float = 50.0
    max_volume_ang3: float | None = None
    max_impurities: int | None = None
    zero_shift_deg: float = 0.15
    max_peaks: int = 40
    max_seconds: float = 10.0
    seed: int = 0
    device: str = "auto"
    max_solutions: int = 20


@dataclass(frozen=True)
class IndexedLine:
    """One observed line in the light of one cell; ``hkl`` is None where the cell does not explain it.

    ``delta_two_theta_deg`` (observed - calculated, after the zero shift) is None without a wavelength.
    """

    q2_observed_inv_ang2: float
    hkl: tuple[int, int, int] | None
    q2_calculated_inv_ang2: float | None
    delta_two_theta_deg: float | None


@dataclass(frozen=True)
class Solution:
    """One ranked cell.

    Attributes:
        bravais: one of `BRAVAIS`.
        cell: conventional cell; rhombohedral lattices in hexagonal axes.
        cell_sigma: standard deviation of each constant, same units; 0 for those that symmetry fixes.
        niggli: the Niggli-reduced primitive cell.
        volume_ang3: of the conventional cell.
        m20: de Wolff's figure of merit over the first 20 lines (or as many as there are).
        f20: Smith and Snyder's; None without a wavelength.
        f20_mean_delta_deg, f20_n_possible: the two numbers in brackets behind F_N.
        log_odds: natural logarithm of the evidence for the cell against chance; the order of the answer, where no model
            for the probability has another.
        weight: share of the posterior among the answered families, 0 to 1.
        zero_shift_deg: fitted; observed 2theta = true 2theta + zero shift.
        n_indexed, n_lines: lines explained, lines used.
        n_possible: distinct lines that the cell predicts up to the last used one.
        lines: every used line.
        extinctions: compatible extinction symbols, best first.
        relatives: indices in the answer of the sub- and superlattices and geometrical ambiguities of this cell.
        found_by: the generator that proposed it.
        probability: calibrated, that this cell is the true lattice, 0 to 1; all of an answer sum to at most 1. None
            where no model for it is at hand.
    """

    bravais: str
    cell: UnitCell
    cell_sigma: UnitCell
    niggli: UnitCell
    volume_ang3: float
    m20: float
    f20: float | None
    f20_mean_delta_deg: float | None
    f20_n_possible: int | None
    log_odds: float
    weight: float
    zero_shift_deg: float
    n_indexed: int
    n_lines: int
    n_possible: int
    lines: tuple[IndexedLine, ...]
    extinctions: tuple[Extinction, ...] = ()
    relatives: tuple[int, ...] = ()
    found_by: str = ""
    probability: float | None = None


@dataclass(frozen=True)
class SearchReport:
    """What one generator did on one lattice.

    Attributes:
        complete: no cell of this lattice within the bounds and the error window was left out.
        best_log_odds: of the best cell it found; None where it found none.
    """

    lattice: str
    generator: str
    n_candidates: int
    complete: bool
    seconds: float
    best_log_odds: float | None = None


@dataclass(frozen=True)
class Progress:
    """Where a running solve stands."""

    lattices_done: tuple[str, ...]
    lattices: tuple[str, ...]
    n_candidates: int
    seconds: float
    best: Solution | None


@dataclass(frozen=True)
class UsedModel:
    """One version of a learned part.

    Attributes:
        alias: by which it was asked; None where the number was.
    """

    name: str
    version: int
    alias: str | None = None


@dataclass(frozen=True)
class SolveResult:
    """The answer.

    Attributes:
        solutions: best first.
        stopped: ``certain`` (one solution is beyond doubt), ``settled`` (by what was learned, the rest of the search
            would not change the first one), ``complete`` (all was searched), ``deadline`` or
            ``cancelled``.
        confidence: probability that the first solution is the lattice, 0 to 1: calibrated where a model for it is at
            hand, otherwise its share of the evidence.
        warnings: what the user should know about the lines: duplicates merged, few lines, a dominant zone; and of
            learned parts that were asked for and could not take part.
        probability: calibrated, that the lattice is among the solutions, 0 to 1; None without a model.
        models: learned parts that took part.
    """

    solutions: tuple[Solution, ...]
    stopped: str
    confidence: float
    searches: tuple[SearchReport, ...]
    n_candidates: int
    seconds: float
    seed: int
    device: str
    warnings: tuple[str, ...] = ()
    probability: float | None = None
    models: tuple[UsedModel, ...] = ()


OnProgress = Callable[[Progress], None]
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class Candidates:
    """A batch of candidate cells of one Bravais lattice on their way through refinement.

    Attributes:
        x: metric terms in the column order of the lattice's design matrix, shape (cell, param), Angstrom^-2.
        assignment: index of the reference reflection of each line, shape (cell, peak); -1 where none.
        log_likelihood: shape (cell,).
    """

    x: Float[np.ndarray, "cell param"]
    assignment: Int[np.ndarray, "cell peak"] = field(default_factory=lambda: np.empty((0, 0), np.int32))
    log_likelihood: Float[np.ndarray, "cell"] = field(default_factory=lambda: np.empty(0))
