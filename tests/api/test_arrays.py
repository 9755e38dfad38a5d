"""One array reads the same in every form; what is damaged or too large is refused before memory is taken."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from starlette.exceptions import HTTPException

from app.api.arrays import DTYPES, array_from_base64, check_finite
from app.api.json_arrays import JsonArrays, _careful, arrays_from_json
from app.errors import AppError, InvalidInput, TooLarge

MANY = 1_000_000
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def npy(array: np.ndarray, **options: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array, **options)
    return content.getvalue()


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def read(body: object, name: str = "x") -> np.ndarray:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return arrays_from_json(content, [name], MANY).arrays[name]


def located(error: AppError) -> list[Any]:
    (only,) = error.details["errors"]  # type: ignore[misc]
    return only["loc"]


# --- base64 -----------------------------------------------------------------------------------------------------------


@given(npst.arrays(st.sampled_from(list(DTYPES.values())), npst.array_shapes(max_dims=3, max_side=4)))
def test_base64_holds_raw_numbers_or_a_file(array: np.ndarray) -> None:
    raw = {"data_base64": in_base64(array.tobytes()), "dtype": array.dtype.name, "shape": list(array.shape)}
    file = {"data_base64": in_base64(npy(array))}
    for value in (raw, file):
        np.testing.assert_array_equal(array_from_base64(value, MANY), array)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"data_base64": 3},
        {"data_base64": "AAAA"},
        {"data_base64": "A", "dtype": "float32", "shape": [1]},
        {"data_base64": "AA\u00e4A", "dtype": "float32", "shape": [1]},
        {"data_base64": "AAAAAA==", "dtype": "float32"},
        {"data_base64": "AAAAAA==", "shape": [1]},
        {"data_base64": "AAAAAA==", "dtype": "object", "shape": [1]},
        {"data_base64": "AAAAAA==", "dtype": "float32", "shape": 1},
        {"data_base64": "AAAAAA==", "dtype": "float32", "shape": [1.0]},
        {"data_base64": "AAAAAA==", "dtype": "float32", "shape": [2]},
        {"data_base64": "AAAAAA==", "dtype": "float32", "shape": [1], "order": "F"},
    ],
)
def test_bad_base64_is_refused_with_its_place(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        read({"x": value})
    assert located(caught.value) == ["body", "x"]


# --- JSON -------------------------------------------------------------------------------------------------------------


@given(npst.arrays(np.float64, npst.array_shapes(max_dims=4, max_side=5), elements=FINITE))
def test_lists_are_read_as_numpy_reads_them(array: np.ndarray) -> None:
    np.testing.assert_array_equal(read({"x": array.tolist()}), array)


LEAF = st.one_of(FINITE, st.integers(), st.booleans(), st.none(), st.text(max_size=3))
JSON = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner))


def _outcome(read_it: Any) -> object:
    try:
        found: JsonArrays = read_it()
    except (AppError, HTTPException) as error:
        return type(error)
    return {name: array.tolist() for name, array in found.arrays.items()}, found.others


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(["x", "y", "z"]), JSON))
def test_the_quick_and_the_careful_way_agree(value: dict[str, Any]) -> None:
    body = json.dumps(value).encode()
    quick = _outcome(lambda: arrays_from_json(body, ["x", "y"], MANY))
    assert quick == _outcome(lambda: _careful(body, frozenset(["x", "y"]), MANY))


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("[1, true]", [1]),
        ("[[1, 2], [3, false]]", [1, 1]),
        ('[1, "2"]', [1]),
        ("[1, null]", [1]),
        ("[1, NaN]", [1]),
        ("[[1, 2], [-Infinity, 3]]", [1, 0]),
        ("[[1, 2], [3, nan]]", [1, 1]),
        ("[[1], 2]", [1]),
        ("[[1], {}]", [1]),
        ("[1, [2]]", [1]),
        ("[[[1], 2]]", [0, 1]),
        ("[[1, 2], [3]]", [1]),
        ("[[1, 2], 3]", [1]),
        ("[]", []),
        ("[[]]", [0]),
        ("7", []),
        ('"1, 2"', []),
        ("true", []),
        ("[" * 12 + "1" + "]" * 12, [0] * 9),
    ],
)
def test_what_is_no_rectangle_of_numbers_is_refused_with_its_place(value: str, where: list[int]) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(b'{"a": [1, {"b": []}], "x": ' + value.encode() + b"}")
    assert located(caught.value) == ["body", "x", *where]


@pytest.mark.parametrize("body", [b"", b"{", b'{"x": [1,]}', b'{"x": [01]}', b'{"x": [1]} y', b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_a_malformed_body(body: bytes) -> None:
    with pytest.raises(HTTPException, match="line 1 column"):
        read(body)


@pytest.mark.parametrize("body", [b"[]", b"3", b"null", b'{"x": [1e999]}', b'{"x": [1], "a": "\\ud800"}'])
def test_what_is_no_object_of_finite_numbers_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        read(body)


def test_whole_numbers_of_any_length_are_read() -> None:
    assert read(b'{"x": [' + b"9" * 100 + b", 18446744073709551615]}").tolist() == [1e100, 18446744073709551615.0]


def test_brackets_in_texts_are_no_lists() -> None:
    found = arrays_from_json(b'{"x": [1], "name": "[[["}', ["x"], MANY)
    assert (found.arrays["x"].tolist(), found.others) == ([1.0], {"name": "[[["})


def test_an_array_that_is_null_is_left_out() -> None:
    found = arrays_from_json(b'{"x": null}', ["x"], MANY)
    assert (found.arrays, found.others) == ({}, {})


def test_a_list_beyond_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge):
        arrays_from_json(b'{"x": [1, 2, 3]}', ["x"], 2)


def test_a_flood_of_other_values_is_refused() -> None:
    with pytest.raises(TooLarge):
        arrays_from_json(b'{"x": [1], "a": [' + b"1," * 60_000 + b"1]}", ["x"], MANY)


def test_a_deep_value_beside_the_arrays_is_read() -> None:
    deep = b"[" * 900 + b"]" * 900
    assert arrays_from_json(b'{"x": [1], "a": ' + deep + b"}", ["x"], MANY).arrays["x"].tolist() == [1.0]


# --- finite numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named(bad: float) -> None:
    array = np.zeros((4, 6))
    array[2, 5] = bad
    with pytest.raises(InvalidInput, match="waveform 2, sample 5") as caught:
        check_finite(array, "waveforms", ("waveform", "sample"), ("body", "waveforms"))
    assert located(caught.value) == ["body", "waveforms", 2, 5]


def test_large_finite_numbers_pass_although_their_sum_does_not() -> None:
    check_finite(np.full(10, 1e308), "waveforms", ("sample",), ())
    check_finite(np.full(10, 6e4, np.float16), "waveforms", ("sample",), ())
    check_finite(np.arange(3), "waveforms", ("sample",), ())
