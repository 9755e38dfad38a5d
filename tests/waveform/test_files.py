"""The waveforms of a file are found in every format; one array is read the same from each."""

from __future__ import annotations

import io
from collections.abc import Callable

import h5py
import hdf5plugin
import numpy as np
import pytest

from app.errors import InvalidInput, TooLarge, UnsupportedFormat
from app.waveform.files import array_from_file

WAVES = np.arange(50, dtype=np.int16).reshape(5, 10)
DISTANCES = np.linspace(0.0, 1.0, 5)


def npy(**arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, next(iter(arrays.values())))
    return content.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def hdf5(**arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, **(hdf5plugin.Bitshuffle() if array.ndim else {}))
    return content.getvalue()


FORMATS = [npy, npz, hdf5]
SEVERAL = [npz, hdf5]
Write = Callable[..., bytes]


@pytest.mark.parametrize("write", FORMATS)
def test_every_format_gives_the_array(write: Write) -> None:
    found = array_from_file(write(x=WAVES, d=DISTANCES), None, 50)
    assert np.array_equal(found, WAVES)
    assert found.dtype == np.int16


@pytest.mark.parametrize("write", FORMATS)
def test_the_largest_number_of_items_is_held(write: Write) -> None:
    with pytest.raises(TooLarge, match="50 numbers, at most 49"):
        array_from_file(write(x=WAVES), None, 49)


@pytest.mark.parametrize("write", FORMATS)
def test_complex_numbers_are_no_waveform(write: Write) -> None:
    with pytest.raises(UnsupportedFormat):
        array_from_file(write(x=WAVES * 1j), "x", 50)


@pytest.mark.parametrize("write", SEVERAL)
def test_arrays_that_could_be_meant_are_listed(write: Write) -> None:
    content = write(x=WAVES, y=WAVES + 1, d=DISTANCES)
    for dataset in (None, "z"):
        with pytest.raises(InvalidInput, match=r"x.*, .*y"):
            array_from_file(content, dataset, 50)
    assert np.array_equal(array_from_file(content, "y", 50), WAVES + 1)


@pytest.mark.parametrize("write", SEVERAL)
def test_one_waveform_alone_is_found_beside_a_number(write: Write) -> None:
    assert np.array_equal(array_from_file(write(x=WAVES[0], period=np.array(10.0)), None, 50), WAVES[0])
