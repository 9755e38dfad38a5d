"""Figures of merit of an indexed powder pattern.

- M_N = Q_N / (2 <|dQ|> N_poss): P. M. de Wolff, J. Appl. Cryst. 1 (1968) 108.
- F_N = (1 / <|d2theta|>) (N / N_poss): G. S. Smith and R. L. Snyder, J. Appl. Cryst. 12 (1979) 60.
- The reversed M exchanges the roles of observed and calculated lines, after R. Oishi-Tomiyasu, J. Appl. Cryst. 46
  (2013) 1277.

As de Wolff, N counts indexed lines: unindexed ones between them are passed over and reported as a number. N_poss counts
the distinct calculated lines that the lattice (not the space group) allows up to the Nth indexed line, itself included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from app.crystallography import bragg
from app.errors import InvalidInput

_LEAST_RELATIVE_DISCREPANCY = 1e-7
"""Of <|dQ|> to Q_N: exact input would have an infinite merit."""
_LEAST_DISCREPANCY_DEG = 1e-5
"""Of <|d2theta|>, for the same reason."""


@dataclass(frozen=True)
class Merit:
    """How well calculated lines describe observed ones.

    Attributes:
        n_lines: indexed lines that count, at most those asked for.
        n_unindexed: unindexed lines below the last that counts.
        n_possible: distinct calculated lines up to it.
        mean_delta_q2_inv_ang2: mean |observed - calculated| of the lines that count; None without any.
        m: de Wolff's; 0 without an indexed line.
        m_reversed: the same with the roles of observed and calculated exchanged; low where predicted lines are absent.
        m_symmetric: m times m_reversed.
        mean_delta_two_theta_deg: as above; None without a wavelength.
        f: Smith and Snyder's; None without a wavelength.
    """

    n_lines: int
    n_unindexed: int
    n_possible: int
    mean_delta_q2_inv_ang2: float | None
    m: float
    m_reversed: float
    m_symmetric: float
    mean_delta_two_theta_deg: float | None = None
    f: float | None = None


def match_lines(
    q2_observed: Float[np.ndarray, "peak"],
    q2_calculated: Float[np.ndarray, "ref"],
    window: Float[np.ndarray, "peak"] | float,
) -> Int[np.ndarray, "peak"]:
    """Index of the calculated line nearest to each observed one, -1 where none is within the window.

    Args:
        q2_observed: any order, Angstrom^-2.
        q2_calculated: ascending.
        window: largest difference, for all lines or each.
    """
    nearest = _nearest(q2_observed, q2_calculated)
    if not len(q2_calculated):
        return nearest
    return np.where(np.abs(q2_observed - q2_calculated[nearest]) <= window, nearest, -1)


def _nearest(values: Float[np.ndarray, "peak"], ascending: Float[np.ndarray, "ref"]) -> Int[np.ndarray, "peak"]:
    if not len(ascending):
        return np.full(len(values), -1)
    right = np.clip(np.searchsorted(ascending, values), 1, max(1, len(ascending) - 1))
    left = right - 1
    right = np.minimum(right, len(ascending) - 1)
    return np.where(values - ascending[left] <= ascending[right] - values, left, right)


def figures_of_merit(
    q2_observed: Float[np.ndarray, "peak"],
    q2_calculated: Float[np.ndarray, "ref"],
    matched: Int[np.ndarray, "peak"],
    *,
    count: int = 20,
    wavelength_ang: float | None = None,
) -> Merit:
    """M_N, F_N and their relatives over the first ``count`` indexed lines.

    Args:
        q2_observed: ascending, freed of the zero shift, Angstrom^-2.
        q2_calculated: all distinct lines of the lattice, ascending, at least up to the last matched one; lines that
            coincide were merged by `reflections_within` and count once.
        matched: index of each observed line's calculated one, -1 for unindexed; see `match_lines`.
        count: N; fewer count where fewer are indexed.
        wavelength_ang: for the angular figures.

    Raises:
        InvalidInput: the observed lines are not ascending.
    """
    if np.any(np.diff(q2_observed) < 0):
        raise InvalidInput("q2_observed must be ascending; sort the lines first.")
    used = np.flatnonzero(matched >= 0)[:count]
    if not len(used):
        return Merit(0, len(q2_observed), 0, None, 0.0, 0.0, 0.0, None, None if wavelength_ang is None else 0.0)
    observed, calculated = q2_observed[used], q2_calculated[matched[used]]
    last, last_q2 = int(used[-1]), float(observed[-1])
    n_possible = max(int(np.searchsorted(q2_calculated, last_q2, side="right")), int(matched[used].max()) + 1)
    delta = float(np.abs(observed - calculated).mean())
    m = de_wolff(q2_last=last_q2, mean_delta_q2=delta, n_possible=n_possible)
    m_reversed = _reversed(q2_observed[: last + 1], q2_calculated[:n_possible])
    angular = _angular(observed, calculated, n_possible, wavelength_ang)
    return Merit(len(used), last + 1 - len(used), n_possible, delta, m, m_reversed, m * m_reversed, *angular)


def de_wolff(*, q2_last: float, mean_delta_q2: float, n_possible: int) -> float:
    """M_N = Q_N / (2 <|dQ|> N_poss); finite for exact lines: <|dQ|> counts as at least 1e-7 Q_N."""
    return q2_last / (2 * max(mean_delta_q2, _LEAST_RELATIVE_DISCREPANCY * q2_last) * n_possible)


def smith_snyder(*, n_lines: int, mean_delta_two_theta_deg: float, n_possible: int) -> float:
    """F_N = (1 / <|d2theta|>) (N / N_poss), per degree; <|d2theta|> counts as at least 1e-5 degrees."""
    return n_lines / (max(mean_delta_two_theta_deg, _LEAST_DISCREPANCY_DEG) * n_possible)


def _reversed(observed: Float[np.ndarray, "peak"], calculated: Float[np.ndarray, "ref"]) -> float:
    """de Wolff's figure of the observed lines as a description of the calculated ones."""
    delta = float(np.abs(calculated - observed[_nearest(calculated, observed)]).mean())
    return de_wolff(q2_last=float(observed[-1]), mean_delta_q2=delta, n_possible=len(observed))


def _angular(
    observed: Float[np.ndarray, "peak"],
    calculated: Float[np.ndarray, "peak"],
    n_possible: int,
    wavelength_ang: float | None,
) -> tuple[float | None, float | None]:
    """Mean |d2theta| in degrees and F_N; both None without a wavelength."""
    if wavelength_ang is None:
        return None, None
    limit = (2 / wavelength_ang) ** 2
    observed, calculated = (
        bragg.two_theta_from_q2(q2_inv_ang2=np.minimum(q2, limit), wavelength_ang=wavelength_ang)
        for q2 in (observed, calculated)
    )
    delta = float(np.abs(observed - calculated).mean())
    return delta, smith_snyder(n_lines=len(observed), mean_delta_two_theta_deg=delta, n_possible=n_possible)
