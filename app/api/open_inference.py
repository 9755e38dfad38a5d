"""Requests and answers of the open inference protocol (KServe V2), as JSON or with its binary tensor data extension.

With the extension a body is a JSON object, whose length the header `Inference-Header-Content-Length` gives, and after
it the tensors, little-endian in C order without a gap, in the order in which the JSON lists them.
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Any, Final

import numpy as np
import orjson
import simdjson
from jaxtyping import Num
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.json_arrays import MAX_CAREFUL_VALUES, MAX_OTHER_VALUES, checked_counts, loaded
from app.api.negotiation import BINARY
from app.api.problems import at
from app.api.schema import JSON, REF_TEMPLATE, Input, validated
from app.array_files.npy import array_from_bytes, checked_shape
from app.errors import AppError, InvalidInput, TooLarge, UnsupportedFormat

HEADER_LENGTH: Final = "inference-header-content-length"
MARK: Final = "inputs"
"""The key that tells a JSON request of this protocol from others."""
MAX_HEADER_BYTES: Final = 1024 * 1024
MAX_KEPT_BYTES: Final = 2048
"""Longer JSON before binary tensors is read anew in each request."""
MAX_TENSORS: Final = 16
MAX_KEYS: Final = 10
DATATYPES: Final[Mapping[str, np.dtype[Any]]] = MappingProxyType(
    {
        "BOOL": np.dtype("?"),
        "UINT8": np.dtype("u1"),
        "UINT16": np.dtype("<u2"),
        "UINT32": np.dtype("<u4"),
        "UINT64": np.dtype("<u8"),
        "INT8": np.dtype("i1"),
        "INT16": np.dtype("<i2"),
        "INT32": np.dtype("<i4"),
        "INT64": np.dtype("<i8"),
        "FP16": np.dtype("<f2"),
        "FP32": np.dtype("<f4"),
        "FP64": np.dtype("<f8"),
    }
)
"""NumPy types of the protocol's; BF16 and BYTES hold no numbers that NumPy knows."""
_NAMES: Final = {dtype: name for name, dtype in DATATYPES.items()}


class TensorIn(Input):
    """One tensor of a request; its numbers are in `data` or after the JSON."""

    name: Annotated[str, Field(max_length=200)]
    shape: Annotated[list[int], Field(max_length=8)]
    datatype: Annotated[str, Field(max_length=20, description=f"One of {', '.join(DATATYPES)}.")]
    parameters: Annotated[
        dict[str, Any],
        Field(default_factory=dict, description="`binary_data_size`: bytes of this tensor after the JSON."),
    ]
    data: Annotated[Any, Field(description="The numbers in C order, flat or nested; none where they are binary.")] = (
        None
    )


class OutputIn(Input):
    """One tensor that is asked for."""

    name: Annotated[str, Field(max_length=200)]
    parameters: Annotated[
        dict[str, Any], Field(default_factory=dict, description="`binary_data`: send this one in binary.")
    ]


class InferenceIn(Input):
    """A request of the open inference protocol."""

    # `data` holds arrays that were read already.
    model_config = ConfigDict(arbitrary_types_allowed=True)

    id: Annotated[str | None, Field(max_length=200)] = None
    model_name: Annotated[str | None, Field(max_length=200, description="The address names the model.")] = None
    model_version: Annotated[str | None, Field(max_length=200, description="The address names the version.")] = None
    parameters: Annotated[
        dict[str, Any],
        Field(default_factory=dict, description="Options; `binary_data_output`: send all outputs in binary."),
    ]
    inputs: Annotated[list[TensorIn], Field(min_length=1, max_length=MAX_TENSORS)]
    outputs: Annotated[list[OutputIn] | None, Field(max_length=MAX_TENSORS)] = None


@dataclass(frozen=True)
class Asked:
    """A request that was read.

    Attributes:
        inputs: the tensors by name; views of the body where they came in binary.
        parameters: options, without those of the protocol itself.
        outputs: names that were asked for with whether each goes in binary; None: all.
        binary: outputs that do not say it themselves go in binary.
    """

    inputs: dict[str, Num[np.ndarray, "..."]]
    parameters: dict[str, Any] = field(default_factory=dict)
    id: str | None = None
    outputs: dict[str, bool | None] | None = None
    binary: bool = False


# --- reading ----------------------------------------------------------------------------------------------------------


def read_inference(body: bytes, header_length: str | None, max_items: int) -> Asked:
    """Read a request.

    Args:
        body: JSON, with tensors after it where ``header_length`` is given.
        header_length: value of the header `Inference-Header-Content-Length`; None without one.
        max_items: most numbers of a tensor.

    Raises:
        HTTPException: 400 where the JSON is none.
        RequestValidationError: the JSON is not of this protocol.
        InvalidInput: a tensor does not fit what is said of it.
        UnsupportedFormat: a type of number that is not read.
        TooLarge: more numbers than ``max_items``.
    """
    length = len(body) if header_length is None else _length(header_length, len(body))
    if header_length is None:
        request = validated(InferenceIn, _values(body), ("body",))
    else:
        request = (_kept_request if length <= MAX_KEPT_BYTES else _request)(body[:length])
    inputs, left = {}, memoryview(body)[length:]
    for index, tensor in enumerate(request.inputs):
        where = ("body", "inputs", index)
        try:
            inputs[tensor.name], left = _tensor(tensor, left, max_items)
        except AppError as error:
            raise at(type(error)(f"input {tensor.name[:40]!r}: {error.message}"), where) from None
    if len(inputs) < len(request.inputs):
        raise at(InvalidInput("two inputs have one name"), ("body", "inputs"))
    if left.nbytes:
        raise at(InvalidInput(f"{left.nbytes} bytes are left after the last tensor"), ("body",))
    parameters = dict(request.parameters)
    binary = _flag(parameters.pop("binary_data_output", False), ("body", "parameters", "binary_data_output"))
    return Asked(inputs, parameters, request.id, _outputs(request.outputs), binary)


def _request(head: bytes) -> InferenceIn:
    return validated(InferenceIn, loaded(head), ("body",))


_kept_request: Final = lru_cache(maxsize=256)(_request)
"""What a client says of its tensors is the same in one request after another."""


def _length(text: str, body_bytes: int) -> int:
    length = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1
    if not 0 < length <= min(body_bytes, MAX_HEADER_BYTES):
        raise at(
            InvalidInput(
                "Inference-Header-Content-Length should be the number of bytes of the JSON before the tensors, at most "
                f"{min(body_bytes, MAX_HEADER_BYTES)} here"
            ),
            ("header", "Inference-Header-Content-Length"),
        )
    return length


def _values(body: bytes) -> Any:
    """The JSON with the tensors' numbers as flat arrays."""
    commas, opened = checked_counts(body)
    try:
        quick = _quick(simdjson.Parser().parse(body), commas + opened)
    except (ValueError, RuntimeError, TypeError):
        quick = None
    if quick is not None:
        return quick
    if commas > MAX_CAREFUL_VALUES:
        raise TooLarge("a tensor of so many numbers in JSON should hold numbers alone; send it in binary")
    return loaded(body)


def _quick(document: Any, values: int) -> dict[str, Any] | None:
    """None where the body is not made as expected, or holds much else: the slow way says what is wrong."""
    keys = list(document.keys()) if isinstance(document, simdjson.Object) else []
    tensors = document["inputs"] if "inputs" in keys else None
    if not isinstance(tensors, simdjson.Array) or len(tensors) > MAX_TENSORS or len(keys) > MAX_KEYS:
        return None
    if not all(isinstance(tensor, simdjson.Object) for tensor in tensors):
        return None
    numbers = [_numbers(tensor) for tensor in tensors]
    if values - sum(one.size for one in numbers if one is not None) > MAX_OTHER_VALUES:
        return None
    inputs = [_tensor_values(tensor, data) for tensor, data in zip(tensors, numbers, strict=True)]
    return {key: inputs if key == "inputs" else _plain(document[key]) for key in keys}


def _numbers(tensor: Any) -> Num[np.ndarray, "..."] | None:
    data, said = tensor.get("data"), tensor.get("datatype")
    # Not every whole number of 64 bits is a double.
    kind, dtype = _EXACT.get(said, _DOUBLE) if isinstance(said, str) else _DOUBLE
    return np.frombuffer(data.as_buffer(of_type=kind), dtype) if isinstance(data, simdjson.Array) else None


_DOUBLE: Final = ("d", np.dtype(np.float64))
_EXACT: Final = {"INT64": ("i", np.dtype(np.int64)), "UINT64": ("u", np.dtype(np.uint64))}


def _tensor_values(tensor: Any, data: Num[np.ndarray, "..."] | None) -> dict[str, Any]:
    plain = {key: _plain(tensor[key]) for key in list(tensor.keys())[:MAX_KEYS] if key != "data" or data is None}
    return plain if data is None else plain | {"data": data}


def _plain(value: Any) -> Any:
    if isinstance(value, simdjson.Array):
        return value.as_list()
    return value.as_dict() if isinstance(value, simdjson.Object) else value


def _tensor(tensor: TensorIn, left: memoryview, max_items: int) -> tuple[Num[np.ndarray, "..."], memoryview]:
    dtype = DATATYPES.get(tensor.datatype)
    if dtype is None:
        raise UnsupportedFormat(f"the datatype should be one of {', '.join(DATATYPES)}")
    size = tensor.parameters.get("binary_data_size")
    if tensor.data is not None:
        if size is not None:
            raise InvalidInput("give data or binary_data_size, not both")
        return _from_json(tensor, dtype, max_items), left
    if type(size) is not int or not 0 <= size <= left.nbytes:
        raise InvalidInput(f"binary_data_size should be the number of its bytes after the JSON; {left.nbytes} are left")
    return array_from_bytes(left[:size], dtype, tensor.shape, max_items), left[size:]


def _from_json(tensor: TensorIn, dtype: np.dtype[Any], max_items: int) -> Num[np.ndarray, "..."]:
    shape = checked_shape(tensor.shape, max_items)
    data = tensor.data
    flat = data if isinstance(data, np.ndarray) else np.array(_flattened(data), np.float64)
    if flat.size != math.prod(shape):
        raise InvalidInput(f"data has {flat.size} numbers and the shape {shape} needs {math.prod(shape)}")
    if dtype.kind in "iub" and flat.dtype != dtype:
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if not ((flat >= low) & (flat < float(high) + 1.0) & (flat == np.trunc(flat))).all():
            raise InvalidInput(f"data holds a number that is no {tensor.datatype}")
    with np.errstate(over="ignore"):  # too large for the type: an infinity, which whoever takes the array refuses
        return flat.astype(dtype).reshape(shape)


def _flattened(value: Any) -> list[float]:
    found: list[float] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += reversed(one)
        elif isinstance(one, int | float):
            found.append(float(one))
        else:
            raise InvalidInput("data should hold numbers alone")
    return found


def _outputs(outputs: Sequence[OutputIn] | None) -> dict[str, bool | None] | None:
    if not outputs:
        return None
    asked: dict[str, bool | None] = {}
    for index, output in enumerate(outputs):
        flag = output.parameters.get("binary_data")
        where = ("body", "outputs", index, "parameters", "binary_data")
        if other := sorted(_OTHER_FORMS & output.parameters.keys()):
            raise at(InvalidInput(f"{other[0]} is not supported: outputs are sent as numbers"), where[:-1])
        asked[output.name] = None if flag is None else _flag(flag, where)
    return asked


_OTHER_FORMS: Final = frozenset({"classification", "shared_memory_region"})


def _flag(value: object, where: Sequence[str | int]) -> bool:
    if not isinstance(value, bool):
        raise at(InvalidInput(f"{where[-1]} should be true or false"), where)
    return value


# --- answering --------------------------------------------------------------------------------------------------------


def inference_answer(name: str, version: str, outputs: Mapping[str, Num[np.ndarray, "..."]], asked: Asked) -> Response:
    """Answer with tensors, each in JSON or in binary as it was asked.

    Args:
        name, version: of the model that answered.
        outputs: tensors by name. In JSON, what is not a number becomes null.

    Raises:
        InvalidInput: an output was asked for that does not exist.
    """
    chosen = asked.outputs or dict.fromkeys(outputs)
    described, binary = [], []
    for index, (output, flag) in enumerate(chosen.items()):
        if output not in outputs:
            known = ", ".join(outputs)
            raise at(InvalidInput(f"there is no such output; there are {known}"), ("body", "outputs", index, "name"))
        array = _storable(outputs[output])
        entry: dict[str, Any] = {"name": output, "shape": array.shape, "datatype": _NAMES[array.dtype]}
        if asked.binary if flag is None else flag:
            binary.append(array.tobytes())
            entry["parameters"] = {"binary_data_size": array.nbytes}
        else:
            entry["data"] = array.ravel()
        described.append(entry)
    head = {"model_name": name, "model_version": version, "id": asked.id, "outputs": described}
    content = orjson.dumps(
        {key: value for key, value in head.items() if value is not None}, option=orjson.OPT_SERIALIZE_NUMPY
    )
    if not binary:
        return Response(content, media_type=JSON)
    headers = {"Inference-Header-Content-Length": str(len(content))}
    return Response(b"".join([content, *binary]), headers=headers, media_type="application/octet-stream")


def _storable(array: Num[np.ndarray, "..."]) -> Num[np.ndarray, "..."]:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


# --- documentation ----------------------------------------------------------------------------------------------------


def body_or_inference(
    model: type[BaseModel], examples: Mapping[str, Any], media_types: Sequence[str]
) -> dict[str, Any]:
    """The ``openapi_extra=`` of a route that takes a model or a request of this protocol as JSON, or a file.

    `app.api.docs` moves ``$defs`` into the components.

    Args:
        examples: of the JSON.
        media_types: of the body as a file.
    """
    definitions: dict[str, Any] = {}
    for one in (model, InferenceIn):
        schema = one.model_json_schema(ref_template=REF_TEMPLATE)
        definitions |= schema.pop("$defs", {}) | {one.__name__: schema}
    references = [{"$ref": REF_TEMPLATE.format(model=one.__name__)} for one in (model, InferenceIn)]
    header = {
        "name": "-".join(part.capitalize() for part in HEADER_LENGTH.split("-")),
        "in": "header",
        "schema": {"type": "integer", "minimum": 1},
        "description": "Bytes of the JSON before the tensors, of a binary open-inference request.",
    }
    json = {"schema": {"anyOf": references, "$defs": definitions}, "examples": dict(examples)}
    files = {name: {"schema": dict(BINARY)} for name in media_types}
    return {"parameters": [header], "requestBody": {"required": True, "content": {JSON: json, **files}}}
