"""From a request to questions: date-times become seconds since the initial calibration, flipping ratios P."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from jaxtyping import Float

from app.api.polarization_schema import ExperimentIn, PolarizationIn, PredictAtIn
from app.errors import AppError, InvalidInput, TooLarge
from app.polarization import decay
from app.polarization.case import DEFAULT_POINTS, Case, grid_s
from app.polarization.exchange import UNKNOWN_DATE
from app.polarization.experiment import Calibration, Cell
from app.polarization.predict import Ask, Correction


def located(error: AppError, index: int) -> AppError:
    """The same error, told of one experiment of a request."""
    message = f"experiments.{index}: {error.message}"
    loc = ["body", "experiments", index]
    details = {key: value for key, value in error.details.items() if key != "index"}
    errors = [{"loc": loc, "msg": error.message, "type": error.kind.replace("-", "_")}]
    return type(error)(message, details={**details, "errors": errors})


def cases_from_experiments(experiments: Sequence[ExperimentIn], correction: Correction, max_times: int) -> list[Case]:
    """Translate all experiments of a request.

    Raises:
        InvalidInput: of one experiment, whose index is named.
        TooLarge: more than ``max_times`` together.
    """
    cases: list[Case] = []
    left = max_times
    for index, experiment in enumerate(experiments):
        try:
            case = _case(experiment, correction, left)
        except (InvalidInput, TooLarge) as error:
            raise located(error, index) from None
        left -= len(case.ask.time_s)
        cases.append(case)
    return cases


def _case(experiment: ExperimentIn, correction: Correction, max_times: int) -> Case:
    zero = _zero(experiment)
    clock = _Clock(zero and _naive(zero))
    polarizer, analyser = experiment.polarizer, experiment.analyser
    lab_time_s = clock.seconds(polarizer.lab_time, polarizer.lab_time_s)
    initial = None if experiment.initial is None else clock.calibration(experiment.initial)
    final = None if experiment.final is None else clock.calibration(experiment.final)
    if initial is not None and final is not None and final.time_s < initial.time_s:
        raise InvalidInput(
            f"the final calibration lies {initial.time_s - final.time_s:.0f} s before the initial one: exchange them"
        )
    filled = UNKNOWN_DATE if clock.zero is None else clock.zero + timedelta(seconds=lab_time_s)
    cell = Cell(polarizer.cell_id.lower(), polarizer.pressure_bar, polarizer.lab_polarization, filled)
    ask = Ask(
        material=experiment.material,
        polarizer=cell,
        analyser=analyser and Cell(analyser.cell_id.lower(), analyser.pressure_bar, polarizer.lab_polarization, filled),
        lab_time_s=lab_time_s,
        initial=initial,
        final=final,
        time_s=_times(experiment.predict_at, clock, initial, final, max_times),
        correction=correction,
        threshold=experiment.threshold_polarization,
    )
    measured = tuple([clock.calibration(point) for point in experiment.measured])
    return Case(experiment.name or "", ask, clock.zero, zero is not None and zero.tzinfo is not None, measured)


def _zero(experiment: ExperimentIn) -> datetime | None:
    """Second 0 where there are date-times: the initial calibration; without one the final one, or the cell's time.

    The schema has refused date-times without one of these, and date-times of which only some have a zone.
    """
    if experiment.initial is not None and experiment.initial.time is not None:
        return experiment.initial.time
    if experiment.final is not None and experiment.final.time is not None:
        return experiment.final.time
    return experiment.polarizer.lab_time


def _naive(time: datetime) -> datetime:
    """In UTC where a zone is given, else as it is; date-times with and without a zone never meet in one request."""
    return time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)


class _Clock:
    """Seconds of a request's times."""

    def __init__(self, zero: datetime | None) -> None:
        self.zero = zero

    def seconds(self, time: datetime | None, time_s: float | None) -> float:
        if time is None or self.zero is None:
            return 0.0 if time_s is None else time_s
        return (_naive(time) - self.zero).total_seconds()

    def calibration(self, given: PolarizationIn) -> Calibration:
        time_s = self.seconds(given.time, given.time_s)
        if given.polarization is not None and given.sigma is not None:
            return Calibration(time_s, given.polarization, given.sigma)
        ratio, ratio_sigma = np.array(given.flipping_ratio), np.array(given.flipping_ratio_sigma)
        polarization = decay.polarization_from_flipping_ratio(ratio)
        sigma = decay.polarization_sigma_from_flipping_ratio(ratio, ratio_sigma)
        return Calibration(time_s, float(polarization), float(sigma))


def _times(
    asked: PredictAtIn | None, clock: _Clock, initial: Calibration | None, final: Calibration | None, max_times: int
) -> Float[np.ndarray, "time"]:
    count = DEFAULT_POINTS if asked is None else len(asked.times_s or asked.times or ())
    if count > max_times:
        raise TooLarge(f"{count} times are asked where {max_times} are left for this request: split it")
    if asked is None:
        assert initial is not None and final is not None  # noqa: S101 PT018 - the schema admits nothing else
        return np.linspace(initial.time_s, final.time_s, DEFAULT_POINTS if final.time_s > initial.time_s else 1)
    if asked.times_s is not None:
        return np.array(asked.times_s)
    if asked.times is not None:
        return np.array([clock.seconds(time, None) for time in asked.times])
    start_s = _end(asked.start, asked.start_s, clock, initial, "start")
    stop_s = _end(asked.stop, asked.stop_s, clock, final, "stop")
    return grid_s(start_s, stop_s, asked.step_s or 1.0, max_times=max_times)


def _end(time: datetime | None, offset_s: float | None, clock: _Clock, anchor: Calibration | None, name: str) -> float:
    """One end of a grid: a date-time, or seconds relative to its calibration."""
    if time is not None:
        return clock.seconds(time, None)
    if anchor is None:
        which = "initial" if name == "start" else "final"
        raise InvalidInput(
            f"predict_at.{name}_s counts from the {which} calibration, which is not given: give predict_at.{name} as a "
            "date-time, or a list of times"
        )
    return anchor.time_s + (offset_s or 0.0)
