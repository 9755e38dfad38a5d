"""Images from `.npy` and `.npz`: which array holds them, and which one is the mask."""

from __future__ import annotations

import math
from typing import Final

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
from app.array_files.listing import listed, quoted
from app.array_files.npy import NpyHeader, is_real, npy_header
from app.array_files.npz import Npz, open_npz
from app.errors import InvalidInput

PREFERRED: Final = ("data", "patterns", "images", "counts")
"""Arrays of an `.npz` that are taken for the images where several could be."""
MASK: Final = "mask"


def read_npy(content: bytes, options: FileOptions, limits: FileLimits) -> ImageStack:
    """Images of an `.npy`: one (row, column), or a stack (image, row, column).

    Raises:
        InvalidInput, UnsupportedFormat, TooLarge: see `npy_header`, `check_dtype`, `check_shape`, `taken`.
    """
    header = npy_header(content)
    chosen = _checked(header, "the .npy", options, limits)
    return ImageStack(as_stack(_with_axis(header.values(content))[chosen]), None, "npy", chosen.start)


def _checked(header: NpyHeader, what: str, options: FileOptions, limits: FileLimits) -> slice:
    check_dtype(header.dtype, what)
    check_shape(header.shape, what, limits)
    total = header.shape[0] if len(header.shape) == 3 else 1
    return taken(total, math.prod(header.shape[-2:]), options, limits)


def _with_axis(values: np.ndarray) -> np.ndarray:
    return values[None] if values.ndim == 2 else values


# --- npz --------------------------------------------------------------------------------------------------------------


def read_npz(content: bytes, options: FileOptions, limits: FileLimits) -> ImageStack:
    """Images of an `.npz`: the array that `options.dataset` names, else one of `PREFERRED`, else the only suitable one.

    An array called `mask`, or named by `options.mask_dataset`, marks with anything but 0 the pixels that do not count.

    Raises:
        InvalidInput: a damaged zip, no such array, or several that could be meant.
        TooLarge: beyond the limits.
    """
    with open_npz(content) as file:
        name = options.dataset or _found(file)
        header = file.header(name)
        chosen = _checked(header, f"the array {quoted(name)}", options, limits)
        images = _with_axis(file.values(name, limits.values))[chosen]
        mask = _mask(file, header.shape, chosen, options, limits)
        return ImageStack(as_stack(images), mask, f"npz array {name[:80]}", chosen.start)


def _found(file: Npz) -> str:
    suitable = [n for n, h in file.headers.items() if is_image_shape(h.shape) and is_real(h.dtype) and n != MASK]
    preferred = [name for name in PREFERRED if name in suitable] or suitable
    if not preferred or (len(preferred) > 1 and preferred is suitable):
        raise InvalidInput(f"name the array that holds the images with `dataset`; those that could: {listed(suitable)}")
    return preferred[0]


def _mask(
    file: Npz, shape: tuple[int, ...], chosen: slice, options: FileOptions, limits: FileLimits
) -> np.ndarray | None:
    name = options.mask_dataset or MASK
    if options.mask_dataset is None and MASK not in file.headers:
        return None
    header = file.header(name)
    check_dtype(header.dtype, "the mask")
    part = mask_part(header.shape, shape, chosen)
    return file.values(name, limits.values)[part] == 0
