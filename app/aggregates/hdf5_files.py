"""Images from HDF5: CXI, NeXus, or any file with one stack of images. Nothing outside the file is ever opened.

CXI: F. R. N. C. Maia, Nature Methods 9, 854 (2012); bits of its masks as in version 1.6 of the format.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from app.aggregates.stack import (
    FileLimits,
    FileOptions,
    ImageStack,
    as_stack,
    check_dtype,
    check_shape,
    is_image_shape,
    is_plain,
    taken,
)
from app.errors import AppError, InvalidInput, TooLarge, UnsupportedFormat

MAGIC: Final = b"\x89HDF\r\n\x1a\n"
IMAGES: Final = ("/entry_1/data_1/data", "/entry_1/image_1/data", "/entry/data/data")
"""Where CXI and NeXus keep images."""
MASKS: Final = (
    "/entry_1/instrument_1/detector_1/mask",
    "/entry_1/data_1/mask",
    "/entry_1/image_1/mask",
    "/entry/instrument/detector/pixel_mask",
)
USABLE_BITS: Final = 0x20 | 0x800 | 0x2000 | 0x4000
"""Bits of a CXI mask that leave a pixel usable: within a peak (twice), corrected, background subtracted."""
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


def read_open(file: Any, options: FileOptions, limits: FileLimits) -> ImageStack:
    """Images and mask of an open `h5py.File`.

    The images are the dataset that `options.dataset` names, else one of `IMAGES`, else the only dataset with the type
    and shape of images. Masks are looked for in `MASKS`; anything but 0 (and `USABLE_BITS`) marks a pixel that does
    not count.

    Raises:
        InvalidInput: no such dataset or several; a link to another file; numbers of another type.
        UnsupportedFormat: a compression that is not in `FILTERS`.
        TooLarge: beyond the limits.
    """
    path = options.dataset or _found(file)
    dataset = _dataset(file, path)
    what = f"the dataset {path[:120]}"
    check_dtype(dataset.dtype, what)
    check_shape(dataset.shape, what, limits)
    _check_storage(dataset, what)
    total = dataset.shape[0] if len(dataset.shape) == 3 else 1
    chosen = taken(total, math.prod(dataset.shape[-2:]), options, limits)
    images = np.asarray(dataset[chosen] if len(dataset.shape) == 3 else dataset[()])
    mask = _mask(file, dataset.shape, chosen, options, limits)
    return ImageStack(as_stack(images), mask, f"HDF5 dataset {path[:120]}", chosen.start)


def _found(file: Any) -> str:
    for path in IMAGES:
        if _exists(file, path):
            return path
    candidates = list(_candidates(file))
    if len(candidates) == 1:
        return candidates[0]
    listed = ", ".join(path[:120] for path in candidates[:10]) or "none"
    raise InvalidInput(f"name the dataset that holds the images with `dataset`; those that could: {listed}")


def _candidates(file: Any) -> Iterator[str]:
    """Every dataset with the type and shape of images; hard links only, each object once."""
    import h5py
    from h5py import h5o

    seen: set[int] = set()
    waiting: list[tuple[str, Any, int]] = [("", file, 0)]
    while waiting:
        path, group, depth = waiting.pop()
        for name in _names(group):
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            item = group[name]
            address = h5o.get_info(item.id).addr
            if address in seen or len(seen) >= MAX_OBJECTS:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group) and depth < MAX_DEPTH:
                waiting.append((f"{path}/{name}", item, depth + 1))
            elif isinstance(item, h5py.Dataset) and _is_candidate(f"{path}/{name}", item):
                yield f"{path}/{name}"


def _names(group: Any) -> list[str]:
    if group.id.get_num_objs() > MAX_OBJECTS:
        raise TooLarge(f"a group of the HDF5 file has more than {MAX_OBJECTS} members; name the dataset with `dataset`")
    return list(group)


def _is_candidate(path: str, dataset: Any) -> bool:
    shape = dataset.shape
    return bool(shape) and is_image_shape(shape) and is_plain(dataset.dtype) and not path.endswith("mask")


# --- links ------------------------------------------------------------------------------------------------------------


def _exists(file: Any, path: str) -> bool:
    try:
        return _resolved(file, path) is not None
    except InvalidInput as error:
        if "other_file" in error.details:
            raise
        return False


def _dataset(file: Any, path: str) -> Any:
    import h5py

    found = _resolved(file, path)
    if not isinstance(found, h5py.Dataset):
        raise InvalidInput(f"{path[:120]} is not a dataset of the HDF5 file; list them with `h5ls -r FILE`")
    if found.shape is None:
        raise InvalidInput(f"the dataset {path[:120]} is empty")
    return found


def _resolved(file: Any, path: str, hops: int = 0) -> Any:
    """Go to a path step by step, so that no step leaves the file."""
    import h5py

    here: Any = file
    steps = [step for step in path.split("/") if step not in ("", ".")]
    for number, step in enumerate(steps):
        link = here.get(step, getlink=True) if isinstance(here, h5py.Group) and step != ".." else None
        if link is None:
            raise InvalidInput(f"the HDF5 file has no {path[:120]}; list what it has with `h5ls -r FILE`")
        if isinstance(link, h5py.SoftLink):
            if hops >= MAX_HOPS:
                raise InvalidInput("the links of the HDF5 file lead in a circle")
            before = "" if link.path.startswith("/") else "/".join(steps[:number])
            return _resolved(file, "/".join([before, link.path, *steps[number + 1 :]]), hops + 1)
        if not isinstance(link, h5py.HardLink):
            raise _other_file(path)
        here = here[step]
    return here


def _other_file(path: str) -> InvalidInput:
    return InvalidInput(
        f"{path[:120]} lies in another file, which a link names; send the file that holds the data (a detector's "
        "master file only points to it)",
        details={"other_file": True},
    )


def _check_storage(dataset: Any, what: str) -> None:
    """Refuse data that lies in other files, and compressions that are not known."""
    import h5py

    if dataset.is_virtual or dataset.external:
        raise _other_file(what)
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
        raise TooLarge(f"{what} has chunks of more than {MAX_CHUNK_BYTES} bytes; write it with one image a chunk")
    settings = dataset.id.get_create_plist()
    for code in (settings.get_filter(i)[0] for i in range(settings.get_nfilters())):
        if code not in FILTERS or not h5py.h5z.filter_avail(code):
            known = ", ".join(FILTERS.values())
            raise UnsupportedFormat(f"{what} is compressed with the HDF5 filter {code}; read are: {known}")


# --- mask -------------------------------------------------------------------------------------------------------------


def _mask(
    file: Any, shape: tuple[int, ...], chosen: slice, options: FileOptions, limits: FileLimits
) -> np.ndarray | None:
    path = options.mask_dataset or next((p for p in MASKS if _fits(file, p, shape)), None)
    if path is None:
        return None
    dataset = _dataset(file, path)
    check_dtype(dataset.dtype, "the mask")
    check_shape(dataset.shape, "the mask", limits)
    _check_storage(dataset, "the mask")
    if dataset.shape[-2:] != shape[-2:]:
        raise InvalidInput(
            f"the mask has {dataset.shape[-2]} x {dataset.shape[-1]} pixels, the images have {shape[-2]} x {shape[-1]}"
        )
    values = np.asarray(_mask_values(dataset, shape, chosen))
    if values.dtype.kind in "ui" and path.startswith("/entry_1/"):
        values = values & values.dtype.type(~USABLE_BITS & np.iinfo(values.dtype).max)
    return values == 0


def _fits(file: Any, path: str, shape: tuple[int, ...]) -> bool:
    return _exists(file, path) and _dataset(file, path).shape[-2:] == shape[-2:]


def _mask_values(dataset: Any, shape: tuple[int, ...], chosen: slice) -> Any:
    if len(dataset.shape) == 2:
        return dataset[()]
    if dataset.shape[0] == 1:
        return dataset[0]
    if len(shape) == 3 and dataset.shape[0] == shape[0]:
        return dataset[chosen]
    raise InvalidInput(f"there are {dataset.shape[0]} masks for {shape[0] if len(shape) == 3 else 1} images")


def failed(error: Exception) -> AppError:
    """The error for whatever else went wrong inside of the HDF5 library."""
    if isinstance(error, AppError):
        return error
    return InvalidInput(f"the HDF5 file cannot be read ({type(error).__name__}): it is damaged or cut off")
