"""A measured powder pattern: counts over 2theta."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Float

from app.errors import InvalidInput, TooLarge

Axis = Literal["two_theta_deg", "d_ang", "q_inv_ang", "q_2pi_inv_ang", "q_2pi_inv_nm"]
"""What a column of positions holds: q = 1/d as everywhere in this project, q_2pi = 2 pi/d as in most files."""

AXES: Final[tuple[str, ...]] = get_args(Axis)
MIN_POINTS: Final = 50
MAX_POINTS: Final = 200_000
MIN_WAVELENGTH_ANG, MAX_WAVELENGTH_ANG = 0.05, 15.0
_INV_ANG: Final[dict[str, float]] = {"q_inv_ang": 1.0, "q_2pi_inv_ang": 1 / math.tau, "q_2pi_inv_nm": 0.1 / math.tau}


@dataclass(frozen=True)
class Doublet:
    """K-alpha1 and K-alpha2 of a tube: wavelengths in Angstrom and the ratio of their intensities, alpha2 to alpha1."""

    alpha1_ang: float
    alpha2_ang: float
    ratio: float = 0.5


@dataclass(frozen=True)
class Pattern:
    """Counts over ascending 2theta.

    Attributes:
        two_theta_deg: strictly ascending, shape (point,).
        counts: on any scale, background subtracted or not, shape (point,).
        sigma: standard deviation of each where the file gave it, shape (point,).
        wavelength_ang: K-alpha1 where a tube was used; None where it is not known.
        doublet: both K-alpha lines where the file says that both are in the beam; `monochromatic` where it says not.
        monochromatic: the file says that one wavelength alone is in the beam.
        nominal: the wavelength is a mere change of variable: the file was over d or q and its wavelength is not known.
        name: what to call it.
        warnings: what the reader had to decide.
    """

    two_theta_deg: Float[np.ndarray, "point"]
    counts: Float[np.ndarray, "point"]
    sigma: Float[np.ndarray, "point"] | None = None
    wavelength_ang: float | None = None
    doublet: Doublet | None = None
    monochromatic: bool = False
    nominal: bool = False
    name: str = ""
    warnings: tuple[str, ...] = field(default=())


def wavelength(value_ang: float | None) -> float | None:
    """Check a wavelength in Angstrom.

    Raises:
        InvalidInput: not between `MIN_WAVELENGTH_ANG` and `MAX_WAVELENGTH_ANG`.
    """
    if value_ang is None or MIN_WAVELENGTH_ANG <= value_ang <= MAX_WAVELENGTH_ANG:
        return value_ang
    hint = f"; {value_ang:g} nm would be {10 * value_ang:g}" if 0.005 <= value_ang < MIN_WAVELENGTH_ANG else ""
    raise InvalidInput(
        f"the wavelength is {value_ang:g}, expected {MIN_WAVELENGTH_ANG:g} to {MAX_WAVELENGTH_ANG:g} Angstrom{hint}"
    )


def inv_d_from_position(
    *, position: Float[np.ndarray, "peak"], axis: Axis, wavelength_ang: float | None
) -> Float[np.ndarray, "peak"]:
    """1/d in 1/Angstrom of positions on any axis: 2 sin(theta)/lambda, 1/d, q, Q/2pi.

    Raises:
        InvalidInput: 2theta without a wavelength, or outside 0 to 180 degrees; d, q of zero or less.
    """
    if axis != "two_theta_deg":
        if np.any(position <= 0):
            raise InvalidInput(f"a position {axis} is {position.min():g}, expected above 0")
        return 1 / position if axis == "d_ang" else position * _INV_ANG[axis]
    if wavelength_ang is None:
        raise InvalidInput("2theta needs the wavelength: give wavelength_ang (1.5406 for copper K-alpha1)")
    if np.any((position <= 0) | (position >= 180)):
        raise InvalidInput(f"2theta reaches from {position.min():g} to {position.max():g}, expected 0 to 180 degrees")
    return 2 * np.sin(np.radians(position / 2)) / wavelength_ang


def make_pattern(
    position: Sequence[float] | np.ndarray,
    counts: Sequence[float] | np.ndarray,
    sigma: Sequence[float] | np.ndarray | None = None,
    *,
    axis: Axis = "two_theta_deg",
    wavelength_ang: float | None = None,
    doublet: Doublet | None = None,
    monochromatic: bool = False,
    name: str = "",
    warnings: Sequence[str] = (),
) -> Pattern:
    """Check columns and make a pattern of them; descending positions are turned round, d and q become 2theta.

    Without a wavelength, d and q become 2theta at a nominal wavelength that puts the largest q at 60 degrees.

    Raises:
        InvalidInput: too few points, unequal lengths, values that are not finite, positions neither ascending nor
            descending, 2theta outside -20 to 180 degrees, q beyond 2/lambda.
        TooLarge: more than `MAX_POINTS` points.
    """
    x, y = np.asarray(position, np.float64), np.asarray(counts, np.float64)
    s = None if sigma is None else np.asarray(sigma, np.float64)
    _check_columns(x, y, s)
    x, y, s = _ascending(x, y, s)
    nominal = False
    if axis == "two_theta_deg":
        if x[0] < -20 or x[-1] > 180:
            raise InvalidInput(f"2theta reaches from {x[0]:g} to {x[-1]:g}, expected within -20 to 180 degrees")
        keep = x > 0
    else:
        keep = x > 0
        inv_d = inv_d_from_position(position=x[keep], axis=axis, wavelength_ang=None)
        nominal = wavelength_ang is None
        wavelength_ang = float(1 / inv_d.max()) if wavelength_ang is None else wavelength_ang
        x = np.concatenate([x[~keep], _two_theta(inv_d, wavelength_ang)])
    x, y, s = _ascending(x[keep], y[keep], None if s is None else s[keep])
    if len(x) < MIN_POINTS:
        raise InvalidInput(f"{len(x)} points lie above zero, a pattern has at least {MIN_POINTS}")
    checked = wavelength_ang if nominal else wavelength(wavelength_ang)
    return Pattern(x, y, s, checked, doublet, monochromatic, nominal, name, tuple(warnings))


def _two_theta(inv_d: np.ndarray, wavelength_ang: float) -> np.ndarray:
    sine = inv_d * wavelength_ang / 2
    if sine.max() > 1:
        raise InvalidInput(
            f"q = 1/d = {inv_d.max():.4g} cannot be reached with the wavelength {wavelength_ang:g} Angstrom: "
            "is q perhaps 2 pi/d (axis q_2pi_inv_ang, q_2pi_inv_nm)?"
        )
    return np.degrees(2 * np.arcsin(sine))


def _check_columns(x: np.ndarray, y: np.ndarray, s: np.ndarray | None) -> None:
    if len(x) != len(y) or (s is not None and len(s) != len(x)):
        raise InvalidInput(f"{len(x)} positions and {len(y)} counts, expected as many of each")
    if len(x) < MIN_POINTS:
        raise InvalidInput(
            f"{len(x)} points, a pattern has at least {MIN_POINTS}; a list of lines goes where peaks are asked for"
        )
    if len(x) > MAX_POINTS:
        raise TooLarge(f"{len(x)} points, at most {MAX_POINTS} are read")
    columns = {"position": x, "count": y} | ({} if s is None else {"sigma": s})
    for what, column in columns.items():
        if not np.isfinite(column).all():
            raise InvalidInput(f"the {what} of point {int(np.argmin(np.isfinite(column))) + 1} is not a finite number")
    if np.ptp(y) == 0:
        raise InvalidInput(f"all {len(y)} counts are {y[0]:g}: there is no pattern")


def _ascending(x: np.ndarray, y: np.ndarray, s: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    if len(x) > 1 and x[0] > x[-1]:
        x, y, s = x[::-1], y[::-1], None if s is None else s[::-1]
    step = np.diff(x)
    if np.any(step <= 0):
        at = int(np.argmax(step <= 0))
        raise InvalidInput(
            f"positions must ascend or descend throughout, but {x[at]:g} and {x[at + 1]:g} follow each other "
            f"at point {at + 2}; one scan a file, and a decimal comma needs blanks or semicolons between the columns"
        )
    return np.ascontiguousarray(x), np.ascontiguousarray(y), None if s is None else np.ascontiguousarray(s)
