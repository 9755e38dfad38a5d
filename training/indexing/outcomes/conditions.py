"""Under what conditions a pattern was measured: drawn at random, and applied to a clean list of lines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from jaxtyping import Float

from app.crystallography.bragg import dq2_d_two_theta, q2_from_two_theta
from app.indexing.problem import PeakList
from training.indexing.data.powder import Lines

COPPER_ANG: Final = 1.5406
_TUBES_ANG: Final = (1.5406, 1.7890, 0.7093, 2.2897)
_TUBE_ODDS: Final = (0.7, 0.1, 0.1, 0.1)
_SYNCHROTRON_ANG: Final = (0.4, 1.3)
_RESOLUTION_DEG: Final = 0.07
"""At copper; narrower in proportion at shorter wavelengths, like errors and shifts: patterns are compressed there."""
_LEAST_LINES: Final = 8
_USUAL_LINES: Final = 20
_MOST_LINES: Final = 30
_OUTLIERS: Final = (0.05, 3.0)
"""Share of lines with a larger error, and by how much."""
_FOREIGN_STRENGTH: Final = (0.03, 0.5)
"""Strongest foreign line against the strongest of the pattern."""
_CPU_S: Final = (0.6, 8.0)
_ATTEMPTS: Final = 1000

ForeignKind = Literal["random", "structure"]


@dataclass(frozen=True)
class Conditions:
    """What is between a crystal and the list of lines that a user sends.

    Attributes:
        wavelength_ang: of the radiation.
        tells_wavelength: False for a list of d alone.
        sigma_deg: standard deviation of a line's position.
        zero_shift_deg: added to every 2theta.
        n_lines: lines in the list, foreign ones included, from the lowest angle.
        impurities: foreign lines among them.
        foreign: where those come from: places at random, or the strongest lines of another structure.
        weakest_percent: lines below this share of the strongest are not seen.
        lost: mean share of the lines that are missing besides, the weak ones first.
        intensities: whether the list has intensities.
        sigmas: whether it has standard deviations.
        cpu_s: processor time that the solver is given.
    """

    wavelength_ang: float = COPPER_ANG
    tells_wavelength: bool = True
    sigma_deg: float = 0.0
    zero_shift_deg: float = 0.0
    n_lines: int = 10**6
    impurities: int = 0
    foreign: ForeignKind = "random"
    weakest_percent: float = 0.3
    lost: float = 0.0
    intensities: bool = True
    sigmas: bool = False
    cpu_s: float = 8.0

    @property
    def resolution_deg(self) -> float:
        """Neighbours closer than this are one line."""
        return _RESOLUTION_DEG * self.scale

    @property
    def scale(self) -> float:
        """What a degree of 2theta is worth against copper radiation."""
        return min(self.wavelength_ang / COPPER_ANG, 1.0)


def draw_conditions(rng: np.random.Generator) -> Conditions:
    """Draw the conditions of one measurement, from a good synchrotron pattern to a bad laboratory one."""
    tube = rng.random() < 0.8
    wavelength = float(rng.choice(_TUBES_ANG, p=_TUBE_ODDS) if tube else rng.uniform(*_SYNCHROTRON_ANG))
    scale = min(wavelength / COPPER_ANG, 1.0)
    tells = bool(rng.random() < 0.8)
    # Who sends d has corrected the zero in most cases, and the solver cannot.
    widest = 0.12 if tells else 0.03
    shift = rng.uniform(-widest, widest) if rng.random() < 0.5 else rng.normal(0.0, 0.01)
    n_lines = int(rng.integers(_LEAST_LINES if rng.random() < 0.5 else _USUAL_LINES, _MOST_LINES + 1))
    return Conditions(
        wavelength_ang=wavelength,
        tells_wavelength=tells,
        sigma_deg=scale * float(np.exp(rng.uniform(np.log(0.005), np.log(0.04)))),
        zero_shift_deg=scale * float(shift),
        n_lines=n_lines,
        impurities=min(int(rng.integers(1, 7)), n_lines // 3) if rng.random() < 0.5 else 0,
        foreign="structure" if rng.random() < 0.6 else "random",
        weakest_percent=float(np.exp(rng.uniform(np.log(0.1), np.log(4.0)))),
        lost=float(rng.uniform(0.0, 0.15)) if rng.random() < 0.5 else 0.0,
        intensities=bool(rng.random() < 0.7),
        sigmas=bool(rng.random() < 0.3),
        cpu_s=float(np.exp(rng.uniform(*np.log(_CPU_S)))),
    )


def listed(lines: Lines, conditions: Conditions, rng: np.random.Generator, foreign: Lines | None = None) -> PeakList:
    """Make the list that a user sends of the clean lines of a pattern.

    Args:
        lines: ascending, merged at the conditions' resolution; intensities that are NaN are not known.
        conditions: what is done to them.
        rng: of all chance.
        foreign: lines of another structure, for conditions that ask for them.

    Returns:
        Fewer lines than asked for where the pattern has no more.
    """
    conditions = replace(conditions, impurities=min(conditions.impurities, max(conditions.n_lines - 3, 0)))
    own = _first(_without_lost(lines, conditions, rng), conditions.n_lines - conditions.impurities)
    together = _with_foreign(own, conditions, rng, foreign)
    error = rng.normal(0.0, conditions.sigma_deg, together.two_theta_deg.size)
    share, factor = _OUTLIERS
    error = np.where(rng.random(error.size) < share, factor * error, error)
    two_theta = together.two_theta_deg + error + conditions.zero_shift_deg
    order = np.argsort(two_theta)
    return _peaks(two_theta[order], together.intensity[order], conditions)


def _peaks(
    two_theta_deg: Float[np.ndarray, "peak"], intensity: Float[np.ndarray, "peak"], conditions: Conditions
) -> PeakList:
    wavelength = conditions.wavelength_ang
    q2 = q2_from_two_theta(two_theta_deg=two_theta_deg, wavelength_ang=wavelength)
    slope = dq2_d_two_theta(q2_inv_ang2=q2, wavelength_ang=wavelength)
    known = conditions.intensities and bool(np.isfinite(intensity).all())
    return PeakList(
        q2_inv_ang2=q2,
        sigma_q2_inv_ang2=conditions.sigma_deg * slope if conditions.sigmas and conditions.sigma_deg > 0 else None,
        intensity=intensity if known else None,
        wavelength_ang=wavelength if conditions.tells_wavelength else None,
    )


def _without_lost(lines: Lines, conditions: Conditions, rng: np.random.Generator) -> Lines:
    """Leave lines out, the weakest twice as often as the mean and the strongest never."""
    n = lines.two_theta_deg.size
    if conditions.lost == 0.0 or n == 0:
        return lines
    known = np.isfinite(lines.intensity).all()
    weakness = np.argsort(np.argsort(-lines.intensity) if known else rng.random(n)) / max(n - 1, 1)
    return _at(lines, np.flatnonzero(rng.random(n) >= 2.0 * conditions.lost * weakness))


def _first(lines: Lines, count: int) -> Lines:
    return _at(lines, np.arange(min(count, lines.two_theta_deg.size)))


def _with_foreign(own: Lines, conditions: Conditions, rng: np.random.Generator, foreign: Lines | None) -> Lines:
    """Add foreign lines between the first and the last, none where it would not be told from another."""
    if conditions.impurities == 0 or own.two_theta_deg.size < 2:
        return own
    low, high = own.two_theta_deg[0], own.two_theta_deg[-1]
    candidates = _of_structure(foreign, rng) if conditions.foreign == "structure" and foreign is not None else None
    places = own.two_theta_deg
    strengths = own.intensity
    added = 0
    for attempt in range(_ATTEMPTS):
        if added == conditions.impurities:
            break
        if candidates is not None and attempt < candidates.two_theta_deg.size:
            place, strength = float(candidates.two_theta_deg[attempt]), float(candidates.intensity[attempt])
        else:
            place, strength = float(rng.uniform(low, high)), float(rng.choice(own.intensity))
        if low < place < high and np.min(np.abs(places - place)) >= conditions.resolution_deg:
            places, strengths = np.append(places, place), np.append(strengths, strength)
            added += 1
    order = np.argsort(places)
    return Lines(places[order], strengths[order])


def _of_structure(lines: Lines, rng: np.random.Generator) -> Lines:
    """The lines of a minor phase, strongest first."""
    order = np.argsort(-lines.intensity)
    share = np.exp(rng.uniform(*np.log(_FOREIGN_STRENGTH)))
    return Lines(lines.two_theta_deg[order], share * lines.intensity[order])


def _at(lines: Lines, index: np.ndarray) -> Lines:
    return Lines(lines.two_theta_deg[index], lines.intensity[index])
