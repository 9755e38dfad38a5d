"""What callers send to and get from the polarization endpoints.

Times are either ISO date-times or seconds since the initial calibration; the two spellings have different names
(`time`, `time_s`), so that neither can be taken for the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from app.api.schema import Input, ModelName, Output, Ref, UsedModel, WarningOut

TEN_YEARS_S: Final = 315_576_000.0
LABEL_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$"

Material = Literal["crystalline", "amorphous"]
Correction = Literal["sloped", "none"]


def _in_our_time(time: datetime) -> datetime:
    if not 1950 <= time.year <= 2200:
        raise ValueError("the year should be between 1950 and 2200")
    return time


DateTime = Annotated[datetime, AfterValidator(_in_our_time)]
Seconds = Annotated[float, Field(ge=-TEN_YEARS_S, le=TEN_YEARS_S)]
CellId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=40,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Name engraved on the cell; upper and lower case are the same.",
        examples=["ge18004"],
    ),
]
Pressure = Annotated[float, Field(gt=0, le=10, description="Gas pressure of the cell [bar].", examples=[2.3])]
LabPolarization = Annotated[
    float, Field(gt=0, le=1, description="3He polarization measured in the filling laboratory.", examples=[0.78])
]
Polarization = Annotated[float, Field(ge=-1, le=1)]
Sigma = Annotated[float, Field(gt=0, le=2)]


def _not_one_of(given: dict[str, object], what: str) -> ValueError:
    names = [name for name, value in given.items() if value is not None]
    found = " and ".join(names) if names else "none of them"
    return ValueError(f"{what}: give exactly one of {' and '.join(given)}; found {found}")


class PolarizerIn(Input):
    """The polarizer cell as its header gives it."""

    cell_id: CellId
    pressure_bar: Pressure
    lab_polarization: LabPolarization
    lab_time: Annotated[
        DateTime | None,
        Field(description="When the lab polarization was measured, ISO 8601.", examples=["2025-06-06T15:15:00"]),
    ] = None
    lab_time_s: Annotated[
        Seconds | None,
        Field(description="The same in seconds since the initial calibration (negative: before it) [s]."),
    ] = None

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        if (self.lab_time is None) == (self.lab_time_s is None):
            raise _not_one_of({"lab_time": self.lab_time, "lab_time_s": self.lab_time_s}, "when the cell was measured")
        return self


class AnalyserIn(Input):
    """The analyser cell of the amorphous set-up."""

    cell_id: CellId
    pressure_bar: Pressure


class PolarizationIn(Input):
    """One measured polarization, or the flipping ratio that it comes from, with its standard deviation."""

    time: Annotated[DateTime | None, Field(description="When it was measured, ISO 8601.")] = None
    time_s: Annotated[
        Seconds | None, Field(description="When it was measured, seconds since the initial calibration [s].")
    ] = None
    polarization: Annotated[
        Polarization | None, Field(description="Neutron polarization P = (R - 1)/(R + 1), -1 to 1.")
    ] = None
    sigma: Annotated[Sigma | None, Field(description="Standard deviation of the polarization.")] = None
    flipping_ratio: Annotated[
        float | None, Field(gt=0, le=1e9, description="Flipping ratio R, in place of the polarization.")
    ] = None
    flipping_ratio_sigma: Annotated[
        float | None, Field(gt=0, le=1e9, description="Standard deviation of the flipping ratio.")
    ] = None

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        value = (self.polarization is not None) + (self.sigma is not None)
        ratio = (self.flipping_ratio is not None) + (self.flipping_ratio_sigma is not None)
        if (value, ratio) not in ((2, 0), (0, 2)):
            raise ValueError("give either polarization and sigma, or flipping_ratio and flipping_ratio_sigma")
        return self


class InitialIn(PolarizationIn):
    """The initial calibration. Seconds count from it, so it needs a time only where date-times are used."""

    @model_validator(mode="after")
    def _is_zero(self) -> Self:
        if self.time_s:
            raise ValueError("time_s: seconds count from the initial calibration, which is at 0 itself")
        if self.time is not None and self.time_s is not None:
            raise ValueError("when it was measured: give time or time_s, not both")
        return self


class LaterIn(PolarizationIn):
    """A calibration or another measured value with its time."""

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        if (self.time is None) == (self.time_s is None):
            raise _not_one_of({"time": self.time, "time_s": self.time_s}, "when it was measured")
        return self


class PredictAtIn(Input):
    """Where to predict: a list of times, or a grid. Left out, 101 equally spaced times between the calibrations."""

    times: Annotated[list[DateTime] | None, Field(min_length=1, description="Times, ISO 8601, in any order.")] = None
    times_s: Annotated[
        list[Seconds] | None,
        Field(min_length=1, description="Times in seconds since the initial calibration [s], in any order."),
    ] = None
    start: Annotated[DateTime | None, Field(description="First time of a grid, ISO 8601.")] = None
    stop: Annotated[
        DateTime | None, Field(description="End of a grid, ISO 8601; included where a step ends on it.")
    ] = None
    start_s: Annotated[
        Seconds | None,
        Field(description="First time of a grid, seconds relative to the *initial* calibration [s]. Default 0."),
    ] = None
    stop_s: Annotated[
        Seconds | None,
        Field(description="End of a grid, seconds relative to the *final* calibration [s]. Default 0."),
    ] = None
    step_s: Annotated[
        float | None, Field(gt=0, le=TEN_YEARS_S, description="Step of a grid [s].", examples=[600.0])
    ] = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.times is not None) + (self.times_s is not None) + (self.step_s is not None) != 1:
            given = {"times": self.times, "times_s": self.times_s, "step_s": self.step_s}
            raise _not_one_of(given, "where to predict")
        if self.step_s is None:
            if (self.start, self.stop, self.start_s, self.stop_s) != (None, None, None, None):
                raise ValueError("start and stop belong to a grid: give step_s with them")
            return self
        if self.start is not None and self.start_s is not None:
            raise ValueError("give start or start_s, not both")
        if self.stop is not None and self.stop_s is not None:
            raise ValueError("give stop or stop_s, not both")
        return self


class ExperimentIn(Input):
    """One decay: the cells, the calibrations, and where to predict."""

    name: Annotated[
        str | None, Field(max_length=200, pattern=LABEL_PATTERN, description="Your label; it comes back in the answer.")
    ] = None
    material: Annotated[
        Material, Field(description="`crystalline`: a polarizer cell. `amorphous`: a polarizer and an analyser cell.")
    ]
    polarizer: PolarizerIn
    analyser: Annotated[AnalyserIn | None, Field(description="Needed with `amorphous`, refused otherwise.")] = None
    initial: Annotated[InitialIn | None, Field(description="The calibration before the sample.")] = None
    final: Annotated[LaterIn | None, Field(description="The calibration after the sample, if it is there yet.")] = None
    predict_at: PredictAtIn | None = None
    threshold_polarization: Annotated[
        float | None, Field(gt=0, lt=1, description="The answer says when the polarization falls under this value.")
    ] = None
    measured: Annotated[
        tuple[LaterIn, ...],
        Field(max_length=10_000, description="Other measured points; drawn in pictures, used for nothing."),
    ] = ()

    @model_validator(mode="after")
    def _analyser_fits(self) -> Self:
        if (self.material == "amorphous") != (self.analyser is not None):
            raise ValueError(
                "an amorphous set-up has an analyser cell: give `analyser`"
                if self.analyser is None
                else "a crystalline set-up has no analyser cell: leave `analyser` out, or say `amorphous`"
            )
        return self

    @model_validator(mode="after")
    def _dates_have_an_origin(self) -> Self:
        """Seconds count from the initial calibration: date-times need its date-time, and so do seconds beside them."""
        if (self.initial is None or self.initial.time is None) and self.date_times():
            if self.initial is not None:
                raise ValueError(
                    "initial.time: give the date-time of the initial calibration, as others are date-times"
                )
            if any(True for _ in self._seconds()):
                raise ValueError("without an initial calibration, give either date-times only or seconds only")
        if self.predict_at is None and (self.initial is None or self.final is None):
            raise ValueError("predict_at: without both calibrations, say where to predict")
        return self

    def _seconds(self) -> Iterator[float]:
        """Every time in seconds since the initial calibration."""
        single = [self.polarizer.lab_time_s, *(c.time_s for c in (self.final, *self.measured) if c is not None)]
        yield from (time_s for time_s in single if time_s is not None)
        if self.predict_at is not None and self.predict_at.times_s is not None:
            yield from self.predict_at.times_s

    def date_times(self) -> list[datetime]:
        """Every date-time of this experiment."""
        found = [self.polarizer.lab_time]
        found += [point.time for point in (self.initial, self.final, *self.measured) if point is not None]
        if (grid := self.predict_at) is not None:
            found += (grid.start, grid.stop, *(grid.times or ()))
        return [time for time in found if time is not None]


MODEL_FIELD = Field(
    description=(
        "Which model answers: a name, a list of names (their curves are combined by inverse variance), or `ensemble`: "
        "all networks of the D3 pipeline for the material. Left out: `polarization-<material>`."
    ),
    examples=["polarization-crystalline"],
)


class PredictRequest(Input):
    """One experiment or many, answered by the same model."""

    model_config = ConfigDict(title="PolarizationRequest")

    experiments: Annotated[list[ExperimentIn], Field(min_length=1)]
    model: Annotated[ModelName | Annotated[list[ModelName], Field(min_length=1, max_length=64)] | None, MODEL_FIELD] = (
        None
    )
    version: Ref = "stable"
    correction: Annotated[
        Correction,
        Field(
            description=(
                "`sloped`: a line is subtracted so that the curve passes through both calibrations, whose errors are "
                "propagated. `none`: the model's own curve."
            )
        ),
    ] = "sloped"

    @model_validator(mode="after")
    def _zones_agree(self) -> Self:
        aware = {time.tzinfo is not None for experiment in self.experiments for time in experiment.date_times()}
        if len(aware) > 1:
            raise ValueError(
                "some date-times have a time zone and some have none: give all of them without (local time of the "
                "instrument, as D3 writes it) or all of them with one"
            )
        return self


# --- answers ----------------------------------------------------------------------------------------------------------

Column = list[float]


class AnchorOut(Output):
    """A calibration as it was used."""

    role: Literal["initial", "final"]
    time_s: Annotated[float, Field(description="Seconds since the initial calibration [s].")]
    time: Annotated[str | None, Field(description="ISO date-time, where the request had date-times.")]
    polarization: Annotated[float, Field(description="Neutron polarization.")]
    sigma: Annotated[float, Field(description="Its standard deviation.")]


class ThresholdOut(Output):
    """When the polarization falls under the threshold; null where it does not within eight lifetimes."""

    polarization: Annotated[float, Field(description="The threshold.")]
    time_s: Annotated[float | None, Field(description="Seconds since the initial calibration [s].")]
    earliest_s: Annotated[float | None, Field(description="When the curve less one sigma does [s].")]
    latest_s: Annotated[float | None, Field(description="When the curve plus one sigma does [s].")]
    time: Annotated[str | None, Field(description="`time_s` as ISO date-time.")]
    earliest: Annotated[str | None, Field(description="`earliest_s` as ISO date-time.")]
    latest: Annotated[str | None, Field(description="`latest_s` as ISO date-time.")]


class ExperimentOut(Output):
    """The answer for one experiment; all arrays have the order of the times asked."""

    name: Annotated[str | None, Field(description="The label of the request.")]
    material: Material
    time_s: Annotated[Column, Field(description="Seconds since the initial calibration [s].")]
    time: Annotated[list[str] | None, Field(description="The same as ISO date-times, where the request had those.")]
    polarization: Annotated[Column, Field(description="Predicted neutron polarization.")]
    polarization_sigma: Annotated[Column, Field(description="Its standard deviation.")]
    flipping_ratio: Annotated[list[float | None], Field(description="R = (1 + P)/(1 - P); null where P = 1.")]
    flipping_ratio_sigma: Annotated[list[float | None], Field(description="Its standard deviation; null where P = 1.")]
    physics_polarization: Annotated[
        Column | None, Field(description="The 3He decay through both calibrations alone; null without both.")
    ]
    physics_sigma: Annotated[Column | None, Field(description="Its standard deviation from the calibrations' errors.")]
    t1_h: Annotated[float | None, Field(description="Lifetime T1 of the polarizer cell [h]; null without a decay.")]
    t1_sigma_h: Annotated[float | None, Field(description="Its standard deviation [h].")]
    threshold: Annotated[ThresholdOut | None, Field(description="Null where no threshold was asked.")]
    anchors: Annotated[list[AnchorOut], Field(description="The calibrations that were used.")]
    models: Annotated[list[UsedModel], Field(description="Models and versions that answered.")]
    correction: Correction
    warnings: list[WarningOut]


class PredictAnswer(Output):
    """Answers in the order of the experiments."""

    experiments: list[ExperimentOut]


class ExcludedOut(Output):
    """A row of a file that was not used."""

    line: Annotated[int, Field(description="Line in its file, from 1.")]
    time: Annotated[str, Field(description="Local time of the instrument, ISO 8601.")]
    polarization: Annotated[float | None, Field(description="As the instrument wrote it; null if not finite.")]
    reason: str


class SegmentOut(Output):
    """One reflection's calibration rows while one cell was in place."""

    name: Annotated[str | None, Field(description="File, cell, date and reflection.")]
    accepted: Annotated[bool, Field(description="Whether it is a sound calibration and was predicted.")]
    reason: Annotated[str, Field(description="Why not; empty where accepted.")]
    notes: Annotated[list[str], Field(description="Repairs and remarks on the way.")]
    sources: Annotated[list[str], Field(description="Files that hold the rows.")]
    cell_id: Annotated[str | None, Field(description="Polarizer cell.")]
    analyser_id: Annotated[str | None, Field(description="Analyser cell.")]
    reflection: Annotated[list[float] | None, Field(description="h, k, l.")]
    rows: Annotated[int, Field(description="Number of rows that count.")]
    excluded: Annotated[list[ExcludedOut], Field(description="The other rows of this reflection.")]
    prediction: Annotated[
        ExperimentOut | None, Field(description="The decay between the first and the last row; null if rejected.")
    ]
    problem: Annotated[str, Field(description="Why an accepted segment could not be predicted; empty otherwise.")]


class DamagedOut(Output):
    """A line that should have been understood and was not."""

    file: str
    line: Annotated[int, Field(description="From 1.")]
    text: str
    reason: str


class FileRemark(Output):
    """A file that was left out, and why."""

    file: str
    reason: str


class FileAnswer(Output):
    """What the files hold, in order of time, and what is predicted for it."""

    segments: list[SegmentOut]
    damaged: list[DamagedOut]
    left_out: Annotated[list[FileRemark], Field(description="Copies of other files, and files of another kind.")]


_POLARIZER = {
    "cell_id": "ge18004",
    "pressure_bar": 2.3,
    "lab_polarization": 0.78,
    "lab_time": "2025-06-06T15:15:00",
}
EXAMPLES: Final = {
    "one decay": {
        "summary": "One decay between two calibrations, on a grid, as date-times",
        "value": {
            "experiments": [
                {
                    "name": "Si (1 1 1)",
                    "material": "crystalline",
                    "polarizer": _POLARIZER,
                    "initial": {"time": "2025-06-06T15:48:00", "polarization": 0.848, "sigma": 0.0021},
                    "final": {"time": "2025-06-07T15:48:00", "polarization": 0.792, "sigma": 0.0024},
                    "predict_at": {"start_s": 0.0, "stop_s": 0.0, "step_s": 3600.0},
                    "threshold_polarization": 0.7,
                }
            ]
        },
    },
    "amorphous, flipping ratios": {
        "summary": "Two cells, flipping ratios as measured, times in seconds",
        "value": {
            "experiments": [
                {
                    "material": "amorphous",
                    "polarizer": {
                        "cell_id": "ge18012",
                        "pressure_bar": 3.1,
                        "lab_polarization": 0.79,
                        "lab_time_s": -1500.0,
                    },
                    "analyser": {"cell_id": "sic1402", "pressure_bar": 2.5},
                    "initial": {"flipping_ratio": 3.44, "flipping_ratio_sigma": 0.03},
                    "final": {"time_s": 72000.0, "flipping_ratio": 2.39, "flipping_ratio_sigma": 0.02},
                    "predict_at": {"times_s": [0.0, 18000.0, 36000.0, 54000.0, 72000.0]},
                }
            ],
            "model": "polarization-amorphous",
            "version": "stable",
        },
    },
    "no final calibration yet": {
        "summary": "While the sample is in place: what is known of the cell's lifetime is followed",
        "value": {
            "experiments": [
                {
                    "material": "crystalline",
                    "polarizer": _POLARIZER,
                    "initial": {"time": "2025-06-06T15:48:00", "polarization": 0.848, "sigma": 0.0021},
                    "predict_at": {"times": ["2025-06-06T20:00:00", "2025-06-07T08:00:00"]},
                }
            ]
        },
    },
}
"""What 'Try it out' sends; a test sends each of them."""
