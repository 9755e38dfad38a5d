"""A stack of detector images as a file holds it, and the limits within which one is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Shaped

from app.array_files.npy import is_real
from app.errors import InvalidInput, TooLarge

MIN_SIDE_PX: Final = 8
"""Images with fewer rows or columns are taken for something else."""


@dataclass(frozen=True)
class FileLimits:
    """What one file may hold; checked before anything of that size is allocated.

    Attributes:
        images: most images that are taken from one file.
        pixels: most pixels of one image (the largest detectors in use have 18 million).
        values: most pixels of all images that are taken.
    """

    images: int = 1000
    pixels: int = 20_000_000
    values: int = 40_000_000


@dataclass(frozen=True)
class FileOptions:
    """What may be said of a file.

    Attributes:
        dataset: the dataset of an HDF5 file, or the array of an `.npz`, that holds the images; found when left out.
        mask_dataset: the one that holds the mask.
        first: number of the first image to take, from 0.
        count: most images to take; all when left out.
    """

    dataset: str | None = None
    mask_dataset: str | None = None
    first: int = 0
    count: int | None = None


DEFAULT_LIMITS: Final = FileLimits()
DEFAULT_OPTIONS: Final = FileOptions()


@dataclass(frozen=True)
class ImageStack:
    """Images of one size, with the numbers and the type of the file.

    Attributes:
        images: values as the file holds them: photons, or the detector's units (ADU).
        mask: True where a pixel measures, for each image or for all; None where the file has no mask.
        source: what was read, in words: `HDF5 dataset /entry_1/data_1/data`.
        first: number of the first image in its file, from 0.
    """

    images: Shaped[np.ndarray, "image row col"]
    mask: Bool[np.ndarray, "*image row col"] | None = None
    source: str = ""
    first: int = 0


_NOT_NUMBERS: Final = {
    "c": "complex numbers; send intensities: the squared magnitude of an amplitude",
    "O": "texts or pickled objects, which are not read; send an array of plain numbers",
    "V": "records; send an array of plain numbers",
}


def check_dtype(dtype: np.dtype[Any], what: str) -> None:
    """Refuse what is no detector image.

    Raises:
        InvalidInput: complex numbers, texts, objects, records.
    """
    if not is_real(dtype):
        held = _NOT_NUMBERS.get(dtype.kind, "values of another type than whole or floating-point numbers")
        raise InvalidInput(f"{what} holds {held}")


def is_image_shape(shape: Sequence[int]) -> bool:
    """Is this the shape of an image or of a stack of images?"""
    return len(shape) in (2, 3) and min(shape[-2:]) >= MIN_SIDE_PX and math.prod(shape) > 0


def check_shape(shape: Sequence[int], what: str, limits: FileLimits) -> None:
    """Refuse what is neither an image nor a stack of them, and an image that is too large.

    Raises:
        InvalidInput: wrong number of axes, an empty stack, or tiny images.
        TooLarge: more pixels in an image than the limit.
    """
    if len(shape) not in (2, 3):
        raise InvalidInput(f"{what} has {len(shape)} axes; expected 2 (row, column) or 3 (image, row, column)")
    if math.prod(shape) == 0:
        raise InvalidInput(f"{what} holds no image")
    if min(shape[-2:]) < MIN_SIDE_PX:
        raise InvalidInput(
            f"{what} has images of {shape[-2]} x {shape[-1]} pixels; expected at least {MIN_SIDE_PX} x {MIN_SIDE_PX}"
        )
    if shape[-2] * shape[-1] > limits.pixels:
        raise TooLarge(f"{what} has images of {shape[-2]} x {shape[-1]} pixels; at most {limits.pixels} are read")


def taken(total: int, pixels: int, options: FileOptions, limits: FileLimits) -> slice:
    """The images to take of `total` with `pixels` pixels each.

    Raises:
        InvalidInput: the first one asked for is not there.
        TooLarge: more than the limits, and no smaller `count` was asked for.
    """
    if not 0 <= options.first < total:
        raise InvalidInput(f"the file holds images 0 to {total - 1}; the first one asked for is {options.first}")
    left = total - options.first
    count = left if options.count is None else min(options.count, left)
    if count < 1:
        raise InvalidInput(f"{options.count} images were asked for; expected at least 1")
    if count > limits.images or count * pixels > limits.values:
        most = max(1, min(limits.images, limits.values // pixels))
        raise TooLarge(f"{count} images of {pixels} pixels; at most {most} are read at once: take them in parts")
    return slice(options.first, options.first + count)


def mask_part(mask: Sequence[int], images: Sequence[int], chosen: slice) -> slice | int | EllipsisType:
    """Index of the masks that belong to the chosen images: of one for all, or of one for each.

    Args:
        mask: shape of the mask.
        images: shape of the images in the file.
        chosen: images that are taken.

    Raises:
        InvalidInput: other rows or columns, or another number of masks than of images.
    """
    if len(mask) not in (2, 3) or tuple(mask[-2:]) != tuple(images[-2:]):
        raise InvalidInput(
            f"the mask has {' x '.join(map(str, mask))} pixels, the images have {images[-2]} x {images[-1]}: they must "
            "have the same rows and columns"
        )
    total = images[0] if len(images) == 3 else 1
    if len(mask) == 2:
        return ...
    if mask[0] == 1:
        return 0
    if mask[0] == total:
        return chosen
    raise InvalidInput(f"there are {mask[0]} masks for {total} images")


def as_stack(values: np.ndarray) -> Shaped[np.ndarray, "image row col"]:
    """One image becomes a stack of one, and bytes the order of this machine."""
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return native[None] if native.ndim == 2 else native
