"""How well cells are predicted: errors, likelihood, coverage, and what a draw is worth to the search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float

from app.crystallography.lattice import CONSTANTS, LATTICES, BravaisLattice
from app.crystallography.metric import cell_from_x, exists, volume_from_form, x_from_constants
from app.crystallography.reduction import niggli, same_lattice
from app.indexing.learned.regression import FRAMES, Scaling, first_lines
from app.indexing.peaks import MIN_LINES
from app.indexing.problem import Candidates, PeakList
from app.indexing.search.cells import Limits
from app.indexing.search.observed import observed_from
from app.indexing.search.volume import N_LINES, walk_problem
from app.indexing.walk.kernels import kernel_for
from app.indexing.walk.mcmc import McmcOptions, refine
from training.indexing.regression.predictors import Predictor
from training.indexing.regression.rows import WAVELENGTH_ANG, Rows

N_DRAWS: Final = 30
CLOSE: Final = 0.05
"""A draw is close where every length is within this share, and every angle within as many radians."""
REACHED: Final = 0.02
"""A walk has arrived where every metric term is within this share of its size."""
COVERAGES: Final = (0.5, 0.9)
LIMITS: Final = Limits(2.0, 50.0, 8.0, 6000.0)


@dataclass(frozen=True)
class Scores:
    """Of one predictor on some patterns.

    Attributes:
        length_error: median of |predicted / true - 1| of a length; angles are left out.
        length_rmse_ang: root mean square error of a length, Angstrom.
        angle_error_deg: median absolute error of a free angle; NaN without one.
        nll: of a pattern, summed over its constants, density in ln(length / Angstrom) and radians.
        coverage: share of the truths within the central intervals `COVERAGES`.
        close: share of the draws that are close to the true cell.
        any_close: share of the patterns with at least one such among `N_DRAWS`.
        refined: share of the draws whose walk arrives at the true cell.
        any_refined: share of the patterns with at least one such.
        patterns: number of patterns.
    """

    length_error: float
    length_rmse_ang: float
    angle_error_deg: float
    nll: float
    coverage: tuple[float, ...]
    close: float
    any_close: float
    refined: float
    any_refined: float
    patterns: int


def scores(predictor: Predictor, rows: Rows, scaling: Scaling, seed: int, *, walks: int = 200) -> Scores:
    """Score a predictor on patterns as they are.

    Args:
        predictor: what predicts.
        rows: patterns that no model was fitted to.
        scaling: of the predictor.
        seed: of the draws and walks.
        walks: patterns whose draws go through the walk, the first ones.
    """
    lattice, rng = LATTICES[rows.bravais], np.random.default_rng(seed)
    inputs, truth = scaling.inputs(rows.q2), scaling.targets(lattice, rows.constants, rows.q2)
    said = predictor.forecast(inputs, truth)
    lengths = np.array([name.endswith("ang") for name in lattice.free_constants])
    names = [CONSTANTS.index(name) for name in lattice.free_constants]
    best, true = constants_of(scaling, rows, said.best[:, None])[:, 0][:, names], rows.constants[:, names]
    central = 2 * np.abs(said.below - 0.5)
    drawn = constants_of(scaling, rows, predictor.draws(inputs, N_DRAWS, rng))
    near = is_close(drawn, rows.constants)
    arrived = walked(rows.where(np.arange(min(walks, len(rows)))), drawn[:walks], seed)
    return Scores(
        length_error=float(np.median(np.abs(best / true - 1)[:, lengths])),
        length_rmse_ang=float(np.sqrt(np.mean((best - true)[:, lengths] ** 2))),
        angle_error_deg=float(np.median(np.abs(best - true)[:, ~lengths])) if not lengths.all() else float("nan"),
        nll=float(np.mean(nll_of_log_lengths(said.nll, scaling, rows))),
        coverage=tuple(float(np.mean(central <= share)) for share in COVERAGES),
        close=float(near.mean()),
        any_close=float(near.any(axis=1).mean()),
        refined=float(arrived.mean()),
        any_refined=float(arrived.any(axis=1).mean()),
        patterns=len(rows),
    )


def nll_of_log_lengths(
    scaled: Float[np.ndarray, "pattern param"], scaling: Scaling, rows: Rows
) -> Float[np.ndarray, "pattern"]:
    """The NLL in ln(length) and radians, which is the same for every frame and scaling."""
    lattice = LATTICES[rows.bravais]
    free = rows.constants[:, [CONSTANTS.index(name) for name in lattice.free_constants]]
    lines, step = first_lines(rows.q2, scaling.n_lines), 1e-4
    lengths = np.array([name.endswith("ang") for name in lattice.free_constants])
    moved = np.where(lengths, free * np.exp(step), free + np.degrees(step))
    slope = (
        FRAMES[scaling.frame].targets(lattice, moved, lines) - FRAMES[scaling.frame].targets(lattice, free, lines)
    ) / step
    return np.sum(scaled - np.log(slope / scaling.target_scale), axis=1)


def constants_of(
    scaling: Scaling, rows: Rows, targets: Float[np.ndarray, "pattern draw param"]
) -> Float[np.ndarray, "pattern draw 6"]:
    """Cells of scaled targets, pattern by pattern."""
    lattice = LATTICES[rows.bravais]
    return np.stack([scaling.constants(lattice, one, q2) for one, q2 in zip(targets, rows.q2, strict=True)])


def is_close(
    drawn: Float[np.ndarray, "pattern draw 6"], true: Float[np.ndarray, "pattern 6"]
) -> Bool[np.ndarray, "pattern draw"]:
    """Tell which draws are close to the true cell, constant by constant."""
    lengths = np.abs(drawn[..., :3] / true[:, None, :3] - 1) <= CLOSE
    angles = np.abs(np.radians(drawn[..., 3:] - true[:, None, 3:])) <= CLOSE
    return np.logical_and(lengths.all(axis=-1), angles.all(axis=-1))


def walked(rows: Rows, drawn: Float[np.ndarray, "pattern draw 6"], seed: int) -> Bool[np.ndarray, "pattern draw"]:
    """Walk every draw through index assignments, as the service does, and tell which arrive at the true metric."""
    lattice, kernel, options = LATTICES[rows.bravais], kernel_for("cpu", 1), McmcOptions(n_steps=40)
    arrived = np.zeros(drawn.shape[:2], bool)
    true_x = x_from_constants(lattice, rows.constants)
    for number, q2 in enumerate(rows.q2):
        lines = q2[np.isfinite(q2)][:N_LINES]
        real = np.flatnonzero(exists(drawn[number]))
        if len(lines) < max(MIN_LINES, lattice.n_params + 2) or not len(real):
            continue
        observed = observed_from(PeakList(lines, wavelength_ang=WAVELENGTH_ANG), max_peaks=N_LINES)
        problem = walk_problem(lattice, observed, LIMITS)
        x = x_from_constants(lattice, drawn[number, real])
        found = refine(Candidates(x), problem, options, seed, kernel).x
        arrived[number, real] = is_lattice(lattice, found, true_x[number])
    return arrived


def is_lattice(
    lattice: BravaisLattice, x: Float[np.ndarray, "cell param"], true: Float[np.ndarray, "param"]
) -> Bool[np.ndarray, "cell"]:
    """Tell which cells are the true lattice, in whatever axes."""
    form, target = x @ lattice.terms, true @ lattice.terms
    axes = target[:3]
    scale = np.concatenate([axes, 2 * np.sqrt(axes[[1, 0, 0]] * axes[[2, 2, 1]])])
    same = np.asarray(np.all(np.abs(form - target) < REACHED * scale, axis=1))
    with np.errstate(invalid="ignore"):
        alike = np.abs(volume_from_form(form) / volume_from_form(target) - 1) < 2 * REACHED
    for row in np.flatnonzero(alike & ~same):
        cells = [niggli(cell_from_x(lattice, one), lattice.centring.symbol) for one in (x[row], true)]
        same[row] = same_lattice(*cells)
    return same
