"""HDF5 from strangers is read in a child process: the C library does not promise to survive a hostile file.

The child gets the options and the file on its standard input and writes one line of JSON, then the arrays, to its
standard output. It may open no file for writing, and its memory and time are limited.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from app import errors
from app.aggregates.hdf5_files import failed, read_open
from app.aggregates.stack import FileLimits, FileOptions, ImageStack
from app.errors import AppError, InvalidInput

TIMEOUT_S: Final = 60
MEMORY_BYTES: Final = 4 * 1024**3
_KINDS: Final[dict[str, type[AppError]]] = {
    e.kind: e for e in (errors.InvalidInput, errors.UnsupportedFormat, errors.TooLarge)
}
_KEPT_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP")


def read_isolated(content: bytes, options: FileOptions, limits: FileLimits) -> ImageStack:
    """Images and mask of an HDF5 file, read by a child process.

    Raises:
        InvalidInput: as `read_open`; the file ended the child or kept it busy too long.
        UnsupportedFormat, TooLarge: as `read_open`.
    """
    header = json.dumps({"options": asdict(options), "limits": asdict(limits)}).encode()
    environment = {key: os.environ[key] for key in _KEPT_ENVIRONMENT if key in os.environ}
    environment |= {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "HDF5_USE_FILE_LOCKING": "FALSE"}
    command = [sys.executable, "-m", "app.aggregates.hdf5_child"]
    try:
        done = subprocess.run(  # noqa: S603  our own module; the file goes through standard input
            command, input=header + b"\n" + content, env=environment, capture_output=True, timeout=TIMEOUT_S, check=True
        )
    except subprocess.TimeoutExpired:
        raise InvalidInput(f"the HDF5 file could not be read within {TIMEOUT_S} s; send fewer images") from None
    except subprocess.CalledProcessError:
        raise InvalidInput("the HDF5 file cannot be read: it is damaged, and ended the process that read it") from None
    return _unpacked(done.stdout)


def _unpacked(answer: bytes) -> ImageStack:
    line, _, content = answer.partition(b"\n")
    report: dict[str, Any] = json.loads(line)
    if "error" in report:
        raise _KINDS[report["kind"]](report["error"])
    images = _array(content, report["images"], 0)
    mask = _array(content, report["mask"], images.nbytes) if report["mask"] else None
    return ImageStack(images, mask, report["source"], report["first"])


def _array(content: bytes, description: list[Any], offset: int) -> np.ndarray:
    dtype, shape = np.dtype(description[0]), tuple(description[1])
    return np.frombuffer(content, dtype, int(np.prod(shape)), offset).reshape(shape)


# --- in the child -----------------------------------------------------------------------------------------------------


def main() -> None:
    """Read a file from standard input."""
    _limit()
    asked = json.loads(sys.stdin.buffer.readline())
    try:
        stack = _read(sys.stdin.buffer.read(), FileOptions(**asked["options"]), FileLimits(**asked["limits"]))
    except Exception as error:  # whatever it is, the parent must hear of it in words
        told = failed(error)
        _write({"error": told.message, "kind": told.kind})
        return
    arrays = [np.ascontiguousarray(a) for a in (stack.images, stack.mask) if a is not None]
    described = [[array.dtype.str, array.shape] for array in arrays]
    _write({"images": described[0], "mask": (described[1:] or [None])[0], "source": stack.source, "first": stack.first})
    for array in arrays:
        sys.stdout.buffer.write(array.data.cast("B"))


def _read(content: bytes, options: FileOptions, limits: FileLimits) -> ImageStack:
    import h5py
    import hdf5plugin  # noqa: F401  registers its filters

    with h5py.File(h5py.h5f.open_file_image(content)) as file:
        return read_open(file, options, limits)


def _limit() -> None:
    try:
        import resource
    except ImportError:  # not on this system
        return
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, TIMEOUT_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _write(report: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(report).encode() + b"\n")


if __name__ == "__main__":
    main()
