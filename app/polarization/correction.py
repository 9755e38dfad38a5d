"""The slope correction: subtract a line so that a predicted curve passes through both calibrations.

With u = (t-t0)/(t1-t0), P the model's curve and P0, P1 the measured anchors with errors s0, s1:

    P_c       = P - [(1-u) (P(t0) - P0) + u (P(t1) - P1)]
    sigma_c^2 = (1-u)^2 s0^2 + u^2 s1^2 + (4u(1-u) s)^2

so that at an anchor both the value and its error are the measured ones. The D3 notebooks keep the model's sigma.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from app.errors import InvalidInput
from app.polarization.elementary import largest, smallest
from app.polarization.experiment import Calibration

Flag = Literal[
    "anchors-coincide", "one-anchor", "no-anchor", "before-initial", "after-final", "clipped", "rising-polarization"
]

MEANING: Final = MappingProxyType[Flag, str](
    {
        "anchors-coincide": "both calibrations have the same time: the curve was shifted to their weighted mean",
        "one-anchor": "there is one calibration only: the curve was shifted to it, its slope is the model's",
        "no-anchor": "there is no calibration: the model's curve was not corrected",
        "before-initial": "times before the initial calibration continue the physics curve, with a wider sigma",
        "after-final": "times after the final calibration continue the physics curve, with a wider sigma",
        "clipped": "a predicted polarization beyond 1 was clipped",
        "rising-polarization": "the final calibration is more than 2 sigma above the initial one: a spin filter decays",
    }
)
"""What each flag says, for a person."""


class Curve(NamedTuple):
    """A predicted curve: neutron polarization and its standard deviation, each of shape ``time``."""

    mean: Float[np.ndarray, "time"]
    sigma: Float[np.ndarray, "time"]


@dataclass(frozen=True)
class Corrected:
    """A corrected curve and what there is to say about it, in the order of `MEANING`."""

    mean: Float[np.ndarray, "time"]
    sigma: Float[np.ndarray, "time"]
    flags: tuple[Flag, ...]


@dataclass(frozen=True)
class Anchor:
    """A calibration and the model's own prediction at its time."""

    measured: Calibration
    predicted: float

    @property
    def excess(self) -> float:
        return self.predicted - self.measured.polarization


def position(time_s: Float[np.ndarray, "time"], initial: Calibration, final: Calibration) -> Float[np.ndarray, "time"]:
    """Give u: 0 at the initial, 1 at the final calibration. They must differ in time."""
    return (time_s - initial.time_s) / (final.time_s - initial.time_s)


def line_sigma(u: Float[np.ndarray, "time"], s0: float, s1: float) -> Float[np.ndarray, "time"]:
    """Give the error that the two anchors' errors put on a line between them."""
    return np.hypot((1 - u) * s0, u * s1)


def bump(u: Float[np.ndarray, "time"]) -> Float[np.ndarray, "time"]:
    """Give 4u(1-u): 0 at the anchors, 1 halfway, growing in size outside."""
    return 4 * u * (1 - u)


def slope_corrected(
    time_s: Float[np.ndarray, "time"],
    model: Curve,
    initial: Anchor | None,
    final: Anchor | None,
    continuation: Curve | None = None,
) -> Corrected:
    """Correct a model's curve by the calibrations there are.

    Args:
        time_s: times of the curve [s], on the calibrations' clock.
        model: the model's curve at these times.
        initial, final: the calibrations, each with the model's prediction at its time; None where there is none.
        continuation: the physics curve through both anchors at the same times, with the anchors' errors propagated:
            it replaces the corrected curve outside the anchors. Left out, the corrected curve goes on with its line.

    Raises:
        InvalidInput: the final calibration is before the initial one, or an anchor's sigma is negative.
    """
    _check(initial, final)
    if initial is None or final is None:
        anchor = initial or final
        return (
            _finish(model.mean, model.sigma, ["no-anchor"])
            if anchor is None
            else _shifted(model, anchor, ["one-anchor"])
        )
    flags: list[Flag] = ["rising-polarization"] if rises(initial.measured, final.measured) else []
    if initial.measured.time_s == final.measured.time_s:
        return _shifted(model, _merged_anchor(initial, final), ["anchors-coincide", *flags])
    return _between(time_s, model, initial, final, continuation, flags)


def _check(initial: Anchor | None, final: Anchor | None) -> None:
    for anchor in (initial, final):
        if anchor is not None and not anchor.measured.sigma >= 0:
            raise InvalidInput(f"a calibration's sigma is {anchor.measured.sigma}; it must be zero or more")
    if initial is not None and final is not None and final.measured.time_s < initial.measured.time_s:
        raise InvalidInput(
            f"the final calibration ({final.measured.time_s} s) is before the initial one "
            f"({initial.measured.time_s} s): exchange them"
        )


def rises(initial: Calibration, final: Calibration) -> bool:
    """Whether the final calibration is more than 2 sigma above the initial one."""
    return final.polarization > initial.polarization + 2 * math.hypot(initial.sigma, final.sigma)


def _shifted(model: Curve, anchor: Anchor, flags: list[Flag]) -> Corrected:
    """One anchor fixes an offset; how fast the model errs away from it is not known, so all its sigma stays."""
    return _finish(model.mean - anchor.excess, np.hypot(model.sigma, anchor.measured.sigma), flags)


def merged(a: Calibration, b: Calibration) -> Calibration:
    """Give the inverse-variance mean of two calibrations at one time. An error of 0 outweighs any other."""
    variances = np.array([a.sigma**2, b.sigma**2])
    exact = variances == 0
    weights = exact.astype(float) if exact.any() else 1 / variances
    mean = float(np.average([a.polarization, b.polarization], weights=weights))
    return Calibration(a.time_s, mean, 0.0 if exact.any() else float(weights.sum() ** -0.5))


def _merged_anchor(a: Anchor, b: Anchor) -> Anchor:
    predicted = (replace(anchor.measured, polarization=anchor.predicted) for anchor in (a, b))
    return Anchor(merged(a.measured, b.measured), merged(*predicted).polarization)


def _between(
    time_s: Float[np.ndarray, "time"],
    model: Curve,
    initial: Anchor,
    final: Anchor,
    continuation: Curve | None,
    flags: list[Flag],
) -> Corrected:
    u = position(time_s, initial.measured, final.measured)
    mean = model.mean - ((1 - u) * initial.excess + u * final.excess)
    anchors = line_sigma(u, initial.measured.sigma, final.measured.sigma)
    outside: Bool[np.ndarray, "time"] = (u < 0) | (u > 1)
    if continuation is not None:
        mean = np.where(outside, continuation.mean, mean)
        anchors = np.where(outside, np.maximum(continuation.sigma, anchors), anchors)
    where = extrapolated(time_s, initial.measured, final.measured)
    return _finish(mean, np.hypot(anchors, bump(u) * model.sigma), [*where, *flags])


def extrapolated(time_s: Float[np.ndarray, "time"], initial: Calibration, final: Calibration) -> tuple[Flag, ...]:
    """Say on which sides of the calibrations there are times."""
    if not time_s.size:
        return ()
    flags: list[Flag] = ["before-initial"] if smallest(time_s) < initial.time_s else []
    return (*flags, "after-final") if largest(time_s) > final.time_s else tuple(flags)


def _finish(mean: Float[np.ndarray, "time"], sigma: Float[np.ndarray, "time"], flags: list[Flag]) -> Corrected:
    clipped = np.clip(mean, -1.0, 1.0)
    found = {*flags, *(["clipped"] if np.any(clipped != mean) else [])}
    return Corrected(clipped, sigma, tuple(flag for flag in MEANING if flag in found))
