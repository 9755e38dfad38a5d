"""Bodies of the open inference protocol and of Triton's extensions to it, other than tensors."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from app.api.negotiation import BINARY
from app.api.open_inference import HEADER_LENGTH, InferenceIn
from app.api.schema import JSON, REF_TEMPLATE, Input, Output

HEADER_NAME: Final = "-".join(part.capitalize() for part in HEADER_LENGTH.split("-"))
OCTETS: Final = "application/octet-stream"

# --- server -----------------------------------------------------------------------------------------------------------


class ServerLive(Output):
    """The server answers."""

    live: Literal[True] = True


class ServerReady(Output):
    """Every model that an alias names, and that is not unloaded, is loaded."""

    ready: Literal[True] = True


class ServerMetadata(Output):
    """The server."""

    name: Annotated[str, Field(examples=["beamline-model-server"])]
    version: Annotated[str, Field(examples=["0.1.0"])]
    extensions: Annotated[
        list[str], Field(description="What is there beside the protocol's own, by the names that Triton uses.")
    ]


# --- models -----------------------------------------------------------------------------------------------------------


class TensorMetadata(Output):
    """One input or output."""

    name: str
    datatype: Annotated[str, Field(examples=["FP32"])]
    shape: Annotated[list[int], Field(description="-1 where any size will do; the first is the batch.")]
    parameters: Annotated[
        dict[str, Any] | None, Field(description="`classes`: what the columns of a classification stand for.")
    ] = None


class ModelMetadata(Output):
    """One version of one model."""

    name: str
    versions: Annotated[list[str], Field(description="All versions of the model.", examples=[["1", "2"]])]
    platform: Annotated[
        str, Field(description="`litert`, `keras` or `plain`: what computes; `none` without tensors of its own.")
    ]
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(Output):
    """The model answers."""

    name: str
    version: Annotated[str, Field(description="The version that would answer.")]
    ready: Literal[True] = True


class ConfigTensor(Output):
    """One input or output in Triton's words."""

    name: str
    data_type: Annotated[str, Field(examples=["TYPE_FP32"])]
    dims: Annotated[list[int], Field(description="Without the batch; -1 where any size will do.")]


class LatestVersions(Output):
    """How many versions are served at most: the whole store."""

    num_versions: int


class VersionPolicy(Output):
    """Which versions are served."""

    latest: LatestVersions


class ModelConfig(Output):
    """One version in the form of Triton's model configuration, as far as it has a meaning here."""

    name: str
    platform: str
    backend: str
    version_policy: VersionPolicy
    max_batch_size: Annotated[int, Field(description="Most rows in one request.")]
    input: list[ConfigTensor]
    output: list[ConfigTensor]


# --- statistics -------------------------------------------------------------------------------------------------------


class Duration(Output):
    """How often, and how long in all."""

    count: int
    ns: Annotated[int, Field(description="Sum [ns].")]


class InferStatistics(Output):
    """Where the time of requests went."""

    success: Duration
    fail: Duration
    queue: Annotated[Duration, Field(description="In line for a thread.")]
    compute_input: Annotated[Duration, Field(description="From bytes to arrays.")]
    compute_infer: Duration
    compute_output: Annotated[Duration, Field(description="From arrays to bytes.")]
    cache_hit: Duration
    cache_miss: Duration


class VersionStatistics(Output):
    """Of one version, since the server process started."""

    name: str
    version: str
    last_inference: Annotated[int, Field(description="[ms since 1970]; 0 where there was none.")]
    inference_count: Annotated[int, Field(description="Rows that were answered.")]
    execution_count: Annotated[int, Field(description="Requests that they came in.")]
    inference_stats: InferStatistics
    batch_stats: Annotated[list[dict[str, Any]], Field(description="Not kept: empty.")]


class ModelStatistics(Output):
    """Counts and times of inferences by this server process."""

    model_stats: list[VersionStatistics]


# --- repository -------------------------------------------------------------------------------------------------------


class IndexIn(Input):
    """What to list."""

    ready: Annotated[bool, Field(description="List those alone that answer.")] = False


class IndexEntry(Output):
    """One version and how it stands."""

    name: str
    version: Annotated[str, Field(description="0 stands for aliases that cannot be read.")]
    state: Literal["READY", "UNAVAILABLE"]
    reason: Annotated[
        str, Field(description="Why it is not available, or that it is loaded when asked for.", examples=["unloaded"])
    ]


class LoadIn(Input):
    """Triton's options of a load, none of which is taken here."""

    parameters: Annotated[
        dict[str, Any],
        Field(default_factory=dict, description="`config` and `file:...` are refused: versions come from the store."),
    ]


class UnloadIn(Input):
    """Triton's options of an unload; no model here depends on another."""

    parameters: Annotated[dict[str, Any], Field(default_factory=dict, description="Passed over.")]


class Changed(Output):
    """How a model stands after the change."""

    name: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


# --- inference --------------------------------------------------------------------------------------------------------


class TensorOut(Output):
    """One tensor of an answer; its numbers are in `data` or after the JSON."""

    name: str
    shape: list[int]
    datatype: Annotated[str, Field(examples=["FP32"])]
    parameters: Annotated[
        dict[str, Any] | None, Field(description="`binary_data_size`: bytes of this tensor after the JSON.")
    ] = None
    data: Annotated[list[float] | None, Field(description="The numbers in C order, flat.")] = None


class InferenceOut(Output):
    """An answer."""

    model_name: str
    model_version: Annotated[str, Field(description="The version that answered.")]
    id: Annotated[str | None, Field(description="That of the request.")] = None
    outputs: list[TensorOut]


def _infer_body() -> dict[str, Any]:
    schema = InferenceIn.model_json_schema(ref_template=REF_TEMPLATE)
    definitions = schema.pop("$defs", {}) | {InferenceIn.__name__: schema}
    reference = {"$ref": REF_TEMPLATE.format(model=InferenceIn.__name__), "$defs": definitions}
    row = {"name": "features", "shape": [1, 10], "datatype": "FP32", "data": [0.1] * 10}
    examples = {
        "json": {"summary": "One row for polarization-crystalline", "value": {"id": "42", "inputs": [row]}},
        "chosen": {
            "summary": "The same, naming the output",
            "value": {"inputs": [row], "outputs": [{"name": "heads"}]},
        },
    }
    header = {
        "name": HEADER_NAME,
        "in": "header",
        "schema": {"type": "integer", "minimum": 1},
        "description": "Bytes of the JSON before the tensors, where tensors come in binary.",
    }
    content = {JSON: {"schema": reference, "examples": examples}, OCTETS: {"schema": dict(BINARY)}}
    return {"parameters": [header], "requestBody": {"required": True, "content": content}}


INFER_BODY: Final = _infer_body()
INFER_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The outputs; in binary after the JSON where the request asks for it.",
        "headers": {HEADER_NAME: {"schema": {"type": "integer"}, "description": "Bytes of the JSON, if in binary."}},
        "content": {OCTETS: {"schema": dict(BINARY)}},
    }
}
