"""A question with what is needed to show its answer: a label, the clock's date, the measured points."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from app.errors import InvalidInput, TooLarge
from app.polarization.experiment import Calibration, Experiment
from app.polarization.predict import Answered, Ask, Correction

DEFAULT_POINTS = 101
"""Times between the calibrations where none are asked."""


class Case(NamedTuple):
    """One question and its surroundings.

    Attributes:
        name: label for answers and pictures; empty where there is none.
        zero: date-time of second 0 of the ask's clock, without zone; None where dates are not known.
        utc: whether `zero` is in UTC; otherwise it is the instrument's local time.
        measured: points between the calibrations, for pictures.
    """

    name: str
    ask: Ask
    zero: datetime | None = None
    utc: bool = False
    measured: tuple[Calibration, ...] = ()

    def date_times(self, time_s: Float[np.ndarray, "time"]) -> np.ndarray | None:
        """The times as ``datetime64`` with milliseconds; None where dates are not known."""
        if self.zero is None:
            return None
        milliseconds = np.rint(np.asarray(time_s) * 1e3).astype("timedelta64[ms]")
        return np.datetime64(self.zero, "ms") + milliseconds


class UsedModel(NamedTuple):
    """A model version that answered, and the alias by which it was asked."""

    name: str
    version: int
    alias: str | None


class Solved(NamedTuple):
    """A case with its answer."""

    case: Case
    answered: Answered
    models: tuple[UsedModel, ...]


def grid_s(start_s: float, stop_s: float, step_s: float, *, max_times: int) -> Float[np.ndarray, "time"]:
    """Times from start to stop, which is included where a step ends on it (to 1e-6 of a step).

    Raises:
        InvalidInput: the stop is before the start.
        TooLarge: more than ``max_times``.
    """
    if stop_s < start_s:
        raise InvalidInput(f"the grid ends at {stop_s:g} s, before it starts at {start_s:g} s: exchange start and stop")
    steps = (stop_s - start_s) / step_s + 1e-6
    if steps >= max_times:
        raise TooLarge(f"the grid has {steps + 1:.3g} times, at most {max_times} are answered: take a larger step")
    return start_s + step_s * np.arange(int(steps) + 1)


def case_from_experiment(
    experiment: Experiment,
    *,
    dated: bool,
    step_s: float | None = None,
    correction: Correction = "sloped",
    threshold: float | None = None,
    max_times: int = 100_000,
) -> Case:
    """Ask for the decay between the first and the last row of a measured experiment.

    Args:
        dated: whether the experiment's dates are real (they are not in D3's pairs of text files).
        step_s: step of the grid; `DEFAULT_POINTS` equally spaced times where it is left out.

    Raises:
        TooLarge: more than ``max_times``.
    """
    last = float(experiment.time_s[-1])
    time_s = (
        np.linspace(0.0, last, DEFAULT_POINTS) if step_s is None else grid_s(0.0, last, step_s, max_times=max_times)
    )
    query = experiment.query(time_s)
    ask = Ask(
        material=query.material,
        polarizer=query.polarizer,
        analyser=query.analyser,
        lab_time_s=query.lab_time_s,
        initial=query.initial,
        final=query.final,
        time_s=query.time_s,
        correction=correction,
        threshold=threshold,
    )
    measured = tuple(experiment.calibration(i) for i in range(1, len(experiment.time_s) - 1))
    return Case(experiment.name, ask, experiment.start if dated else None, measured=measured)
