"""Whatever a file does to the process that reads it, the caller gets an error of ours."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from app.array_files import child
from app.array_files.child import read_isolated
from app.errors import InvalidInput, TooLarge


def content() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["x"] = np.arange(6, dtype=">i2").reshape(2, 3)
    return stream.getvalue()


def everything(file: Any, times: int) -> dict[str, Any]:
    x = file["x"][()]
    return {"x": x * times, "even": (x % 2 == 0)[0], "name": "ä", "nothing": None}


def refused(file: Any) -> dict[str, Any]:
    raise TooLarge(f"{len(file)} is too many")


def killed(file: Any) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def writing(file: Any, path: str) -> dict[str, Any]:
    Path(path).write_bytes(b"x" * 100_000)
    return {}


def greedy(file: Any) -> dict[str, Any]:
    return {"x": np.ones(child.MEMORY_BYTES // 4)}


def test_arrays_and_values_come_back_as_the_reader_gave_them() -> None:
    found = read_isolated(everything, content(), times=2)
    assert np.array_equal(found["x"], [[0, 2, 4], [6, 8, 10]])
    assert np.array_equal(found["even"], [True, False, True])
    assert found["even"].dtype == bool
    assert (found["name"], found["nothing"]) == ("ä", None)


def test_an_error_of_the_reader_keeps_its_kind() -> None:
    with pytest.raises(TooLarge, match="1 is too many"):
        read_isolated(refused, content())


def test_a_child_that_dies_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="ended the process"):
        read_isolated(killed, content())


def test_a_child_writes_to_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        read_isolated(writing, content(), path=str(tmp_path / "x"))
    assert not (tmp_path / "x").exists() or not (tmp_path / "x").stat().st_size


def test_a_child_does_not_take_all_memory() -> None:
    with pytest.raises(InvalidInput, match="MemoryError"):
        read_isolated(greedy, content())
