"""Images from HDF5: CXI, NeXus, or any file with one stack of images.

CXI: F. R. N. C. Maia, Nature Methods 9, 854 (2012); bits of its masks as in version 1.6 of the format.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
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
    mask_part,
    taken,
)
from app.array_files.child import read_isolated
from app.array_files.hdf5 import check_storage, dataset_at, datasets, find, open_hdf5
from app.array_files.listing import listed, quoted
from app.array_files.npy import is_real
from app.errors import InvalidInput

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


def read_hdf5(content: bytes, options: FileOptions, limits: FileLimits) -> ImageStack:
    """Images and mask of a file from a stranger, read in a child process.

    Raises:
        InvalidInput, UnsupportedFormat, TooLarge: as `read_open` and `read_isolated`.
    """
    return ImageStack(**read_isolated(_in_child, content, options=asdict(options), limits=asdict(limits)))


def _in_child(file: Any, options: dict[str, Any], limits: dict[str, Any]) -> dict[str, Any]:
    return vars(read_open(file, FileOptions(**options), FileLimits(**limits)))


def read_hdf5_path(path: Path, options: FileOptions, limits: FileLimits) -> ImageStack:
    """The same for a file of one's own, in this process; only the images that are taken are read.

    Raises:
        InvalidInput, UnsupportedFormat, TooLarge: as `read_open`.
    """
    with open_hdf5(path) as file:
        return read_open(file, options, limits)


def read_open(file: Any, options: FileOptions, limits: FileLimits) -> ImageStack:
    """Images and mask of an open `h5py.File`.

    The images are the dataset that `options.dataset` names, else one of `IMAGES`, else the only dataset with the type
    and shape of images. Masks are looked for in `MASKS`; anything but 0 (and `USABLE_BITS`) marks a pixel that does
    not count.

    Raises:
        InvalidInput: no such dataset or several; data in another file; numbers of another type.
        UnsupportedFormat: a compression that is not read.
        TooLarge: beyond the limits.
    """
    path = options.dataset or _found(file)
    what = f"the dataset {quoted(path)}"
    dataset = _checked(file, path, what, limits)
    total = dataset.shape[0] if len(dataset.shape) == 3 else 1
    chosen = taken(total, math.prod(dataset.shape[-2:]), options, limits)
    images = np.asarray(dataset[chosen] if len(dataset.shape) == 3 else dataset[()])
    mask = _mask(file, dataset.shape, chosen, options, limits)
    return ImageStack(as_stack(images), mask, f"HDF5 dataset {path[:120]}", chosen.start)


def _checked(file: Any, path: str, what: str, limits: FileLimits) -> Any:
    dataset = dataset_at(file, path)
    check_dtype(dataset.dtype, what)
    check_shape(dataset.shape, what, limits)
    check_storage(dataset, what)
    return dataset


def _found(file: Any) -> str:
    for path in IMAGES:
        if find(file, path) is not None:
            return path
    candidates = [path for path, dataset in datasets(file) if _is_candidate(path, dataset)]
    if len(candidates) == 1:
        return candidates[0]
    raise InvalidInput(f"name the dataset that holds the images with `dataset`; those that could: {listed(candidates)}")


def _is_candidate(path: str, dataset: Any) -> bool:
    shape = dataset.shape
    return bool(shape) and is_image_shape(shape) and is_real(dataset.dtype) and not path.endswith("mask")


def _mask(
    file: Any, shape: tuple[int, ...], chosen: slice, options: FileOptions, limits: FileLimits
) -> np.ndarray | None:
    path = options.mask_dataset or next((p for p in MASKS if _fits(file, p, shape)), None)
    if path is None:
        return None
    dataset = _checked(file, path, "the mask", limits)
    values = np.asarray(dataset[mask_part(dataset.shape, shape, chosen)])
    if values.dtype.kind in "ui" and path.startswith("/entry_1/"):
        values = values & values.dtype.type(~USABLE_BITS & np.iinfo(values.dtype).max)
    return values == 0


def _fits(file: Any, path: str, shape: tuple[int, ...]) -> bool:
    return find(file, path) is not None and dataset_at(file, path).shape[-2:] == shape[-2:]
