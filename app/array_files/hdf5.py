"""HDF5 without leaving the file: links are followed step by step, and storage and filters are looked at first.

The C library does not promise to survive a hostile file: files from strangers are read through
`app.array_files.child`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from app.array_files.listing import listed, quoted
from app.errors import AppError, InvalidInput, TooLarge, UnsupportedFormat

MAGIC: Final = b"\x89HDF\r\n\x1a\n"
FILTERS: Final = {
    1: "Deflate",
    2: "shuffle",
    3: "Fletcher32",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "bitshuffle",
    32015: "Zstandard",
    32026: "Blosc2",
}
"""Compressions that are read, by their registered number."""
MAX_OBJECTS: Final = 5000
MAX_DEPTH: Final = 24
MAX_HOPS: Final = 8
MAX_CHUNK_BYTES: Final = 256 * 1024 * 1024


@contextmanager
def open_hdf5(source: bytes | Path) -> Iterator[Any]:
    """Open a file, or the content of one, as a read-only `h5py.File`.

    Raises:
        InvalidInput: the library fails, now or while the file is read; errors of ours pass through.
    """
    import h5py
    import hdf5plugin  # noqa: F401  registers its filters

    try:
        with h5py.File(h5py.h5f.open_file_image(source) if isinstance(source, bytes) else source, "r") as file:
            yield file
    except AppError:
        raise
    except Exception as error:  # a hostile file can make the library fail in any way
        raise InvalidInput(f"the HDF5 file cannot be read ({type(error).__name__}): it is damaged or cut off") from None


# --- what there is ----------------------------------------------------------------------------------------------------


def datasets(file: Any) -> Iterator[tuple[str, Any]]:
    """Paths and datasets of a file; hard links only, each object once.

    Raises:
        TooLarge: a group with more than `MAX_OBJECTS` members.
    """
    import h5py

    seen: set[int] = set()
    waiting: list[tuple[str, Any, int]] = [("", file, 0)]
    while waiting:
        path, group, depth = waiting.pop()
        for name in _names(group):
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr  # pyright: ignore[reportAttributeAccessIssue]  # h5py has no types
            if address in seen or len(seen) >= MAX_OBJECTS:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group) and depth < MAX_DEPTH:
                waiting.append((f"{path}/{name}", item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                yield f"{path}/{name}", item


def _names(group: Any) -> list[str]:
    if group.id.get_num_objs() > MAX_OBJECTS:
        raise TooLarge(f"a group of the HDF5 file has more than {MAX_OBJECTS} members; name the dataset with `dataset`")
    return list(group)


# --- one dataset ------------------------------------------------------------------------------------------------------


def dataset_at(file: Any, path: str) -> Any:
    """The dataset at a path, found without a step out of the file.

    Raises:
        InvalidInput: there is none, or it has no values, or it lies in another file.
    """
    import h5py

    found = find(file, path)
    if not isinstance(found, h5py.Dataset):
        raise InvalidInput(
            f"the HDF5 file has no dataset {quoted(path)}; it has {listed(name for name, _ in datasets(file))}"
        )
    if found.shape is None:
        raise InvalidInput(f"the dataset {quoted(path)} is empty")
    return found


def find(file: Any, path: str) -> Any | None:
    """The object at a path, or None; hard and soft links are followed within the file.

    Raises:
        InvalidInput: a link leads to another file, or links lead in a circle.
    """
    return _resolved(file, path, 0)


def _resolved(file: Any, path: str, hops: int) -> Any | None:
    import h5py

    here: Any = file
    steps = [step for step in path.split("/") if step not in ("", ".")]
    for number, step in enumerate(steps):
        link = here.get(step, getlink=True) if isinstance(here, h5py.Group) and step != ".." else None
        if link is None:
            return None
        if isinstance(link, h5py.SoftLink):
            if hops >= MAX_HOPS:
                raise InvalidInput("the links of the HDF5 file lead in a circle")
            before = "" if link.path.startswith("/") else "/".join(steps[:number])
            return _resolved(file, "/".join([before, link.path, *steps[number + 1 :]]), hops + 1)
        if not isinstance(link, h5py.HardLink):
            raise _other_file(quoted(path))
        here = here[step]
    return here


def _other_file(what: str) -> InvalidInput:
    return InvalidInput(
        f"{what} lies in another file, which a link names; send the file that holds the data (a detector's master "
        "file only points to it)"
    )


def check_storage(dataset: Any, what: str) -> None:
    """Refuse data that lie in other files, and compressions that are not known; before any of it is read.

    Args:
        what: the dataset in words, for the error.

    Raises:
        InvalidInput: virtual datasets and external storage.
        TooLarge: a chunk that is unpacked whole is larger than `MAX_CHUNK_BYTES`.
        UnsupportedFormat: a compression that is not in `FILTERS`.
    """
    import h5py

    if dataset.is_virtual or dataset.external:
        raise _other_file(what)
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
        raise TooLarge(f"{what} has chunks of more than {MAX_CHUNK_BYTES} bytes; write it with smaller ones")
    settings = dataset.id.get_create_plist()
    for code in (settings.get_filter(i)[0] for i in range(settings.get_nfilters())):
        if code not in FILTERS or not h5py.h5z.filter_avail(code):
            known = ", ".join(FILTERS.values())
            raise UnsupportedFormat(f"{what} is compressed with the HDF5 filter {code}; read are: {known}")
