"""From a question and a published model to an answer: the decay between two calibrations, with what else a user needs.

A single model or an ensemble answers; members are corrected one by one and combined as the D3 pipeline does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float

from app.errors import InvalidInput, ModelOutputInvalid
from app.polarization import decay
from app.polarization.anchored import foretold, laboratory_calibration
from app.polarization.correction import MEANING, Anchor, Curve, bump, line_sigma, position, slope_corrected
from app.polarization.ensemble import inverse_variance_mean
from app.polarization.experiment import Calibration, Cell, Material, Query
from app.polarization.models import AnchoredModel, Answer, Outside, PolarizationModel

Correction = Literal["sloped", "none"]
MEANINGS: Final = {
    **MEANING,
    "anchors-coincide": "both calibrations have the same time: their weighted mean counts as one calibration",
    "one-anchor": "there is one calibration only: the curve follows the cell's usual lifetime from it",
    "no-anchor": "there is no calibration: the cell's usual lifetime is followed from the filling laboratory's value",
    "not-corrected": "the curve was not corrected by the calibrations, as asked",
}
"""What a note's code means, in the order of the notes."""

_HOUR_S: Final = 3600.0
_CROSSING_LIFETIMES: Final = 8.0
"""A threshold is sought this many lifetimes beyond the final calibration."""
_CROSSING_POINTS: Final = 129
_CROSSING_PASSES: Final = 3
"""Each pass narrows the place of a crossing by the number of points."""


@dataclass(frozen=True)
class Ask:
    """One question.

    Attributes:
        material: crystalline (a polarizer cell) or amorphous (polarizer and analyser cell).
        lab_time_s: when the polarizer's lab polarization was measured, on the calibrations' clock.
        initial, final: the calibrations; None where there is none (yet).
        time_s: times to predict at, shape ``time``; any order, also outside the calibrations.
        correction: `sloped`, so that the curve passes through both calibrations, or `none`.
        threshold: a polarization; the answer says when the curve falls under it.
    """

    material: Material
    polarizer: Cell
    analyser: Cell | None
    lab_time_s: float
    initial: Calibration | None
    final: Calibration | None
    time_s: Float[np.ndarray, "time"]
    correction: Correction = "sloped"
    threshold: float | None = None


@dataclass(frozen=True)
class Note:
    """Something that the user must know of an answer: a stable code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True)
class Lifetime:
    """T1 of the polarizer cell [h] and its standard deviation."""

    t1_h: float
    sigma_h: float


@dataclass(frozen=True)
class Crossing:
    """When the curve falls under the threshold, on the calibrations' clock [s]; None where it never does.

    `earliest_s` and `latest_s` are where the curve less and plus one sigma does.
    """

    time_s: float | None
    earliest_s: float | None
    latest_s: float | None


@dataclass(frozen=True)
class Answered:
    """The answer to one `Ask`; arrays have the shape ``time`` and the order of the times asked.

    Attributes:
        curve: neutron polarization with its standard deviation.
        flipping_ratio, flipping_ratio_sigma: R = (1+P)/(1-P); infinite where P is 1.
        physics: the decay through both calibrations and nothing else, for comparison; None without both.
        lifetime: T1; None where the calibrations do not decay and the model knows no lifetime.
        crossing: None where no threshold was asked.
        notes: in a fixed order.
    """

    curve: Curve
    flipping_ratio: Float[np.ndarray, "time"]
    flipping_ratio_sigma: Float[np.ndarray, "time"]
    physics: Curve | None
    lifetime: Lifetime | None
    crossing: Crossing | None
    notes: tuple[Note, ...]


CurveAt = Callable[[Float[np.ndarray, "time"]], tuple[Curve, tuple[str, ...]]]
"""Times -> final curve and correction flags."""


def predict(asks: Sequence[Ask], models: Sequence[PolarizationModel]) -> list[Answered]:
    """Answer many questions of one material by one model or an ensemble; networks are asked once for all.

    Args:
        asks: the questions.
        models: one model, or several whose curves are combined by inverse variance.

    Raises:
        InvalidInput: model and material do not match; a calibration is missing that the model needs; the final
            calibration is before the initial one.
        ModelOutputInvalid: a model gave NaN or an infinity.
    """
    if not models:
        raise InvalidInput("no model was named; name one, or leave the field out for the default of the material")
    for ask in asks:
        _check(ask, models)
    both = [i for i, ask in enumerate(asks) if _query(ask) is not None]
    queries = [query for ask in asks if (query := _query(ask)) is not None]
    answers = [model.answers(queries) for model in models] if queries else []
    of_ask = {i: [member[k] for member in answers] for k, i in enumerate(both)}
    return [_answered(ask, models, of_ask.get(i)) for i, ask in enumerate(asks)]


def _check(ask: Ask, models: Sequence[PolarizationModel]) -> None:
    for model in models:
        name = model.loaded.manifest.name
        if model.material != ask.material:
            raise InvalidInput(f"model {name!r} is for {model.material} set-ups and the experiment is {ask.material}")
        if not isinstance(model, AnchoredModel) and _query(ask) is None:
            raise InvalidInput(
                f"model {name!r} needs an initial and a later final calibration; give both, or use a model of the "
                "anchored-decay family, which knows the cells' usual lifetimes"
            )
    if ask.initial and ask.final and ask.final.time_s < ask.initial.time_s:
        raise InvalidInput(
            f"the final calibration ({ask.final.time_s:.0f} s) is before the initial one ({ask.initial.time_s:.0f} s): "
            "exchange them"
        )


def _query(ask: Ask) -> Query | None:
    if ask.initial is None or ask.final is None or ask.initial.time_s == ask.final.time_s:
        return None
    return Query(ask.material, ask.polarizer, ask.analyser, ask.lab_time_s, ask.initial, ask.final, ask.time_s)


def _answered(ask: Ask, models: Sequence[PolarizationModel], answers: Sequence[Answer] | None) -> Answered:
    query = _query(ask)
    if query is not None and answers is not None:
        curve_at, physics, lifetime = _between(query, models, answers, ask.correction)
        notes = _codes_of_models(query, models)
    else:
        curve_at, physics, lifetime = _from_one(ask, models)
        notes = _cell_codes(ask.polarizer, models)
    curve, flags = curve_at(ask.time_s)
    if not (np.isfinite(curve.mean).all() and np.isfinite(curve.sigma).all()):
        raise ModelOutputInvalid(f"model {models[0].loaded.manifest.name!r} gave a value that is not finite")
    ratio, ratio_sigma = decay.flipping_ratio(curve.mean, curve.sigma)
    crossing = None if ask.threshold is None else _crossing(ask, ask.threshold, curve_at, lifetime)
    notes += [Note(flag, meaning) for flag, meaning in MEANINGS.items() if flag in flags]
    return Answered(curve, ratio, ratio_sigma, physics, lifetime, crossing, tuple(notes))


# --- two calibrations -------------------------------------------------------------------------------------------------


def _between(
    query: Query, models: Sequence[PolarizationModel], answers: Sequence[Answer], correction: Correction
) -> tuple[CurveAt, Curve, Lifetime | None]:
    fit = decay.fit_anchors(
        initial_s=query.initial.time_s,
        p_initial=query.initial.polarization,
        final_s=query.final.time_s,
        p_final=query.final.polarization,
        optics=models[0].optics,
    )

    def physics(time_s: Float[np.ndarray, "time"]) -> Curve:
        sigma = decay.anchor_sigma(fit, time_s, query.initial.sigma, query.final.sigma)
        return Curve(np.asarray(fit.polarization(time_s)), sigma)

    def curve_at(time_s: Float[np.ndarray, "time"]) -> tuple[Curve, tuple[str, ...]]:
        members = [_member(query, answer, correction, physics, time_s) for answer in answers]
        curve = members[0][0] if len(members) == 1 else _combined(query, correction, time_s, members)
        return curve, tuple({flag for _, _, flags in members for flag in flags})

    return curve_at, physics(query.time_s), _lifetime(answers, fit, query)


Member = tuple[Curve, Curve, tuple[str, ...]]
"""A member's corrected curve, its curve before correction, and the correction's flags."""


def _member(
    query: Query,
    answer: Answer,
    correction: Correction,
    physics: Callable[[np.ndarray], Curve],
    time_s: Float[np.ndarray, "time"],
) -> Member:
    raw = answer.curve(time_s)
    if correction == "none":
        return _clipped(raw), raw, ("not-corrected",)
    at_anchors = answer.curve(np.array([query.initial.time_s, query.final.time_s])).mean
    initial, final = (Anchor(c, float(p)) for c, p in zip((query.initial, query.final), at_anchors, strict=True))
    corrected = slope_corrected(time_s, raw, initial, final, raw if answer.anchored else physics(time_s))
    sigma = raw.sigma if answer.anchored else corrected.sigma
    return Curve(corrected.mean, sigma), raw, corrected.flags


def _clipped(curve: Curve) -> Curve:
    return Curve(np.clip(curve.mean, -1.0, 1.0), curve.sigma)


def _combined(query: Query, correction: Correction, time_s: Float[np.ndarray, "time"], members: list[Member]) -> Curve:
    """Inverse-variance mean of the corrected members; the anchors' errors are common to all and added in quadrature."""
    own = np.stack([raw.sigma for _, raw, _ in members])
    mean = inverse_variance_mean(np.stack([corrected.mean for corrected, _, _ in members]), own)
    if correction == "none":
        return _clipped(mean)
    u = position(time_s, query.initial, query.final)
    anchors = line_sigma(u, query.initial.sigma, query.final.sigma)
    return _clipped(Curve(mean.mean, np.hypot(anchors, bump(u) * mean.sigma)))


def _lifetime(answers: Sequence[Answer], fit: decay.DecayFit, query: Query) -> Lifetime | None:
    if len(answers) == 1 and (known := answers[0].log_t1_h) is not None:
        return _lifetime_from_log(*known)
    if bool(fit.not_decaying):
        return None
    sigma_s = decay.t1_sigma_s(fit, query.initial.sigma, query.final.sigma)
    return Lifetime(float(fit.t1_s) / _HOUR_S, float(sigma_s) / _HOUR_S)


def _lifetime_from_log(log_t1_h: float, sigma: float) -> Lifetime:
    return Lifetime(float(np.exp(log_t1_h)), float(np.exp(log_t1_h) * sigma))


# --- one calibration, or none -----------------------------------------------------------------------------------------


def _from_one(ask: Ask, models: Sequence[PolarizationModel]) -> tuple[CurveAt, None, Lifetime]:
    """Follow the cell's usual lifetime from the calibration there is, or from the filling laboratory's polarization."""
    model = models[0]
    if not isinstance(model, AnchoredModel) or len(models) > 1:
        raise InvalidInput("an ensemble needs both calibrations")
    calibration, flag = _single_calibration(ask)
    start = calibration or laboratory_calibration(ask.polarizer, ask.lab_time_s, model.parameters)
    prior = model.lifetime(ask.polarizer.cell_id)

    def curve_at(time_s: Float[np.ndarray, "time"]) -> tuple[Curve, tuple[str, ...]]:
        return _clipped(foretold(start, prior, model.optics, time_s)), (flag,)

    return curve_at, None, _lifetime_from_log(prior.log_t1_h, prior.spread)


def _single_calibration(ask: Ask) -> tuple[Calibration | None, str]:
    """The one calibration and what to say of it; two at one time are their inverse-variance mean."""
    if ask.initial is None or ask.final is None:
        calibration = ask.initial or ask.final
        return calibration, "no-anchor" if calibration is None else "one-anchor"
    weights = np.array([ask.initial.sigma, ask.final.sigma]) ** -2.0
    mean = float(np.average([ask.initial.polarization, ask.final.polarization], weights=weights))
    return Calibration(ask.initial.time_s, mean, float(weights.sum() ** -0.5)), "anchors-coincide"


# --- what else a user needs -------------------------------------------------------------------------------------------


def _codes_of_models(query: Query, models: Sequence[PolarizationModel]) -> list[Note]:
    outside = {o.feature: o for model in models for o in model.outside(query)}
    return [*_cell_codes(query.polarizer, models), *(_outside_note(o) for o in outside.values())]


def _cell_codes(polarizer: Cell, models: Sequence[PolarizationModel]) -> list[Note]:
    if all(model.knows_cell(polarizer.cell_id) for model in models):
        return []
    return [
        Note(
            "unknown-cell",
            f"cell {polarizer.cell_id!r} was not in the training data: what is known of other cells is assumed for it",
        )
    ]


def _outside_note(outside: Outside) -> Note:
    return Note(
        "outside-training-range",
        f"{outside.feature} = {outside.value:.6g} is outside the {outside.lowest:.6g} to {outside.highest:.6g} "
        "that the model was trained on",
    )


def _crossing(ask: Ask, threshold: float, curve_at: CurveAt, lifetime: Lifetime | None) -> Crossing:
    """Find when the curve, and the curve less and plus one sigma, falls under the threshold after the first time."""
    known = [c.time_s for c in (ask.initial, ask.final) if c is not None] or [float(np.min(ask.time_s))]
    beyond = _CROSSING_LIFETIMES * (lifetime.t1_h * _HOUR_S if lifetime else max(known) - min(known))

    def first_below(sigmas: float) -> float | None:
        low, high = min(known), max(known) + beyond
        for _ in range(_CROSSING_PASSES):
            grid = np.linspace(low, high, _CROSSING_POINTS)
            curve, _flags = curve_at(grid)
            below = np.flatnonzero(curve.mean + sigmas * curve.sigma < threshold)
            if below.size == 0:
                return None
            k = int(below[0])
            if k == 0:
                return float(grid[0])
            low, high = float(grid[k - 1]), float(grid[k])
        return high

    return Crossing(first_below(0.0), first_below(-1.0), first_below(1.0))
