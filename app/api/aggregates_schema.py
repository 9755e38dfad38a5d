"""What callers send to and get from the aggregates endpoints."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import ConfigDict, Field, field_validator

from app.aggregates.measurement import Measurement
from app.aggregates.setting import Particle
from app.aggregates.stack import FileOptions
from app.api.arrays import Base64Array
from app.api.negotiation import Format
from app.api.schema import FORMAT_FIELD, Input, ModelName, Output, Ref, UsedModel, WarningOut

MODEL: Final = "aggregates-count"
"""The model that answers where none is named."""

MaskMarks = Literal["bad", "good"]


class AggregatesOptions(Input):
    """What is declared of sample and detector; lengths on the detector are in pixels of the images as they are sent."""

    radius_px: Annotated[
        float | None,
        Field(
            gt=0,
            le=1000,
            description="128 r p/(wavelength distance): radius r of a particle, pixel p. Or give the radius in nm.",
            examples=[5.0],
        ),
    ] = None
    particle_radius_nm: Annotated[float | None, Field(gt=0, le=1e6, description="Radius of one particle [nm].")] = None
    wavelength_ang: Annotated[float | None, Field(gt=0, le=1e4, description="Wavelength [Angstrom].")] = None
    photon_energy_ev: Annotated[float | None, Field(gt=0, le=1e6, description="In place of the wavelength [eV].")] = (
        None
    )
    detector_distance_mm: Annotated[
        float | None, Field(gt=0, le=1e6, description="From the sample to the detector [mm].")
    ] = None
    pixel_um: Annotated[float | None, Field(gt=0, le=1e5, description="Side of a pixel of the images [um].")] = None
    particle: Annotated[
        Particle, Field(description="`disc`: flat, or cylinders along the beam. `sphere`: spheres in projection.")
    ] = "disc"
    beam_stop_px: Annotated[
        float | None,
        Field(ge=0, le=1e4, description="Radius of the beam stop [pixels]; looked for when left out, 0 without one."),
    ] = None
    full_well: Annotated[
        float | None, Field(gt=0, le=1e12, description="Photons at which a pixel saturates; left out where unknown.")
    ] = None
    background: Annotated[
        float | None, Field(ge=0, le=1e6, description="Photons per pixel that do not come from the aggregate.")
    ] = None
    adu_per_photon: Annotated[
        float | None, Field(gt=0, le=1e9, description="Detector units of one photon; left out: values are photons.")
    ] = None
    binning: Annotated[
        int | None, Field(ge=1, le=128, description="Pixels along a side of a grid point; chosen when left out.")
    ] = None
    mask_marks: Annotated[
        MaskMarks, Field(description="What a mask marks with anything but 0: pixels that are `bad`, or `good` ones.")
    ] = "bad"
    model: ModelName = MODEL
    version: Ref = "stable"

    def measurement(self) -> Measurement:
        """The declaration as the domain takes it."""
        names = Measurement.__dataclass_fields__
        return Measurement(**{name: getattr(self, name) for name in names})


class AggregatesQuery(AggregatesOptions):
    """The same in the query, with what may be said of a file."""

    model_config = ConfigDict(strict=False)

    centre_px: Annotated[
        str | None,
        Field(
            pattern=r"^\s*-?\d{1,6}(\.\d{0,9})?\s*,\s*-?\d{1,6}(\.\d{0,9})?\s*$",
            description="`row,column` of the direct beam [pixels from 0]; looked for when left out.",
            examples=["31.5,32.25"],
        ),
    ] = None
    dataset: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=500,
            description="Dataset of an HDF5 file, or array of an .npz, with the patterns; found when left out.",
        ),
    ] = None
    mask_dataset: Annotated[
        str | None, Field(min_length=1, max_length=500, description="The same for the mask; see `mask_marks`.")
    ] = None
    first: Annotated[int, Field(ge=0, le=2**31, description="Number of the first image to take, from 0.")] = 0
    count: Annotated[int | None, Field(ge=1, le=2**31, description="Most images to take; all when left out.")] = None
    format: Annotated[Format | None, FORMAT_FIELD] = None

    @field_validator("centre_px")
    @classmethod
    def _without_spaces(cls, value: str | None) -> str | None:
        return None if value is None else value.replace(" ", "")

    def centre(self) -> np.ndarray | None:
        """Row and column of the beam, if they were given."""
        return None if self.centre_px is None else np.array([float(part) for part in self.centre_px.split(",")])

    def file_options(self) -> FileOptions:
        """What was said of the file."""
        return FileOptions(self.dataset, self.mask_dataset, self.first, self.count)


# --- arrays in JSON ---------------------------------------------------------------------------------------------------


Image = list[list[float]]


class AggregatesRequest(AggregatesOptions):
    """Patterns as JSON."""

    patterns: Annotated[
        Image | list[Image] | Base64Array,
        Field(description="One pattern (row, column) or many of one size (image, row, column)."),
    ]
    mask: Annotated[
        Image | list[Image] | Base64Array | None,
        Field(description="For all patterns or for each; `mask_marks` says what anything but 0 means."),
    ] = None
    centre_px: Annotated[
        list[float] | Image | None,
        Field(description="Row and column of the direct beam [pixels from 0]; for all patterns or for each."),
    ] = None


# --- answers ----------------------------------------------------------------------------------------------------------


class PatternOut(Output):
    """The answer for one pattern."""

    index: Annotated[int, Field(description="Number of the pattern in the request or the file, from 0.")]
    count: Annotated[int | None, Field(description="Particles, 1 to 5; null where nothing is said.", examples=[3])]
    most_probable: Annotated[int, Field(description="The most probable number, whether it is believed or not.")]
    probability: Annotated[list[float], Field(description="Of 1, 2, 3, 4, 5 particles; the sum is 1.")]
    abstained: Annotated[bool, Field(description="Whether nothing is said, for the reasons below.")]
    reasons: Annotated[list[str], Field(description="Why nothing is said; empty where something is.")]
    unlike: Annotated[float, Field(description="Probability that the pattern does not fit what is declared.")]
    seen_radius_px: Annotated[
        float, Field(description="Radius that the pattern itself speaks of, in the unit of the declared `radius_px`.")
    ]
    photons: Annotated[float, Field(description="Photons on the grid.")]
    measured: Annotated[float, Field(description="Share of the grid that measures.")]
    centre_px: Annotated[list[float], Field(description="Row and column of the beam [pixels of the image].")]
    beam_stop_px: Annotated[float, Field(description="Radius of the beam stop [pixels of the image].")]
    warnings: list[WarningOut]


class SettingOut(Output):
    """What the model was told of the measurement; lengths in pixels of its grid."""

    radius_px: Annotated[float, Field(description="Radius of a particle [object pixels of the grid].")]
    particle: Particle
    binning: Annotated[int, Field(description="Pixels of the image along each side of a grid point.")]
    full_well: float | None
    background: float | None


class AggregatesAnswer(Output):
    """Answers in the order of the patterns."""

    patterns: list[PatternOut]
    setting: SettingOut
    model: UsedModel
    source: Annotated[str, Field(description="What was read.", examples=["HDF5 dataset /entry_1/data_1/data"])]


# --- examples ---------------------------------------------------------------------------------------------------------


def _discs(distance_px: float, photons: float = 4e5, size: int = 64) -> dict[str, Any]:
    """Expected photons, rounded, of two discs of radius 5 px side by side: the Airy pattern times fringes."""
    offset = np.arange(size) - size // 2
    q = np.hypot(offset[:, None], offset[None, :]) / 128.0
    x = np.maximum(2 * np.pi * 5.0 * q, 1e-9)
    angle = (np.arange(128) + 0.5) * np.pi / 128
    j1 = np.cos(angle - x[..., None] * np.sin(angle)).mean(axis=-1)
    fringes = 2.0 + 2.0 * np.cos(2 * np.pi * distance_px * offset / 128.0)
    counts = photons * np.pi * 25.0 / 128**2 * (2 * j1 / x) ** 2 * fringes[None, :]
    stop = np.hypot(offset[:, None], offset[None, :]) <= 3.0
    whole = np.where(stop, 0, np.minimum(np.rint(counts), 20_000)).astype("<u2")
    return {"data_base64": b64encode(whole.tobytes()).decode(), "dtype": "uint16", "shape": list(whole.shape)}


EXAMPLES: Final[dict[str, Any]] = {
    "two discs": {
        "summary": "Two touching discs: photon counts on 64 x 64 pixels, with the radius declared",
        "value": {
            "patterns": _discs(10.0),
            "radius_px": 5.0,
            "beam_stop_px": 3.0,
            "centre_px": [32.0, 32.0],
            "full_well": 20000.0,
            "background": 0.0,
        },
    },
    "geometry in place of the radius": {
        "summary": "The size of the particles in nanometres, and where the detector stands",
        "value": {
            "patterns": _discs(10.0),
            "particle_radius_nm": 35.0,
            "photon_energy_ev": 1200.0,
            "detector_distance_mm": 650.0,
            "pixel_um": 750.0,
        },
    },
}
"""What 'Try it out' sends; a test sends each of them."""
