"""HDF5 files: what is in them is found, and nothing outside of them is ever opened."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from app.array_files.hdf5 import MAX_OBJECTS, check_storage, dataset_at, datasets, find, open_hdf5
from app.errors import InvalidInput, TooLarge, UnsupportedFormat

VALUES = np.arange(12.0).reshape(3, 4)


def made(build: Callable[[h5py.File], object]) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        build(file)
    return content.getvalue()


def read(content: bytes, path: str) -> np.ndarray:
    with open_hdf5(content) as file:
        dataset = dataset_at(file, path)
        check_storage(dataset, "the dataset")
        return dataset[()]


def paths(content: bytes) -> set[str]:
    with open_hdf5(content) as file:
        return {path for path, _ in datasets(file)}


def test_a_path_and_the_bytes_give_the_same(tmp_path: Path) -> None:
    content = made(lambda file: file.create_dataset("a/b", data=VALUES))
    (tmp_path / "x.h5").write_bytes(content)
    for source in (content, tmp_path / "x.h5"):
        with open_hdf5(source) as file:
            assert np.array_equal(dataset_at(file, "a/b")[()], VALUES)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf"},
        dict(hdf5plugin.Bitshuffle()),
        dict(hdf5plugin.Blosc()),
        dict(hdf5plugin.LZ4()),
        dict(hdf5plugin.Zstd()),
    ],
)
def test_what_detectors_compress_with_is_read(options: dict[str, object]) -> None:
    content = made(lambda file: file.create_dataset("x", data=VALUES, chunks=(1, 4), **options))
    assert np.array_equal(read(content, "x"), VALUES)


def test_other_filters_are_refused() -> None:
    content = made(lambda file: file.create_dataset("x", data=VALUES.astype(int), scaleoffset=0))
    with pytest.raises(UnsupportedFormat, match="filter 6"):
        read(content, "x")


def test_a_chunk_that_would_fill_the_memory_is_refused() -> None:
    content = made(lambda file: file.create_dataset("x", (1, 10**9), "f4", chunks=(1, 10**9), compression="gzip"))
    with pytest.raises(TooLarge, match="chunks"):
        read(content, "x")


# --- links ------------------------------------------------------------------------------------------------------------


def test_soft_links_within_the_file_are_followed() -> None:
    def build(file: h5py.File) -> None:
        file["/far/away/data"] = VALUES
        file.create_group("/near")["data"] = h5py.SoftLink("/far/away/data")
        file["/n"] = h5py.SoftLink("near")

    for path in ("/near/data", "near/data", "/n/data", "n//./data"):
        assert np.array_equal(read(made(build), path), VALUES)


def test_links_that_lead_in_a_circle_end() -> None:
    def build(file: h5py.File) -> None:
        file["/a"] = h5py.SoftLink("/b")
        file["/b"] = h5py.SoftLink("/a")
        file["/c/d"] = VALUES
        file["/c/e"] = file["/c"]

    with pytest.raises(InvalidInput, match="circle"):
        read(made(build), "/a")
    assert len(paths(made(build))) == 1


def test_nothing_is_there() -> None:
    def build(file: h5py.File) -> None:
        file["/group/data"] = VALUES
        file["/nowhere"] = h5py.SoftLink("/nothing")
        file["/empty"] = h5py.Empty("f8")

    content = made(build)
    with open_hdf5(content) as file:
        assert all(find(file, path) is None for path in ("/nowhere", "/x", "/group/../group", "/group/data/x"))
    for path in ("/group", "/nowhere", ""):
        with pytest.raises(InvalidInput, match=r"it has .*/group/data"):
            read(content, path)
    with pytest.raises(InvalidInput, match="empty"):
        read(content, "/empty")


def _link(file: h5py.File, secret: Path) -> None:
    file.create_group("/a")["x"] = h5py.ExternalLink(str(secret / "secret.h5"), "/data")


def _link_on_the_way(file: h5py.File, secret: Path) -> None:
    file["/a"] = h5py.ExternalLink(str(secret / "secret.h5"), "/group")


def _virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout(VALUES.shape, VALUES.dtype)
    layout[...] = h5py.VirtualSource(str(secret / "secret.h5"), "data", VALUES.shape)
    file.create_virtual_dataset("/a/x", layout)


def _outside(file: h5py.File, secret: Path) -> None:
    raw = [(str(secret / "secret.raw"), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("/a/x", VALUES.shape, VALUES.dtype, external=raw)


@pytest.mark.parametrize("build", [_link, _link_on_the_way, _virtual, _outside])
def test_other_files_are_never_opened(tmp_path: Path, build: Callable[[h5py.File, Path], None]) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = file["group/x"] = VALUES
    (tmp_path / "secret.raw").write_bytes(VALUES.tobytes())
    content = made(lambda file: build(file, tmp_path))
    with pytest.raises(InvalidInput, match="another file"):
        read(content, "/a/x")


# --- damaged and hostile ----------------------------------------------------------------------------------------------


def test_what_is_damaged_is_told_and_errors_of_the_reader_pass() -> None:
    content = made(lambda file: file.create_dataset("x", data=VALUES))
    with pytest.raises(InvalidInput, match="damaged"):
        read(content[:-100], "x")
    with pytest.raises(TooLarge, match="mine"), open_hdf5(content):
        raise TooLarge("mine")


def test_a_crowd_of_objects_is_refused() -> None:
    def build(file: h5py.File) -> None:
        for number in range(MAX_OBJECTS + 1):
            file[f"s{number}"] = h5py.SoftLink("/x")

    with pytest.raises(TooLarge, match="members"):
        paths(made(build))
