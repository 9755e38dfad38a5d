"""Sets of the school's form: what is written is read, what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from app.errors import InvalidInput, UnsupportedFormat
from training.waveform.school import read, write
from training.waveform.settings import SIMULATIONS
from training.waveform.simulate import Events, simulate


@pytest.fixture(scope="module")
def events() -> Events:
    return simulate(SIMULATIONS["reference"], 6, np.random.default_rng(4))


@pytest.mark.parametrize("name", ["set.npz", "set.h5", "set.HDF5"])
def test_one_file_goes_round(tmp_path: Path, events: Events, name: str) -> None:
    write(tmp_path / name, events)
    back = read(tmp_path / name)
    assert len(back) == 6
    assert np.array_equal(back.waveforms[:], events.samples)
    assert back.d is not None
    assert np.allclose(back.d * 800, np.rint(back.d * 800))
    assert back.d_us == pytest.approx(events.d_us)


def test_two_files_go_round_without_being_loaded(tmp_path: Path, events: Events) -> None:
    write(tmp_path / "set.npy", events)
    back = read(tmp_path / "set.npy", tmp_path / "set_d.npy")
    assert isinstance(back.waveforms, np.memmap)
    assert np.array_equal(back.waveforms, events.samples)
    assert back.d_us == pytest.approx(events.d_us)


def test_single_scatters_have_no_separation(tmp_path: Path) -> None:
    single = simulate(SIMULATIONS["reference"], 3, np.random.default_rng(4), two_share=0.0)
    write(tmp_path / "one.npz", single)
    back = read(tmp_path / "one.npz")
    assert back.d is None
    assert back.d_us is None


def test_arrays_are_found_by_shape_within_groups_and_columns_are_flattened(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["entry/pulses"] = np.zeros((4, 5000), dtype=np.float32)
    np.save(tmp_path / "y.npy", np.full((4, 1), 0.5))
    back = read(tmp_path / "x.h5", tmp_path / "y.npy")
    assert back.d is not None
    assert back.d.tolist() == [0.5] * 4


@pytest.mark.parametrize(
    ("waveforms", "d", "message"),
    [
        (np.zeros((3, 4999)), np.zeros(3), r"\(3, 4999\)"),
        (np.zeros((3, 5000)), np.zeros(4), "3 waveforms and 4"),
        (np.zeros((3, 5000)), np.array([0.0, 800.0, 1.0]), "row 1 is 800"),
        (np.zeros((3, 5000)), np.array([0.0, np.nan, 1.0]), "row 1 is nan"),
        (np.zeros((3, 5000)), np.zeros((3, 2)), r"\(3, 2\)"),
        (np.zeros((3, 5000), dtype=complex), np.zeros(3), "complex"),
    ],
)
def test_errors_say_what_was_found(tmp_path: Path, waveforms: np.ndarray, d: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "set.npz", waveforms=waveforms, d=d)
    with pytest.raises(InvalidInput, match=message):
        read(tmp_path / "set.npz")


def test_ambiguous_files_list_what_they_hold(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", a=np.zeros((2, 5000)), b=np.zeros((3, 5000)))
    with pytest.raises(InvalidInput, match=r"a \(2, 5000\), b \(3, 5000\)"):
        read(tmp_path / "set.npz")


@pytest.mark.parametrize("name", ["set.csv", "set.npy", "set.npz", "set.h5"])
def test_files_that_are_none_of_these_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no array at all")
    with pytest.raises(UnsupportedFormat, match="set"):
        read(tmp_path / name)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "set.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UnsupportedFormat):
        read(tmp_path / "set.npy")
    with pytest.raises(InvalidInput, match="no file"):
        read(tmp_path / "missing.npy")
