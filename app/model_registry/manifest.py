"""What a published version says of itself: `manifest.json`."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

SCHEMA_VERSION: Final = 1
NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,63}$"
FILE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
MANIFEST_FILE: Final = "manifest.json"
CARD_FILE: Final = "CARD.md"

ModelName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
FileName = Annotated[str, StringConstraints(pattern=FILE_PATTERN)]
"""A flat name: no folder, no `..`, no hidden file."""
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
DtypeName = Literal["float32", "float64", "int32", "int64"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(_Record):
    """One file of a version."""

    sha256: Digest
    bytes: int = Field(ge=0, description="size in bytes")


class TensorSpec(_Record):
    """One input or output of the network; `None` in the shape stands for the batch axis, which comes first."""

    name: str = Field(min_length=1, max_length=128)
    shape: tuple[int | None, ...]
    dtype: DtypeName = "float32"


class Feature(_Record):
    """One column of what the model sees, in order, with the range or the categories it was trained on."""

    name: str
    unit: str = Field(description="unit, `1` for a pure number")
    min: float | None = Field(default=None, description="smallest value in training, in the feature's unit")
    max: float | None = Field(default=None, description="largest value in training, in the feature's unit")
    categories: tuple[str, ...] | None = Field(
        default=None, description="names seen in training, for a categorical feature"
    )


class Training(_Record):
    """How the version came about; what is not known is left out."""

    command: str | None = None
    seed: int | None = None
    data_fingerprint: str | None = Field(default=None, description="digest of the training data set")
    libraries: dict[str, str] = Field(default_factory=dict, description="library -> version")


class Compiled(_Record):
    """The fast form of the network and how far it is from Keras."""

    file: FileName
    runtime: Literal["litert"] = "litert"
    converter: str = "tensorflow"
    converter_version: str
    source_sha256: Digest = Field(description="digest of the .keras file that was converted")
    parity_max_abs: float = Field(ge=0, description="largest absolute difference from Keras on the golden inputs")
    golden_rows: int = Field(ge=1, description="number of golden input rows that were compared")


class PlainForm(_Record):
    """What a scaler or estimator that is stored as plain arrays was made from, and how far it is from it."""

    source: str = Field(min_length=1, max_length=128, description="class, e.g. HistGradientBoostingClassifier")
    library: Literal["scikit-learn"] = "scikit-learn"
    library_version: str
    parity_max_abs: float = Field(ge=0, description="largest absolute difference from the source on the golden rows")
    golden_rows: int = Field(ge=1, description="number of rows that were compared")


class ModelDraft(_Record):
    """All that a publisher says; the store adds version, date and digests."""

    name: ModelName
    family: str = Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$", description="domain and kind, e.g. polarization/d3-network")
    description: str
    network: FileName | None = Field(default=None, description="the .keras file; none for a model without a network")
    scalers: dict[str, FileName] = Field(default_factory=dict, description="role (static, time, y, ...) -> file")
    plain: dict[str, PlainForm] = Field(
        default_factory=dict, description="role -> record, for the roles in scalers whose file holds plain arrays"
    )
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    features: tuple[Feature, ...] = ()
    parameters: dict[str, JsonValue] = Field(default_factory=dict, description="constants that the domain reads")
    training: Training = Field(default_factory=Training)
    metrics: dict[str, JsonValue] = Field(default_factory=dict)
    compiled: Compiled | None = None
    origin: str | None = Field(default=None, description="where it came from, e.g. imported from Model_Naif16532_6")
    notes: tuple[str, ...] = ()

    def referenced_files(self) -> frozenset[str]:
        """The files that the registry reads to load this version."""
        compiled = (self.compiled.file,) if self.compiled else ()
        network = (self.network,) if self.network else ()
        return frozenset((*network, *compiled, *self.scalers.values()))


class Manifest(ModelDraft):
    """A published version."""

    schema_version: Literal[1] = SCHEMA_VERSION
    version: int = Field(ge=1)
    created: AwareDatetime = Field(description="UTC")
    files: dict[FileName, FileEntry]

    @model_validator(mode="after")
    def _files_are_listed(self) -> Manifest:
        missing = sorted(self.referenced_files() - self.files.keys())
        if missing or MANIFEST_FILE in self.files:
            raise ValueError(f"files must list {missing} and not {MANIFEST_FILE} itself")
        if unknown := sorted(self.plain.keys() - self.scalers.keys()):
            raise ValueError(f"plain names the roles {unknown}, which scalers does not list")
        if self.compiled and self.network and self.compiled.source_sha256 != self.files[self.network].sha256:
            raise ValueError("the compiled form was made from another .keras file")
        return self

    def to_json(self) -> str:
        """The text of `manifest.json`, keys in the order of this class."""
        return self.model_dump_json(indent=2) + "\n"


def manifest_from_draft(draft: ModelDraft, **added: Any) -> Manifest:
    """The manifest of a draft; ``added`` holds version, created and files."""
    return Manifest.model_validate({**draft.model_dump(), **added})
