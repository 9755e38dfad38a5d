"""From a question and a published model to an answer: the decay between two calibrations, with what else a user needs.

A single model or an ensemble answers; members are corrected one by one and combined as the D3 pipeline does it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float

from app.errors import InvalidInput, ModelOutputInvalid
from app.polarization import decay
from app.polarization.anchored import foretold, laboratory_calibration
from app.polarization.correction import (
    MEANING,
    Anchor,
    Curve,
    bump,
    extrapolated,
    line_sigma,
    merged,
    position,
    rises,
    slope_corrected,
)
from app.polarization.decay import HOUR_S
from app.polarization.elementary import largest, smallest
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
    "before-initial": "there are times before the initial calibration: they are extrapolated",
    "after-final": "there are times after the final calibration: they are extrapolated",
    "beyond-amplitude": "a calibration is not between 0 and the set-up's largest polarization: its opacity is a guess",
    "threshold-passed": "the polarization is under the threshold at the first calibration already",
    "threshold-not-reached": "the polarization does not fall under the threshold within eight lifetimes",
}
"""What a note's code means, in the order of the notes."""

_LONGEST_LIFETIME_S: Final = 1e6 * HOUR_S
"""The calibrations are taken as not decaying where they give a longer T1."""
_CROSSING_LIFETIMES: Final = 8.0
"""A threshold is sought this many lifetimes beyond the final calibration."""
_BEYOND_MEASURE: Final = "a model gave a value that is not finite"
_CROSSING_POINTS: Final = 129
"""Points of each of the two grids by which a crossing is found; the second lies in one step of the first."""


class Ask(NamedTuple):
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


class Note(NamedTuple):
    """Something that the user must know of an answer: a stable code and a sentence."""

    code: str
    message: str


class Lifetime(NamedTuple):
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


class Answered(NamedTuple):
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


def predict(asks: Sequence[Ask], models: Sequence[PolarizationModel]) -> list[Answered]:
    """Answer many questions of one material by one model or an ensemble; each network is asked once for all.

    Args:
        asks: the questions.
        models: one model, or several whose curves are combined by inverse variance.

    Raises:
        InvalidInput: model and material do not match; a calibration is missing that the model needs; the final
            calibration is before the initial one. The details name the question by its ``index``.
        ModelOutputInvalid: a model gave NaN or an infinity.
    """
    if not models:
        raise InvalidInput("no model was named; name one, or leave the field out for the default of the material")
    queries: list[Query] = []
    of_ask: list[int | None] = []
    for index, ask in enumerate(asks):
        query = _query(ask)
        try:
            _check(ask, query, models)
        except InvalidInput as error:
            raise InvalidInput(error.message, details={"index": index}) from None
        of_ask.append(None if query is None else len(queries))
        queries += [] if query is None else [query]
    try:
        answers = [model.answers(queries) for model in models] if queries else []
        decays = [
            _Foretold(ask, models[0]) if k is None else _Between(ask, queries[k], models, [of[k] for of in answers])
            for ask, k in zip(asks, of_ask, strict=True)
        ]
        return [_answered(decay) for decay in decays]
    except ArithmeticError as error:
        raise ModelOutputInvalid(_BEYOND_MEASURE) from error


def _check(ask: Ask, query: Query | None, models: Sequence[PolarizationModel]) -> None:
    for model in models:
        if model.material != ask.material:
            raise InvalidInput(
                f"model {model.loaded.name!r} is for {model.material} set-ups and the experiment is {ask.material}"
            )
    if ask.initial and ask.final and ask.final.time_s < ask.initial.time_s:
        raise InvalidInput(
            f"the final calibration ({ask.final.time_s:.0f} s) is before the initial one ({ask.initial.time_s:.0f} s): "
            "exchange them"
        )
    if query is None and not (len(models) == 1 and isinstance(models[0], AnchoredModel)):
        raise InvalidInput(
            f"{_named(models)} an initial and a later final calibration; give both, or use one model of the "
            "anchored-decay family, which knows the cells' usual lifetimes"
        )


def _named(models: Sequence[PolarizationModel]) -> str:
    return f"model {models[0].loaded.name!r} needs" if len(models) == 1 else "an ensemble needs"


def _query(ask: Ask) -> Query | None:
    if ask.initial is None or ask.final is None or ask.initial.time_s == ask.final.time_s:
        return None
    return Query(ask.material, ask.polarizer, ask.analyser, ask.lab_time_s, ask.initial, ask.final, ask.time_s)


class _Decay(Protocol):
    """How one question is answered."""

    @property
    def ask(self) -> Ask: ...

    def asked(self) -> tuple[Curve, set[str]]:
        """The curve at the times asked, and flags."""
        ...

    def curve(self, time_s: Float[np.ndarray, "time"]) -> Curve:
        """The curve at any times."""
        ...

    def physics(self) -> Curve | None: ...

    def lifetime(self) -> Lifetime | None: ...

    def notes(self) -> list[Note]: ...


def _answered(how: _Decay) -> Answered:
    ask = how.ask
    curve, flags = how.asked()
    if not (_is_finite(curve.mean) and _is_finite(curve.sigma)):  # neither can be minus infinity
        raise ModelOutputInvalid(_BEYOND_MEASURE)
    ratio, ratio_sigma = decay.flipping_ratio(curve.mean, curve.sigma)
    lifetime = how.lifetime()
    crossing = None
    if ask.threshold is not None:
        crossing, flag = _crossing(how, ask.threshold, lifetime)
        flags |= flag
    told = [Note(flag, meaning) for flag, meaning in MEANINGS.items() if flag in flags] if flags else []
    return Answered(curve, ratio, ratio_sigma, how.physics(), lifetime, crossing, (*how.notes(), *told))


# --- two calibrations -------------------------------------------------------------------------------------------------


class _Between:
    """Two calibrations: the models' curves, corrected one by one and combined."""

    def __init__(self, ask: Ask, query: Query, models: Sequence[PolarizationModel], answers: Sequence[Answer]) -> None:
        self.ask = ask
        self._query = query
        self._models = models
        self._answers = answers
        self._fit = answers[0].physics
        self._course = self._fit.course(query.time_s)
        self._physics = self._physics_on(self._course)

    def physics(self) -> Curve:
        return self._physics if self._fit.optics.amplitude <= 1 else _clipped(self._physics)

    def _physics_on(self, course: decay.Course) -> Curve:
        sigma = decay.anchor_sigma(self._fit, course, self._query.initial.sigma, self._query.final.sigma)
        return Curve(course.mean, sigma)

    def asked(self) -> tuple[Curve, set[str]]:
        raw = [answer.asked(self._course_of(answer, self._course)) for answer in self._answers]
        curve, flags = self._corrected(self._course, raw, self._physics)
        if self._fit.beyond_amplitude:
            flags.add("beyond-amplitude")
        return curve, flags

    def curve(self, time_s: Float[np.ndarray, "time"]) -> Curve:
        course = self._fit.course(time_s)
        raw = [answer.curve(self._course_of(answer, course)) for answer in self._answers]
        return self._corrected(course, raw, self._physics_on(course))[0]

    def _course_of(self, answer: Answer, course: decay.Course) -> decay.Course:
        """The course at the same times of what a member takes for the physics."""
        return course if answer.physics is self._fit else answer.physics.course(course.time_s)

    def _corrected(self, course: decay.Course, raw: Sequence[Curve], physics: Curve) -> tuple[Curve, set[str]]:
        query, correction = self._query, self.ask.correction
        through = not self._fit.beyond_amplitude
        members = [
            _uncorrected_member(query, own, course)
            if answer.anchored and through and correction == "sloped"
            else _member(query, answer, correction, own, physics, course)
            for answer, own in zip(self._answers, raw, strict=True)
        ]
        flags = {flag for _, _, flags in members for flag in flags}
        if len(members) == 1:
            return members[0][0], flags
        return _combined(query, correction, course.time_s, members, physics), flags

    def lifetime(self) -> Lifetime | None:
        return _lifetime(self._answers, self._fit, self._query)

    def notes(self) -> list[Note]:
        outside = {o.feature: o for model in self._models for o in model.outside(self._query)}
        return [*_cell_notes(self.ask.polarizer, self._models), *(_outside_note(o) for o in outside.values())]


Member = tuple[Curve, Curve, tuple[str, ...]]
"""A member's corrected curve, its curve before correction, and the correction's flags."""


def _member(
    query: Query,
    answer: Answer,
    correction: Correction,
    raw: Curve,
    physics: Curve,
    course: decay.Course,
) -> Member:
    if correction == "none":
        clipped, raw, flags = _uncorrected_member(query, raw, course)
        return clipped, raw, ("not-corrected", *flags)
    initial, final = (
        Anchor(calibration, predicted)
        for calibration, predicted in zip((query.initial, query.final), answer.at_anchors, strict=True)
    )
    corrected = slope_corrected(course.time_s, raw, initial, final, raw if answer.anchored else physics)
    sigma = raw.sigma if answer.anchored else corrected.sigma
    return Curve(corrected.mean, sigma), raw, corrected.flags


def _uncorrected_member(query: Query, raw: Curve, course: decay.Course) -> Member:
    """The model's own curve: as asked, or because it passes through both calibrations by itself."""
    clipped = _clipped(raw)
    rising = ("rising-polarization",) * rises(query.initial, query.final)
    beyond = () if course.is_between else extrapolated(course.time_s, query.initial, query.final)
    return clipped, raw, (*beyond, *(("clipped",) * (clipped is not raw)), *rising)


def _clipped(curve: Curve) -> Curve:
    """The same curve where it is between -1 and 1."""
    if curve.mean.size and smallest(curve.mean) >= -1 and largest(curve.mean) <= 1:
        return curve
    return Curve(np.minimum(np.maximum(curve.mean, -1.0), 1.0), curve.sigma)


def _is_finite(values: Float[np.ndarray, "time"]) -> bool:
    return not values.size or math.isfinite(largest(values))


def _combined(
    query: Query, correction: Correction, time_s: Float[np.ndarray, "time"], members: list[Member], physics: Curve
) -> Curve:
    """Inverse-variance mean of the corrected members; the anchors' errors are common to all and added in quadrature.

    Beyond the anchors sigma is nowhere less than that of the physics curve, which is what goes on there.
    """
    own = np.stack([raw.sigma for _, raw, _ in members])
    mean = inverse_variance_mean(np.stack([corrected.mean for corrected, _, _ in members]), own)
    if correction == "none":
        return mean
    u = position(time_s, query.initial, query.final)
    anchors = line_sigma(u, query.initial.sigma, query.final.sigma)
    anchors = np.where((u < 0) | (u > 1), np.maximum(anchors, physics.sigma), anchors)
    return Curve(mean.mean, np.hypot(anchors, bump(u) * mean.sigma))


def _lifetime(answers: Sequence[Answer], fit: decay.DecayFit, query: Query) -> Lifetime | None:
    if len(answers) == 1 and (known := answers[0].log_t1_h) is not None:
        return _lifetime_from_log(*known)
    if bool(fit.not_decaying) or float(fit.t1_s) > _LONGEST_LIFETIME_S:
        return None
    sigma_s = decay.t1_sigma_s(fit, query.initial.sigma, query.final.sigma)
    return Lifetime(float(fit.t1_s) / HOUR_S, float(sigma_s) / HOUR_S)


def _lifetime_from_log(log_t1_h: float, sigma: float) -> Lifetime:
    t1_h = float(np.exp(log_t1_h))  # infinite where the calibrations are beyond all measure
    return Lifetime(t1_h, t1_h * sigma)


# --- one calibration, or none -----------------------------------------------------------------------------------------


class _Foretold:
    """One calibration or none: the cell's usual lifetime, from the calibration or the filling laboratory's value."""

    def __init__(self, ask: Ask, model: PolarizationModel) -> None:
        assert isinstance(model, AnchoredModel)  # noqa: S101 - `_check` admits no other
        self.ask = ask
        self._model = model
        calibration, self._flag = _single_calibration(ask)
        self._start = calibration or laboratory_calibration(ask.polarizer, ask.lab_time_s, model.parameters)
        self._prior = model.lifetime(ask.polarizer.cell_id)

    def asked(self) -> tuple[Curve, set[str]]:
        return self.curve(self.ask.time_s), {self._flag}

    def curve(self, time_s: Float[np.ndarray, "time"]) -> Curve:
        return _clipped(foretold(self._start, self._prior, self._model.optics, time_s))

    def physics(self) -> None:
        return None

    def lifetime(self) -> Lifetime:
        return _lifetime_from_log(self._prior.log_t1_h, self._prior.spread)

    def notes(self) -> list[Note]:
        return _cell_notes(self.ask.polarizer, [self._model])


def _single_calibration(ask: Ask) -> tuple[Calibration | None, str]:
    """The one calibration and what to say of it; two at one time are their inverse-variance mean."""
    if ask.initial is None or ask.final is None:
        calibration = ask.initial or ask.final
        return calibration, "no-anchor" if calibration is None else "one-anchor"
    return merged(ask.initial, ask.final), "anchors-coincide"


# --- what else a user needs -------------------------------------------------------------------------------------------


def _cell_notes(polarizer: Cell, models: Sequence[PolarizationModel]) -> list[Note]:
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


def _crossing(how: _Decay, threshold: float, lifetime: Lifetime | None) -> tuple[Crossing, set[str]]:
    """Find when the curve, and the curve less and plus one sigma, falls under the threshold, and a flag.

    The search begins at the initial calibration and is linear between the points of the finer grid.
    """
    ask = how.ask
    known = [c.time_s for c in (ask.initial, ask.final) if c is not None] or [ask.lab_time_s]
    beyond = _CROSSING_LIFETIMES * (lifetime.t1_h * HOUR_S if lifetime else max(known) - min(known))
    grid = np.linspace(min(known), max(known) + beyond, _CROSSING_POINTS)
    steps = [_step_below(values, threshold) for values in _lines(how.curve(grid))]
    fine = np.stack([np.linspace(grid[max(k - 1, 0)], grid[k], _CROSSING_POINTS) for k in (s or 0 for s in steps)])
    curve = how.curve(fine.ravel())
    finer = Curve(curve.mean.reshape(fine.shape), curve.sigma.reshape(fine.shape))
    found = [
        None if step is None else float(grid[0]) if step == 0 else _time_below(fine[row], values[row], threshold)
        for row, (step, values) in enumerate(zip(steps, _lines(finer), strict=True))
    ]
    flag = {None: {"threshold-not-reached"}, 0: {"threshold-passed"}}.get(steps[0], set())
    return Crossing(*found), flag


def _lines(curve: Curve) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return curve.mean, curve.mean - curve.sigma, curve.mean + curve.sigma


def _step_below(values: Float[np.ndarray, "time"], threshold: float) -> int | None:
    below = values < threshold
    return int(below.argmax()) if below.any() else None


def _time_below(time_s: Float[np.ndarray, "time"], values: Float[np.ndarray, "time"], threshold: float) -> float:
    k = _step_below(values, threshold)
    if not k:
        return float(time_s[-1] if k is None else time_s[0])
    share = (values[k - 1] - threshold) / (values[k - 1] - values[k])
    return float(time_s[k - 1] + share * (time_s[k] - time_s[k - 1]))
