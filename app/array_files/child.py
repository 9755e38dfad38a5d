"""HDF5 from strangers is read in a child process: the C library does not promise to survive a hostile file.

The child gets one line of JSON and the file on its standard input, and writes one line of JSON and the arrays to its
standard output. It may write to no file, and its memory and time are limited.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final

import numpy as np

from app import errors
from app.array_files.hdf5 import open_hdf5
from app.errors import AppError, InvalidInput

TIMEOUT_S: Final = 60
MEMORY_BYTES: Final = 2 * 1024**3
_KINDS: Final[dict[str, type[AppError]]] = {
    e.kind: e for e in (errors.InvalidInput, errors.UnsupportedFormat, errors.TooLarge)
}
_KEPT_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP")

Reader = Callable[..., Mapping[str, Any]]
"""Takes an open `h5py.File` and options; gives arrays and values that JSON knows, by name."""


def read_isolated(reader: Reader, content: bytes, **options: Any) -> dict[str, Any]:
    """What a reader finds in a file from a stranger, read by a child process.

    Args:
        reader: a function of a module, which the child imports by its name.
        content: the whole file.
        options: further arguments of the reader; JSON must know them.

    Returns:
        The reader's answer, with arrays as read-only views of what the child sent.

    Raises:
        InvalidInput: the file is damaged, ended the child, or kept it busy too long; and what the reader raises.
        UnsupportedFormat, TooLarge: what the reader raises.
    """
    asked = json.dumps({"reader": f"{reader.__module__}:{reader.__qualname__}", "options": options}).encode()
    environment = {key: os.environ[key] for key in _KEPT_ENVIRONMENT if key in os.environ}
    environment |= {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "HDF5_USE_FILE_LOCKING": "FALSE"}
    environment |= {"OPENBLAS_NUM_THREADS": "1"}  # each thread would take some of the memory that is allowed
    command = [sys.executable, "-m", "app.array_files.child"]
    try:
        done = subprocess.run(  # noqa: S603  our own module; the file goes through standard input
            command, input=asked + b"\n" + content, env=environment, capture_output=True, timeout=TIMEOUT_S, check=True
        )
    except subprocess.TimeoutExpired:
        raise InvalidInput(f"the HDF5 file could not be read within {TIMEOUT_S} s; send less at once") from None
    except subprocess.CalledProcessError:
        raise InvalidInput("the HDF5 file cannot be read: it is damaged, and ended the process that read it") from None
    return _unpacked(done.stdout)


def _unpacked(answer: bytes) -> dict[str, Any]:
    line, _, content = answer.partition(b"\n")
    report: dict[str, Any] = json.loads(line)
    if "error" in report:
        raise _KINDS[report["kind"]](report["error"])
    found, offset = dict(report["values"]), 0
    for name, code, shape in report["arrays"]:
        dtype, items = np.dtype(code), int(np.prod(shape))
        found[name] = np.frombuffer(content, dtype, items, offset).reshape(shape)
        offset += found[name].nbytes
    return found


# --- in the child -----------------------------------------------------------------------------------------------------


def main() -> None:
    """Read a file from standard input."""
    _limit()
    asked = json.loads(sys.stdin.buffer.readline())
    reader: Reader = resolve_name(asked["reader"])
    try:
        with open_hdf5(sys.stdin.buffer.read()) as file:
            found = reader(file, **asked["options"])
    except AppError as error:
        _write({"error": error.message, "kind": error.kind})
        return
    arrays = {name: np.ascontiguousarray(value) for name, value in found.items() if isinstance(value, np.ndarray)}
    values = {name: value for name, value in found.items() if name not in arrays}
    _write({"arrays": [[name, a.dtype.str, a.shape] for name, a in arrays.items()], "values": values})
    for array in arrays.values():
        sys.stdout.buffer.write(array.data.cast("B"))


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
