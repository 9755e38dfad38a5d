"""From the positions that a user gives to the lines that the solver takes, or a clear word on what is wrong with them.

Positions come as d, q, q^2 or 2theta; the table `KINDS` holds what differs. q = 1/d, without 2 pi.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from jaxtyping import Float

from app.crystallography import bragg
from app.errors import InvalidInput, TooLarge
from app.indexing.problem import PeakList

Values = Float[np.ndarray, "peak"]
KindName = Literal["d_ang", "q_inv_ang", "q_2pi_inv_ang", "q2_inv_ang2", "two_theta_deg"]

MIN_LINES: Final = 6
MAX_LINES: Final = 1000
SHORTEST_D_ANG, LONGEST_D_ANG = 0.01, 1e5
LARGEST_INTENSITY: Final = 1e30
DUPLICATE_RELATIVE_Q2: Final = 2e-5
"""Lines closer than this in q^2, relative, are one line given twice: 0.0003 deg at 2theta = 30 deg."""

SHORTEST_FIRST_D_ANG: Final = 1.5
"""No crystal's longest lattice-plane spacing is shorter: an atom takes at least 5 A^3 (diamond: 5.7), and a lattice of
primitive volume V has planes at least 2^(-1/6) V^(1/3) apart (Gauss' bound on the shortest reciprocal vector)."""

SMALL_CELL_D_ANG: Final = 2.6
SMALL_CELL_LAST_D_ANG: Final = 0.65
"""Lines within these are either of a metal, far out, or of a large cell in nm: planes at most d apart leave at most
2^(1/2) d^3 for a primitive cell, 25 A^3."""


@dataclass(frozen=True)
class Kind:
    """One way to give positions.

    Attributes:
        sigma_field: name of the standard deviations in the same unit.
        q2: q^2 [1/A^2] from values and wavelength [A].
        sigma_q2: its standard deviation from values, standard deviations and wavelength.
        slip: the slip of units that makes all spacings ten times too short, as a question to the user.
    """

    sigma_field: str
    q2: Callable[[Values, float], Values]
    sigma_q2: Callable[[Values, Values, float], Values]
    slip: str


def _of_two_theta(two_theta: Values, wavelength_ang: float) -> Values:
    return bragg.q2_from_two_theta(two_theta_deg=two_theta, wavelength_ang=wavelength_ang)


def _sigma_of_two_theta(two_theta: Values, sigma: Values, wavelength_ang: float) -> Values:
    q2 = _of_two_theta(two_theta, wavelength_ang)
    return bragg.sigma_q2_from_sigma_two_theta(sigma_two_theta_deg=sigma, q2_inv_ang2=q2, wavelength_ang=wavelength_ang)


KINDS: Final[Mapping[KindName, Kind]] = MappingProxyType(
    {
        "d_ang": Kind(
            "sigma_d_ang",
            lambda d, _: bragg.q2_from_d(d_ang=d),
            lambda d, sigma, _: bragg.sigma_q2_from_sigma_d(sigma_d_ang=sigma, d_ang=d),
            "are the values in nm? d_ang is in Angstrom: multiply them by 10",
        ),
        "q_inv_ang": Kind(
            "sigma_q_inv_ang",
            lambda q, _: q**2,
            lambda q, sigma, _: bragg.sigma_q2_from_sigma_q(sigma_q_inv_ang=sigma, q_inv_ang=q),
            "are the values Q = 2 pi/d (send them as q_2pi_inv_ang), or in 1/nm (divide them by 10)? q_inv_ang is 1/d",
        ),
        "q_2pi_inv_ang": Kind(
            "sigma_q_2pi_inv_ang",
            lambda q, _: (q / math.tau) ** 2,
            lambda q, sigma, _: bragg.sigma_q2_from_sigma_q(sigma_q_inv_ang=sigma / math.tau, q_inv_ang=q / math.tau),
            "are the values in 1/nm? q_2pi_inv_ang is in 1/Angstrom: divide them by 10",
        ),
        "q2_inv_ang2": Kind(
            "sigma_q2_inv_ang2",
            lambda q2, _: q2,
            lambda _, sigma, __: sigma,
            "are the values (2 pi/d)^2 (divide by 4 pi^2), or in 1/nm^2 (divide by 100)? q2_inv_ang2 is 1/d^2",
        ),
        "two_theta_deg": Kind(
            "sigma_two_theta_deg",
            _of_two_theta,
            _sigma_of_two_theta,
            "is the wavelength in nm? It is in Angstrom: multiply it by 10",
        ),
    }
)
"""What differs between the ways to give positions."""


@dataclass(frozen=True)
class Given:
    """Lines as a user gives them, in any order.

    Attributes:
        kind: what the values are, a key of `KINDS`.
        values: positions in the unit of the kind, shape (peak,).
        sigma: their standard deviations in the same unit, shape (peak,), or one for all.
        intensity: on any scale, shape (peak,).
        wavelength_ang: needed with 2theta; otherwise what F_N and a zero shift need.
    """

    kind: KindName
    values: Sequence[float] | Values
    sigma: Sequence[float] | Values | float | None = None
    intensity: Sequence[float] | Values | None = None
    wavelength_ang: float | None = None


def refused(field: Sequence[str | int], message: str) -> InvalidInput:
    """Give the error about one field; ``details["field"]`` holds the way to it."""
    return InvalidInput(f"{'.'.join(map(str, field))}: {message}", details={"field": list(field)})


def peak_list(given: Given) -> tuple[PeakList, tuple[str, ...]]:
    """Check lines and put them in order.

    Returns:
        The lines, ascending in q^2, and what the user should know of them: lines merged, doubtful units.

    Raises:
        InvalidInput: fewer than `MIN_LINES` lines, a value that is no position, a wavelength that is missing or too
            long for the lines, arrays of different lengths, or spacings too short for any crystal.
            ``details["field"]`` is the way to the field.
        TooLarge: more than `MAX_LINES` lines.
    """
    kind = KINDS[given.kind]
    values = _positions(given)
    sigma, intensity = _sigma(given, kind.sigma_field, values), _intensity(given, len(values))
    wavelength = _wavelength(given)
    with np.errstate(over="ignore", under="ignore"):
        q2 = kind.q2(values, wavelength)
    low, high = LONGEST_D_ANG**-2, SHORTEST_D_ANG**-2
    spacings = f"a line's d is expected between {SHORTEST_D_ANG:g} and {LONGEST_D_ANG:g} Angstrom"
    _all([given.kind], (q2 >= low) & (q2 <= high), values, spacings)
    sigma_q2 = None if sigma is None else kind.sigma_q2(values, sigma, wavelength)
    _reachable(given, q2)
    peaks, merged = _merged(q2, sigma_q2, intensity, given.wavelength_ang)
    if len(peaks.q2_inv_ang2) < MIN_LINES:
        left = f", {len(peaks.q2_inv_ang2)} without duplicates" if merged else ""
        raise refused([given.kind], f"{len(values)} lines{left}; indexing needs at least {MIN_LINES}: give more lines")
    warnings = [*_merging(merged), *_units(given.kind, kind, peaks)]
    return peaks, tuple(warnings)


def _positions(given: Given) -> Values:
    values = _array([given.kind], given.values)
    if len(values) > MAX_LINES:
        raise TooLarge(
            f"{given.kind}: {len(values)} lines, at most {MAX_LINES} are read: send those at the lowest angles"
        )
    _all([given.kind], values > 0.0, values, "a position must be greater than 0; leave the line out")
    if given.kind == "two_theta_deg":
        _all([given.kind], values < 180.0, values, "2theta must be less than 180 deg; it is in degrees, not steps")
    return values


def _sigma(given: Given, field: str, values: Values) -> Values | None:
    if given.sigma is None:
        return None
    n = len(values)
    sigma = np.full(n, given.sigma) if isinstance(given.sigma, int | float) else _array([field], given.sigma, n)
    _all([field], np.isfinite(sigma) & (sigma > 0.0), sigma, "a standard deviation must be greater than 0")
    _all([field], sigma < values, sigma, f"expected less than the position itself, in the unit of {given.kind}")
    return sigma


def _intensity(given: Given, n: int) -> Values | None:
    if given.intensity is None:
        return None
    intensity = _array(["intensity"], given.intensity, n)
    _all(["intensity"], intensity <= LARGEST_INTENSITY, intensity, f"expected at most {LARGEST_INTENSITY:g}")
    _all(["intensity"], intensity >= 0.0, intensity, "an intensity must not be negative; 0 where it is not known")
    return intensity


def _wavelength(given: Given) -> float:
    if given.wavelength_ang is None:
        if given.kind == "two_theta_deg":
            raise refused(
                ["wavelength_ang"], "2theta says nothing without the wavelength: give wavelength_ang [Angstrom]"
            )
        return math.nan
    if not (math.isfinite(given.wavelength_ang) and given.wavelength_ang > 0.0):
        raise refused(["wavelength_ang"], f"found {given.wavelength_ang:g}, expected a length in Angstrom above 0")
    return given.wavelength_ang


def _array(field: list[str | int], values: Sequence[float] | Values, n: int | None = None) -> Values:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise refused(field, "expected a list of numbers")
    if n is not None and len(array) != n:
        raise refused(field, f"{len(array)} values for {n} lines: give one for each line, in the same order")
    _all(field, np.isfinite(array), array, "expected a finite number; leave the line out")
    return array


def _all(field: list[str | int], good: np.ndarray, values: Values, message: str) -> None:
    """Refuse the first value that is not good, by its place as the user sent it."""
    if not good.all():
        index = int(np.argmin(good))
        raise refused([*field, index], f"found {values[index]:g}; {message}")


def _reachable(given: Given, q2: Values) -> None:
    """No line lies beyond 2theta = 180 deg (Bragg's law: lambda <= 2 d)."""
    if given.wavelength_ang is None:
        return
    limit = 4.0 / given.wavelength_ang**2
    if (worst := int(np.argmax(q2))) >= 0 and q2[worst] > limit * (1.0 + 1e-9):
        raise refused(
            ["wavelength_ang"],
            f"with {given.wavelength_ang:g} Angstrom no line has d = {q2[worst] ** -0.5:.4f} Angstrom "
            f"({given.kind}.{worst}): expected at most {2.0 * q2[worst] ** -0.5:.4f} Angstrom",
        )


def _merged(
    q2: Values, sigma: Values | None, intensity: Values | None, wavelength: float | None
) -> tuple[PeakList, list[float]]:
    """Lines in order, duplicates as one: mean position, smallest sigma, largest intensity; and the merged d [A]."""
    order = np.argsort(q2, kind="stable")
    q2 = q2[order]
    first = np.concatenate([[True], np.diff(q2) > DUPLICATE_RELATIVE_Q2 * q2[1:]]) if len(q2) else np.zeros(0, bool)
    start = np.flatnonzero(first)
    count = np.diff(np.append(start, len(q2)))

    def reduced(operation: np.ufunc, values: Values | None) -> Values | None:
        return None if values is None else operation.reduceat(values[order], start)

    mean = np.add.reduceat(q2, start) / count if len(q2) else q2
    peaks = PeakList(mean, reduced(np.minimum, sigma), reduced(np.maximum, intensity), wavelength)
    return peaks, [float(value) for value in mean[count > 1] ** -0.5]


def _merging(merged: list[float]) -> list[str]:
    if not merged:
        return []
    shown = ", ".join(f"{d:.4f}" for d in merged[:5]) + (", ..." if len(merged) > 5 else "")
    return [f"lines given more than once were merged, at d = {shown} Angstrom"]


def _units(name: KindName, kind: Kind, peaks: PeakList) -> list[str]:
    """Refuse spacings that no crystal has, and doubt those that would be strange."""
    d = peaks.q2_inv_ang2**-0.5
    if d[0] < SHORTEST_FIRST_D_ANG:
        field = "wavelength_ang" if name == "two_theta_deg" else name
        raise refused(
            [field],
            f"the largest d is {d[0]:.4f} Angstrom, and every crystal has lines above {SHORTEST_FIRST_D_ANG:g} "
            f"Angstrom, which indexing needs; {kind.slip}",
        )
    if d[0] > SMALL_CELL_D_ANG or d[-1] > SMALL_CELL_LAST_D_ANG:
        return []
    return [
        f"lines from d = {d[0]:.4f} down to {d[-1]:.4f} Angstrom are those of a cell of one or two atoms; if the "
        f"sample has none, {kind.slip}"
    ]
