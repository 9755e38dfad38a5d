"""What tells a right cell from a wrong one in a ranked answer: one row of plain numbers for each cell.

Training and service compute them here, from the answer alone. A cell is seen beside the others of its answer: what the
next family, the next relative, a smaller or a larger cell of the same lattice are worth counts more than any figure of
merit by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from app.crystallography.bragg import dq2_d_two_theta
from app.crystallography.lattice import LATTICES
from app.indexing.problem import Solution, SolveResult
from app.indexing.search.observed import LABORATORY_ANG, WIDEST_Q_WAVELENGTH

MOST_CELLS: Final = 20
"""Cells of an answer that are looked at; those after them are given no chance."""
WIDEST_GAP: Final = 60.0
"""Differences of log-odds beyond this are alike."""
_CLOSE_GAP: Final = 7.0
_LEAST_ERROR_DEG: Final = 1e-4
_FIRST_LINES: Final = 10
_SYSTEM_RANK: Final = {"c": 0, "t": 1, "h": 1, "o": 2, "m": 3, "a": 4}
_ROOT_3: Final = float(np.sqrt(3.0))


@dataclass(frozen=True)
class _Cells:
    """The cells of an answer as arrays.

    Attributes:
        log_odds, volume: of each, the volume that of the primitive cell, shape (cell,).
        related: whether two are sub- or superlattices of each other, shape (cell, cell).
        error_deg: |observed - calculated| 2theta of each line, NaN where a cell does not explain it; at copper
            radiation where no wavelength is known, shape (cell, peak).
        q2: of the lines, shape (peak,).
    """

    solutions: Sequence[Solution]
    log_odds: Float[np.ndarray, "cell"]
    volume: Float[np.ndarray, "cell"]
    related: Bool[np.ndarray, "cell cell"]
    error_deg: Float[np.ndarray, "cell peak"]
    q2: Float[np.ndarray, "peak"]

    def column(self, name: str) -> Float[np.ndarray, "cell"]:
        """One number of each solution."""
        return np.array([getattr(one, name) for one in self.solutions], dtype=float)


def cell_features(result: SolveResult) -> Float[np.ndarray, "cell feature"]:
    """Give the features of the first `MOST_CELLS` cells of an answer, in its order; columns as in `FEATURES`."""
    if not result.solutions:
        return np.empty((0, len(FEATURES)))
    cells = _cells(result.solutions[:MOST_CELLS])
    columns = {**_evidence(cells), **_fit(cells), **_lattice(cells), **_search(cells, result)}
    return np.column_stack([columns[name] for name in FEATURES])


def _cells(solutions: Sequence[Solution]) -> _Cells:
    n = len(solutions)
    related = np.zeros((n, n), bool)
    for i, one in enumerate(solutions):
        related[i, [j for j in one.relatives if j < n]] = True
    q2 = np.array([line.q2_observed_inv_ang2 for line in solutions[0].lines])
    centring = np.array([LATTICES[one.bravais].centring.multiplicity for one in solutions])
    return _Cells(
        solutions,
        np.array([one.log_odds for one in solutions]),
        np.array([one.volume_ang3 for one in solutions]) / centring,
        related,
        _errors(solutions, q2),
        q2,
    )


def _errors(solutions: Sequence[Solution], q2: Float[np.ndarray, "peak"]) -> Float[np.ndarray, "cell peak"]:
    lines = [line for one in solutions for line in one.lines]
    calculated = np.array([line.q2_calculated_inv_ang2 for line in lines], dtype=float).reshape(-1, len(q2))
    delta = np.array([line.delta_two_theta_deg for line in lines], dtype=float).reshape(-1, len(q2))
    return np.abs(np.where(np.isfinite(delta), delta, (q2 - calculated) / _per_degree(q2)))


def _per_degree(q2: Float[np.ndarray, "peak"]) -> Float[np.ndarray, "peak"]:
    """Change of q^2 with 2theta as the search takes it where no wavelength is known."""
    wavelength = min(LABORATORY_ANG, WIDEST_Q_WAVELENGTH / float(np.sqrt(q2[-1])))
    return dq2_d_two_theta(q2_inv_ang2=q2, wavelength_ang=wavelength)


def _evidence(cells: _Cells) -> dict[str, np.ndarray]:
    own, n = cells.log_odds, len(cells.log_odds)
    others = ~np.eye(n, dtype=bool)
    smaller = cells.volume[None, :] < 0.9 * cells.volume[:, None]
    larger = cells.volume[None, :] > 1.1 * cells.volume[:, None]
    share = np.exp((own - own.max()) / 3.0)
    return {
        "log_odds": own,
        "log_odds_per_line": own / cells.column("n_lines"),
        "place": np.log1p(np.arange(n)),
        "gap": _gap(own, others),
        "gap_unrelated": _gap(own, others & ~cells.related),
        "gap_sublattice": _gap(own, cells.related & smaller),
        "gap_superlattice": _gap(own, cells.related & larger),
        "n_relatives": cells.related.sum(axis=1),
        "n_close": (own[None, :] > own[:, None] - _CLOSE_GAP).sum(axis=1) - 1.0,
        "share": share / share.sum(),
        "best_log_odds": np.full(n, own.max()),
    }


def _gap(own: Float[np.ndarray, "cell"], among: Bool[np.ndarray, "cell cell"]) -> Float[np.ndarray, "cell"]:
    """Log-odds over the best of others; over chance, of log-odds 0, where there is none."""
    best = np.where(among, own[None, :], 0.0).max(axis=1, where=among, initial=0.0)
    return np.clip(own - best, -WIDEST_GAP, WIDEST_GAP)


def _fit(cells: _Cells) -> dict[str, np.ndarray]:
    indexed = np.isfinite(cells.error_deg)
    n_indexed = np.maximum(indexed.sum(axis=1), 1)
    mean_deg = _mean(cells.error_deg, indexed)
    n_lines, n_possible = cells.column("n_lines"), np.maximum(cells.column("n_possible"), 1.0)
    log_error = np.log(np.maximum(mean_deg, _LEAST_ERROR_DEG))
    log_m20 = np.log(np.clip(cells.column("m20"), 0.5, 2000.0))
    freedom = n_indexed - _n_params(cells)
    return {
        "log_m20": log_m20,
        "log_f20": np.log(n_indexed / n_possible) - log_error,
        "log_m20_over_chance": log_m20 - _log_chance(cells.q2) + 0.5 * np.log(np.maximum(freedom, 0.5) / n_indexed),
        "log_error": log_error,
        "log_error_over_first": log_error - log_error[0],
        "unindexed": n_lines - indexed.sum(axis=1),
        "unindexed_share": 1.0 - indexed.mean(axis=1),
        "unindexed_first": (~indexed[:, :_FIRST_LINES]).sum(axis=1),
        "unindexed_over_least": (n_lines - indexed.sum(axis=1)) - (n_lines - indexed.sum(axis=1)).min(),
        "log_possible_per_line": np.log(n_possible / n_lines),
        "log_lines": np.log(n_lines),
        "freedom": freedom,
        "zero_shift": np.abs(cells.column("zero_shift_deg")),
        "log_cell_sigma": _relative_sigma(cells.solutions),
    }


def _mean(values: Float[np.ndarray, "cell peak"], where: Bool[np.ndarray, "cell peak"]) -> Float[np.ndarray, "cell"]:
    return np.where(where, values, 0.0).sum(axis=1) / np.maximum(where.sum(axis=1), 1)


def _log_chance(q2: Float[np.ndarray, "peak"]) -> float:
    """Logarithm of M20 where lines lie anywhere between reflections, whose density in q^2 grows as its root."""
    return float(np.log(1.5 / np.mean(np.sqrt(q2[-1] / q2))))


def _relative_sigma(solutions: Sequence[Solution]) -> Float[np.ndarray, "cell"]:
    shares = [
        max(s / c for s, c in zip(one.cell_sigma.constants[:3], one.cell.constants[:3], strict=True))
        for one in solutions
    ]
    return np.log(np.clip(shares, 1e-7, 1.0))


def _lattice(cells: _Cells) -> dict[str, np.ndarray]:
    constants = np.array([one.cell.constants for one in cells.solutions])
    lengths = constants[:, :3]
    rank = np.array([_SYSTEM_RANK[one.bravais[0]] for one in cells.solutions])
    niggli = np.array([one.niggli.constants for one in cells.solutions])
    return {
        "n_params": _n_params(cells),
        **{f"system_{name}": (rank == at).astype(float) for at, name in enumerate(_SYSTEMS)},
        "centred": np.array([one.bravais[1] != "P" for one in cells.solutions], dtype=float),
        "log_volume": np.log(cells.volume),
        "log_volume_per_line": np.log(cells.volume / cells.column("n_lines")),
        "log_volume_over_first": np.log(cells.volume / cells.volume[0]),
        "log_volume_over_smallest": np.log(cells.volume / cells.volume.min()),
        "log_longest": np.log(lengths.max(axis=1)),
        "log_aspect": np.log(niggli[:, 2] / niggli[:, 0]),
        "layer_b": _log_off(lengths[:, 1] / lengths[:, 0] / _ROOT_3),
        "layer_a": np.log(lengths[:, 0]),
        "oblique": np.abs(constants[:, 3:] - 90.0).max(axis=1) / 30.0,
        "log_first_d_over_longest": np.log(cells.q2[0] ** -0.5 / lengths.max(axis=1)),
    }


def _n_params(cells: _Cells) -> Int[np.ndarray, "cell"]:
    return np.array([LATTICES[one.bravais].n_params for one in cells.solutions])


def _log_off(ratio: Float[np.ndarray, "cell"]) -> Float[np.ndarray, "cell"]:
    """How near a ratio is to 1, as the natural logarithm of the difference, from -9 (equal) to 0."""
    return np.log(np.clip(np.abs(ratio - 1.0), 1e-4, 1.0))


def _search(cells: _Cells, result: SolveResult) -> dict[str, np.ndarray]:
    n = len(cells.solutions)
    return {
        "derived": np.array([one.found_by == "derivative" for one in cells.solutions], dtype=float),
        "ended_certain": np.full(n, float(result.stopped == "certain")),
        "ended_settled": np.full(n, float(result.stopped == "settled")),
        "ended_early": np.full(n, float(result.stopped in ("deadline", "cancelled"))),
        "n_cells": np.full(n, float(n)),
    }


_SYSTEMS: Final = ("cubic", "uniaxial", "orthorhombic", "monoclinic", "triclinic")
FEATURES: Final[tuple[str, ...]] = (
    "log_odds", "log_odds_per_line", "place", "gap", "gap_unrelated", "gap_sublattice", "gap_superlattice",
    "n_relatives", "n_close", "share", "best_log_odds",
    "log_m20", "log_f20", "log_m20_over_chance", "log_error", "log_error_over_first", "unindexed", "unindexed_share",
    "unindexed_first", "unindexed_over_least", "log_possible_per_line", "log_lines", "freedom", "zero_shift",
    "log_cell_sigma",
    "n_params", *(f"system_{name}" for name in _SYSTEMS), "centred", "log_volume", "log_volume_per_line",
    "log_volume_over_first", "log_volume_over_smallest", "log_longest", "log_aspect", "layer_b", "layer_a", "oblique",
    "log_first_d_over_longest",
    "derived", "ended_certain", "ended_settled", "ended_early", "n_cells",
)  # fmt: skip
"""Columns of `cell_features`. Logarithms are natural; lengths in Angstrom, errors and shifts in degrees of 2theta,
volumes those of primitive cells; "over" is the difference of the logarithms."""
