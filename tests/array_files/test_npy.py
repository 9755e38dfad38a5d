"""A `.npy` is read as NumPy reads it; what is damaged or too large is refused before memory is taken."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from app.array_files.npy import array_from_bytes, array_from_npy
from app.errors import AppError, InvalidInput, TooLarge, UnsupportedFormat

MANY = 1_000_000


def npy(array: np.ndarray, **options: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array, **options)
    return content.getvalue()


NUMBERS = npst.scalar_dtypes().filter(lambda dtype: dtype.kind in "biuf" and dtype.itemsize <= 8)


@given(npst.arrays(NUMBERS, npst.array_shapes(max_dims=4, max_side=5)), st.booleans())
def test_what_numpy_saves_is_read_as_numpy_reads_it(array: np.ndarray, fortran: bool) -> None:
    array = np.asfortranarray(array) if fortran else array
    found = array_from_npy(npy(array), MANY)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_header_is_read(version: tuple[int, int]) -> None:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.arange(6).reshape(2, 3), version=version)
    np.testing.assert_array_equal(array_from_npy(content.getvalue(), MANY), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    "array",
    [
        np.array([None, "x"], object),
        np.array(["text"]),
        np.array([1j]),
        np.array([b"bytes"]),
        np.zeros(2, "<i4,<f8"),
        np.array(["2030-01-01"], "M8[D]"),
        np.zeros(2, np.longdouble),
    ],
)
def test_what_is_no_number_is_not_read(array: np.ndarray) -> None:
    with pytest.raises(UnsupportedFormat):
        array_from_npy(npy(array), MANY)


def _header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000000000000)}", TooLarge),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (1000,)}", InvalidInput),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", InvalidInput),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (True,)}", InvalidInput),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 5000)}", InvalidInput),
        ("{'descr': '<f8', 'fortran_order': 'no', 'shape': (1,)}", InvalidInput),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': " + "(" * 1000, InvalidInput),
        ("__import__('os').system('true')", InvalidInput),
        ("{}", InvalidInput),
        ("[]", InvalidInput),
    ],
)
def test_a_header_that_does_not_fit_its_data_is_refused(text: str, error: type[AppError]) -> None:
    with pytest.raises(error):
        array_from_npy(_header(text) + bytes(8), MANY)


@given(st.data())
def test_a_damaged_file_is_an_error_of_ours(data: st.DataObject) -> None:
    content = bytearray(npy(np.arange(12.0).reshape(3, 4)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        found = array_from_npy(bytes(content), 100)
    except AppError:
        return
    assert found.size <= 100


def test_reading_takes_no_copy() -> None:
    content = npy(np.arange(1000.0))
    assert np.shares_memory(array_from_npy(content, MANY), np.frombuffer(content, np.uint8))


def test_the_largest_number_of_items_is_held() -> None:
    assert array_from_npy(npy(np.zeros((2, 5))), 10).size == 10
    with pytest.raises(TooLarge, match="at most 9"):
        array_from_npy(npy(np.zeros((2, 5))), 9)


@pytest.mark.parametrize("size", [15, 17])
def test_raw_bytes_have_the_length_of_their_shape(size: int) -> None:
    with pytest.raises(InvalidInput, match="needs 16 bytes"):
        array_from_bytes(bytes(size), np.dtype("<f8"), [2], MANY)
