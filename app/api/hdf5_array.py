"""Child process that reads one array of an HDF5 file: options and file on standard input, a `.npy` on standard output.

Links that lead to other files are not followed, and nothing is allocated before its size was checked.
"""

from __future__ import annotations

import io
import json
import math
import sys
from typing import Any, Final

import numpy as np

from app.errors import AppError, InvalidInput, TooLarge, UnsupportedFormat

MAGIC: Final = b"\x89HDF\r\n\x1a\n"
REFUSED: Final = 3
"""Exit status where the file was refused; standard output then holds kind and message as JSON."""
MAX_NODES: Final = 1000
MEMORY_BYTES: Final = 4 * 1024**3


def read(content: bytes, dataset: str | None, max_items: int) -> np.ndarray:
    """One array of the file.

    Raises:
        InvalidInput, UnsupportedFormat, TooLarge: as `app.api.array_files.array_from_file`.
    """
    import h5py

    from app.api.array_files import chosen

    with h5py.File(io.BytesIO(content), "r") as file:
        datasets = _datasets(file, h5py)
        known = {name: len(one.shape or ()) if one.dtype.kind in "biuf" else 0 for name, one in datasets.items()}
        name = chosen(known, dataset.strip("/") if dataset else None)
        found = datasets[name]
        if found.dtype.kind not in "biuf" or found.dtype.itemsize > 8 or not found.shape:
            raise UnsupportedFormat("the dataset holds something other than an array of real numbers")
        items = math.prod(found.shape)
        if items > max_items:
            raise TooLarge(f"the dataset has {items} numbers, at most {max_items} are taken: split the file")
        if found.external or found.is_virtual:
            raise InvalidInput("the dataset's numbers are in another file; send a file that holds them itself")
        return found[()]


def _datasets(file: Any, h5py: Any) -> dict[str, Any]:
    """Datasets by their paths; soft and external links are left out, and so is what is met twice."""
    found: dict[str, Any] = {}
    waiting = [("", file)]
    seen = 0
    while waiting and seen < MAX_NODES:
        path, group = waiting.pop()
        for name in group:
            seen += 1
            if seen > MAX_NODES:
                raise TooLarge(f"the HDF5 file has more than {MAX_NODES} groups and datasets")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            node = group[name]
            if isinstance(node, h5py.Group):
                waiting.append((f"{path}{name}/", node))
            elif isinstance(node, h5py.Dataset):
                found[f"{path}{name}"] = node
    return found


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on this system
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def main() -> int:
    """Read standard input, write standard output."""
    _limit_memory()
    head, _, content = sys.stdin.buffer.read().partition(b"\n")
    options = json.loads(head)
    try:
        array = read(content, options["dataset"], options["max_items"])
    except (AppError, OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError) as error:
        known = error if isinstance(error, AppError) else InvalidInput("the HDF5 file is damaged or cut off")
        sys.stdout.write(json.dumps({"kind": known.kind, "message": known.message}))
        return REFUSED
    content = io.BytesIO()  # NumPy writes to real files and to memory, not to a pipe
    np.save(content, array, allow_pickle=False)
    sys.stdout.buffer.write(content.getbuffer())
    return 0


if __name__ == "__main__":
    sys.exit(main())
