"""What callers send to and get from the waveform endpoints, beside the numbers themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any, Final

import numpy as np
from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator

from app.api.arrays import Base64Array
from app.api.negotiation import Format
from app.api.problems import at
from app.api.schema import FORMAT_FIELD, Input, ModelName, Output, Ref, UsedModel, WarningOut
from app.errors import InvalidInput
from app.waveform.detector import DETECTORS, Detector
from app.waveform.features import SAMPLES
from app.waveform.intake import SAMPLE_NS, Intake, Length, Polarity

MODEL: Final = "waveform-s2"
MAX_SHOWN: Final = 12
DEFAULT_DETECTOR: Final = "reference"

DriftTime = Annotated[float, Field(gt=0, le=1e5)]
Velocity = Annotated[
    float | None, Field(gt=0, le=100, description="Drift velocity of electrons in the liquid [mm/us].", examples=[1.5])
]
Diffusion = Annotated[float | None, Field(gt=0, le=1e4, description="Longitudinal diffusion D_L [cm^2/s].")]
GasGap = Annotated[
    float | None, Field(gt=0, le=50, description="For how long one electron makes light while it crosses the gas [us].")
]
ElectronSize = Annotated[float | None, Field(gt=0, le=1e4, description="Mean detected photons of one electron [phd].")]
DriftBound = Annotated[float | None, Field(gt=0, le=1e5, description="Shortest or longest drift time [us].")]


class DetectorFields(Input):
    """Settings of the detector; each goes before that of the named detector."""

    drift_velocity_mm_per_us: Velocity = None
    longitudinal_diffusion_cm2_per_s: Diffusion = None
    gas_gap_us: GasGap = None
    phd_per_electron: ElectronSize = None
    drift_min_us: DriftBound = None
    drift_max_us: DriftBound = None

    def changes(self) -> dict[str, float]:
        """The settings that are given."""
        values = {name: getattr(self, name) for name in _DETECTOR_FIELDS}
        return {name: value for name, value in values.items() if value is not None}


_DETECTOR_FIELDS: Final = tuple(DetectorFields.model_fields)


class DetectorIn(DetectorFields):
    """A detector: a named one, with settings that differ."""

    name: Annotated[str, Field(max_length=64, description=f"One of {', '.join(DETECTORS)}.")] = DEFAULT_DETECTOR


class OptionsIn(Input):
    """What may be said of the waveforms and of the answer."""

    prior_two: Annotated[
        float, Field(gt=0, lt=1, description="Probability of two scatters before the waveform was seen.")
    ] = 0.5
    length: Annotated[
        Length, Field(description=f"What to do with records that are not {SAMPLES} samples of {SAMPLE_NS:g} ns.")
    ] = "refuse"
    sample_period_ns: Annotated[float, Field(ge=0.1, le=1000, description="Time between two samples [ns].")] = SAMPLE_NS
    polarity: Annotated[Polarity, Field(description="Of the pulse; `auto` turns over what is negative.")] = "auto"
    pulses: Annotated[bool, Field(description="Tell time, area and width of the one or two pulses too.")] = False
    model: ModelName = MODEL
    version: Ref = "stable"

    def intake(self) -> Intake:
        """How to take the waveforms in."""
        return Intake(self.sample_period_ns, self.length, self.polarity)


class BodyOptions(OptionsIn):
    """Everything in a JSON body beside the numbers."""

    detector: Annotated[
        Annotated[str, Tag("name")] | Annotated[DetectorIn, Tag("settings")],
        Discriminator(lambda value: "settings" if isinstance(value, dict | DetectorIn) else "name"),
        Field(description=f"Name ({', '.join(DETECTORS)}), or settings of a detector."),
    ] = DEFAULT_DETECTOR
    drift_time_us: Annotated[
        Annotated[DriftTime | None, Tag("all")] | Annotated[list[DriftTime | None], Tag("each")],
        Discriminator(lambda value: "each" if isinstance(value, list) else "all"),
        Field(description="Drift time of the events [us]: one for all, or one for each with null where unknown."),
    ] = None
    show: Annotated[
        list[Annotated[int, Field(ge=0)]],
        Field(min_length=1, max_length=MAX_SHOWN, description="Waveforms in the picture, counted from 0."),
    ] = [0]  # noqa: RUF012  pydantic copies it


class WaveformRequest(BodyOptions):
    """Waveforms with options."""

    waveforms: Annotated[
        list[list[float]] | list[float] | Base64Array,
        Field(description="One waveform or a list of them, all of one length."),
    ]


class QueryOptions(OptionsIn, DetectorFields):
    """The same options in a query, beside a binary body or a file."""

    model_config = ConfigDict(strict=False)

    detector: Annotated[str, Field(max_length=64, description=f"One of {', '.join(DETECTORS)}.")] = DEFAULT_DETECTOR
    drift_time_us: Annotated[DriftTime | None, Field(description="Drift time of all events [us].")] = None
    show: Annotated[
        list[Annotated[int, Field(ge=0)]],
        Field(
            min_length=1,
            max_length=MAX_SHOWN,
            description=f"Waveforms in the picture, counted from 0: up to {MAX_SHOWN}, with commas between.",
        ),
    ] = [0]  # noqa: RUF012
    format: Annotated[Format | None, FORMAT_FIELD] = None

    @field_validator("show", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Numbers with commas between, or the parameter several times."""
        items = value if isinstance(value, list) else [value]
        return [part.strip() if isinstance(part, str) else part for item in items for part in _parts(item)]


class FileQuery(QueryOptions):
    """Options beside a file."""

    dataset: Annotated[
        str | None, Field(max_length=200, description="Which array of an .npz or HDF5 file. Left out: the only one.")
    ] = None
    filename: Annotated[
        str, Field(max_length=200, description="Name of the file, where the body is the file itself.")
    ] = "upload"


class TensorOptions(QueryOptions):
    """Options in the `parameters` of an open-inference request."""

    model_config = ConfigDict(strict=True)


def _parts(item: object) -> list[object]:
    return list(item.split(",")) if isinstance(item, str) else [item]


def detector_of(options: BodyOptions | QueryOptions) -> Detector:
    """The detector that options speak of.

    Raises:
        InvalidInput: an unknown name, or a shortest drift that is not shorter than the longest.
    """
    if isinstance(options, QueryOptions):
        name, changes = options.detector, options.changes()
    elif isinstance(options.detector, str):
        name, changes = options.detector, {}
    else:
        name, changes = options.detector.name, options.detector.changes()
    return _detector(name, tuple(changes.items()), (*_PLACES[type(options)], "detector"))


@lru_cache(maxsize=256)
def _detector(name: str, changes: tuple[tuple[str, float], ...], where: tuple[str, ...]) -> Detector:
    """Kept, since a client sends the same settings again and again."""
    if name not in DETECTORS:
        raise at(InvalidInput(f"detector: there is none of that name; known are {', '.join(DETECTORS)}"), where)
    detector = replace(DETECTORS[name], **dict(changes))
    if detector.drift_min_us >= detector.drift_max_us:
        raise at(InvalidInput("detector: drift_min_us should be less than drift_max_us"), where)
    return detector


_PLACES: Final[Mapping[type[Input], tuple[str, ...]]] = {
    BodyOptions: ("body",),
    QueryOptions: ("query",),
    FileQuery: ("query",),
    TensorOptions: ("body", "parameters"),
}


def drift_times(value: float | list[float | None] | None, n: int) -> np.ndarray | None:
    """A drift time for each waveform, nan where unknown; None where all are.

    Raises:
        InvalidInput: not as many as waveforms.
    """
    if value is None:
        return None
    if isinstance(value, float | int):
        return np.full(n, float(value))
    if len(value) != n:
        raise at(
            InvalidInput(
                f"drift_time_us: {len(value)} values for {n} waveforms: give one for each, with null where unknown"
            ),
            ("body", "drift_time_us"),
        )
    return np.array([np.nan if one is None else one for one in value], float)


# --- answers ----------------------------------------------------------------------------------------------------------


class PulseOut(Output):
    """One pulse of a waveform."""

    time_us: Annotated[float, Field(description="Middle of the pulse from the begin of the waveform [us].")]
    area: Annotated[float, Field(description="Its area [unit of the waveform times us].")]
    share: Annotated[float, Field(description="Its share of the whole area.")]
    sigma_us: Annotated[float, Field(description="Standard deviation of the electrons' arrival [us].")]
    rms_us: Annotated[float, Field(description="Standard deviation of its light, the gas gap included [us].")]


class WaveformOut(Output):
    """The answer for one waveform."""

    number_of_s2: Annotated[int | None, Field(description="0 (empty), 1 or 2; null where nothing can be said.")]
    p_two: Annotated[float | None, Field(description="Probability of two S2s; null without a pulse.")]
    separation_us: Annotated[
        float | None, Field(description="Expected separation, given that there are two [us]; null without a pulse.")
    ]
    sigma_us: Annotated[float | None, Field(description="Standard deviation of the separation [us].")]
    low68_us: Annotated[float | None, Field(description="Begin of the central 68% interval [us].")]
    high68_us: Annotated[float | None, Field(description="Its end [us].")]
    low95_us: Annotated[float | None, Field(description="Begin of the central 95% interval [us].")]
    high95_us: Annotated[float | None, Field(description="Its end [us].")]
    separation_mm: Annotated[
        float | None, Field(description="The separation times the drift velocity: the distance in depth [mm].")
    ]
    sigma_mm: float | None
    low68_mm: float | None
    high68_mm: float | None
    low95_mm: float | None
    high95_mm: float | None
    pulses: Annotated[
        list[PulseOut] | None, Field(description="The pulses, the earlier one first; null unless they were asked for.")
    ]
    warnings: list[WarningOut]


class DetectorOut(Output):
    """The settings that were used."""

    drift_velocity_mm_per_us: float
    longitudinal_diffusion_cm2_per_s: float
    gas_gap_us: float
    phd_per_electron: float
    drift_min_us: float
    drift_max_us: float


class WaveformAnswer(Output):
    """Answers, in the order of the waveforms."""

    model: UsedModel
    detector: DetectorOut
    prior_two: float
    waveforms: list[WaveformOut]
