"""Tensors travel through the open inference protocol unchanged, in JSON and in binary."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from starlette.exceptions import HTTPException

from app.api.json_arrays import arrays_from_json
from app.api.open_inference import DATATYPES, MARK, Asked, inference_answer, read_inference
from app.errors import AppError, InvalidInput, TooLarge, UnsupportedFormat

MANY = 10_000
NAMES = {dtype: name for name, dtype in DATATYPES.items()}
ARRAYS = st.sampled_from(list(DATATYPES.values())).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(max_dims=3, max_side=4))
)


def described(name: str, array: np.ndarray, **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "datatype": NAMES[array.dtype], **more}


def binary(arrays: dict[str, np.ndarray], **more: Any) -> tuple[bytes, str]:
    inputs = [described(n, a, parameters={"binary_data_size": a.nbytes}) for n, a in arrays.items()]
    head = json.dumps({"inputs": inputs, **more}).encode()
    return head + b"".join(a.tobytes() for a in arrays.values()), str(len(head))


@given(st.dictionaries(st.text(min_size=1, max_size=3), ARRAYS, min_size=1, max_size=3))
def test_binary_tensors_arrive_unchanged(arrays: dict[str, np.ndarray]) -> None:
    asked = read_inference(*binary(arrays), MANY)
    assert list(asked.inputs) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(asked.inputs[name], array)
        assert asked.inputs[name].dtype == array.dtype


@given(
    npst.arrays(
        st.sampled_from([np.dtype("<f4"), np.dtype("<f8"), np.dtype("<i2"), np.dtype("u1"), np.dtype("?")]),
        npst.array_shapes(max_dims=3, max_side=4),
    ).filter(lambda array: bool(np.isfinite(array).all())),
    st.booleans(),
)
def test_json_tensors_arrive_unchanged_flat_or_nested(array: np.ndarray, flat: bool) -> None:
    data = array.ravel().tolist() if flat else array.tolist()
    body = json.dumps({"inputs": [described("x", array, data=data)]}).encode()
    found = read_inference(body, None, MANY).inputs["x"]
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


@given(st.dictionaries(st.text(min_size=1, max_size=3), ARRAYS, min_size=1, max_size=3), st.booleans())
def test_an_answer_can_be_read_as_a_request(arrays: dict[str, np.ndarray], in_binary: bool) -> None:
    # Numbers in JSON are doubles.
    arrays = {
        name: np.nan_to_num(array % 2**53 if array.dtype.itemsize == 8 and array.dtype.kind in "iu" else array)
        for name, array in arrays.items()
    }
    response = inference_answer("m", "1", arrays, Asked({}, binary=in_binary))
    length = response.headers.get("Inference-Header-Content-Length")
    content = bytes(response.body)
    head = json.loads(content[: int(length or len(content))])
    assert (head["model_name"], head["model_version"]) == ("m", "1")
    request = json.dumps({"inputs": head["outputs"]}).encode()
    again = read_inference(request + content[int(length or len(content)) :], length and str(len(request)), MANY)
    for name, array in arrays.items():
        tolerance = 1e-3 if array.dtype == np.float16 and not in_binary else 1e-6
        np.testing.assert_allclose(again.inputs[name].astype(float), array.astype(float), rtol=tolerance)


def test_each_output_goes_as_it_was_asked() -> None:
    body, length = binary(
        {"x": np.ones(2)}, outputs=[{"name": "b", "parameters": {"binary_data": True}}, {"name": "a"}], id="7"
    )
    asked = read_inference(body, length, MANY)
    response = inference_answer("m", "1", {"a": np.array([1.5, np.nan]), "b": np.array([2.0]), "c": np.ones(1)}, asked)
    size = int(response.headers["Inference-Header-Content-Length"])
    head = json.loads(bytes(response.body)[:size])
    assert head["id"] == "7"
    assert [(o["name"], o.get("data"), o.get("parameters")) for o in head["outputs"]] == [
        ("b", None, {"binary_data_size": 8}),
        ("a", [1.5, None], None),
    ]
    assert bytes(response.body)[size:] == np.array([2.0]).tobytes()


def test_an_unknown_output_is_named() -> None:
    asked = Asked({}, outputs={"z": None})
    with pytest.raises(InvalidInput, match="there are a"):
        inference_answer("m", "1", {"a": np.ones(1)}, asked)


X = np.arange(4.0)


@pytest.mark.parametrize(
    ("body", "length", "error"),
    [
        (*binary({"x": np.arange(5.0)}), TooLarge),
        (binary({"x": X})[0][:-1], binary({"x": X})[1], InvalidInput),
        (binary({"x": X})[0] + b"0", binary({"x": X})[1], InvalidInput),
        (binary({"x": X})[0], "0", InvalidInput),
        (binary({"x": X})[0], "-1", InvalidInput),
        (binary({"x": X})[0], "9999999", InvalidInput),
        (binary({"x": X})[0], "\u0663", InvalidInput),
        (binary({"x": X})[0], "5", HTTPException),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}', None, UnsupportedFormat),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": ["a"]}]}', None, InvalidInput),
        (b'{"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1]}]}', None, InvalidInput),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "INT8", "data": [1.5]}]}', None, InvalidInput),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "UINT8", "data": [256]}]}', None, InvalidInput),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32"}]}', None, InvalidInput),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [NaN]}]}', None, InvalidInput),
        (
            b'{"inputs": [{"name": "x", "shape": [true], "datatype": "FP32", "data": [1]}]}',
            None,
            RequestValidationError,
        ),
        (b'{"inputs": []}', None, RequestValidationError),
        (b'{"inputs": [1]}', None, RequestValidationError),
        (b'{"inputs": {}}', None, RequestValidationError),
        (b'{"inputs": [', None, HTTPException),
        (b"[]", None, RequestValidationError),
    ],
)
def test_what_does_not_fit_is_refused(body: bytes, length: str | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_inference(body, length, 4)


@given(st.binary(max_size=60), st.none() | st.text(max_size=3))
def test_any_bytes_are_read_or_refused(body: bytes, length: str | None) -> None:
    with pytest.raises((AppError, HTTPException, RequestValidationError)):
        read_inference(body, length, MANY)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"inputs": []}', True),
        (b'{"waveforms": [1]}', False),
        (b'{"name": "inputs"}', False),
        (b'{"a": {"inputs": 1}}', False),
    ],
)
def test_a_request_of_the_protocol_has_inputs(body: bytes, expected: bool) -> None:
    assert (arrays_from_json(body, ["waveforms"], MANY, other_form=MARK) is None) is expected


@pytest.mark.parametrize(
    ("datatype", "values"), [("INT64", [2**63 - 1, -(2**63), 2**53 + 1]), ("UINT64", [2**64 - 1, 2**53 + 1, 0])]
)
def test_whole_numbers_of_64_bits_keep_every_digit_in_json(datatype: str, values: list[int]) -> None:
    tensor = {"name": "x", "shape": [3], "datatype": datatype, "data": values}
    found = read_inference(json.dumps({"inputs": [tensor]}).encode(), None, MANY).inputs["x"]
    assert found.tolist() == values


def test_clients_may_repeat_the_models_name() -> None:
    body, length = binary({"x": np.ones(2)}, model_name="m", model_version="1")
    assert read_inference(body, length, MANY).inputs["x"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("option", [{"classification": 3}, {"shared_memory_region": "a"}])
def test_another_form_of_an_output_is_refused(option: dict[str, Any]) -> None:
    body, length = binary({"x": np.ones(2)}, outputs=[{"name": "y", "parameters": option}])
    with pytest.raises(InvalidInput, match="not supported"):
        read_inference(body, length, MANY)
