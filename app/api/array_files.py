"""One array of numbers from an uploaded `.npy`, `.npz` or HDF5 file, told apart by its first bytes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import IO, Final

import numpy as np
from jaxtyping import Num

from app import errors
from app.api.arrays import MAX_NPY_HEADER, NPY_MAGIC, array_from_npy
from app.api.hdf5_array import MAGIC as HDF5_MAGIC
from app.api.hdf5_array import REFUSED
from app.errors import AppError, InvalidInput, TooLarge, UnsupportedFormat

ZIP_MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06")
MAX_MEMBERS: Final = 256
HDF5_TIMEOUT_S: Final = 60
_KEPT_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP")
_ERRORS: Final[dict[str, type[AppError]]] = {
    e.kind: e for e in (errors.InvalidInput, errors.UnsupportedFormat, errors.TooLarge)
}


def array_from_file(content: bytes, dataset: str | None, max_items: int) -> Num[np.ndarray, "..."]:
    """Read the array of a file. Safe with files from strangers.

    Args:
        content: the whole file.
        dataset: which array of an `.npz` or HDF5 file; None: the only one, or the only one of two dimensions.
        max_items: most numbers.

    Raises:
        UnsupportedFormat: the file is of another kind, or the array holds no numbers.
        InvalidInput: the file is damaged; no such array, or several that could be meant.
        TooLarge: more numbers than ``max_items``.
    """
    if content.startswith(NPY_MAGIC):
        return array_from_npy(content, max_items)
    if content.startswith(ZIP_MAGICS):
        return _from_npz(content, dataset, max_items)
    if content.startswith(HDF5_MAGIC):
        return _from_hdf5(content, dataset, max_items)
    if not content:
        raise InvalidInput("the file is empty")
    raise UnsupportedFormat("the file is none of .npy, .npz and HDF5, by its first bytes")


# --- .npz -------------------------------------------------------------------------------------------------------------


def _from_npz(content: bytes, dataset: str | None, max_items: int) -> Num[np.ndarray, "..."]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _from_archive(archive, dataset, max_items)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise InvalidInput(f"the .npz cannot be read ({type(error).__name__}); write it with numpy.savez") from None


def _from_archive(archive: zipfile.ZipFile, dataset: str | None, max_items: int) -> Num[np.ndarray, "..."]:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist() if not info.is_dir()}
    if len(members) > MAX_MEMBERS:
        raise TooLarge(f"{len(members)} arrays in the .npz, at most {MAX_MEMBERS} are looked at")
    name = chosen({name: _dimensions(archive, info) for name, info in members.items()}, dataset)
    # One number of eight bytes is the largest; the declared size of a zip's member need not be true.
    most = 8 * max_items + MAX_NPY_HEADER
    with archive.open(members[name]) as stream:
        data = _read(stream, most)
    return array_from_npy(data, max_items)


def _read(stream: IO[bytes], most: int) -> bytes:
    data = stream.read(most + 1)
    if len(data) > most:
        raise TooLarge(f"an array of the .npz has more than {most} bytes: split the file")
    return data


def _dimensions(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Dimensions by the header; 0 where the member is no array, and is not looked at unless it is named."""
    with archive.open(info) as stream:
        start = stream.read(MAX_NPY_HEADER)
    text = start[: start.find(b"\n")] if start.startswith(NPY_MAGIC) else b""
    shape = text[text.find(b"'shape'") :].partition(b"(")[2].partition(b")")[0]
    return sum(1 for part in shape.split(b",") if part.strip())


def chosen(dimensions: dict[str, int], dataset: str | None) -> str:
    """The name of the array that is meant.

    Args:
        dimensions: of each array, by its name.
        dataset: the name that was asked for.

    Raises:
        InvalidInput: there is no such array, or several could be meant.
    """
    listed = ", ".join(repr(name[:40]) for name in list(dimensions)[:10]) or "none"
    if dataset is not None:
        if dataset not in dimensions:
            raise InvalidInput(f"dataset: the file has no array of that name; it has {listed}")
        return dataset
    candidates = [name for name, count in dimensions.items() if count == 2] or [
        name for name, count in dimensions.items() if count
    ]
    if len(candidates) != 1:
        raise InvalidInput(f"name the array with `dataset`; the file has {listed}")
    return candidates[0]


# --- HDF5 -------------------------------------------------------------------------------------------------------------


def _from_hdf5(content: bytes, dataset: str | None, max_items: int) -> Num[np.ndarray, "..."]:
    """Read in a child process, since the C library does not promise to survive a hostile file."""
    head = json.dumps({"dataset": dataset, "max_items": max_items}).encode()
    environment = {key: os.environ[key] for key in _KEPT_ENVIRONMENT if key in os.environ}
    environment |= {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "HDF5_USE_FILE_LOCKING": "FALSE"}
    command = [sys.executable, "-m", "app.api.hdf5_array"]
    try:
        done = subprocess.run(  # noqa: S603  our own module; the file goes through standard input
            command, input=head + b"\n" + content, env=environment, capture_output=True, timeout=HDF5_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise InvalidInput(f"the HDF5 file could not be read within {HDF5_TIMEOUT_S} s; send less") from None
    if done.returncode == 0:
        return array_from_npy(done.stdout, max_items)
    if done.returncode == REFUSED:
        said = json.loads(done.stdout)
        raise _ERRORS[said["kind"]](said["message"])
    raise InvalidInput("the HDF5 file is damaged: reading it ended the process that read it")
