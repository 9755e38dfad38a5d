"""Detector images from the bytes of a file: `.npy`, `.npz`, TIFF, PNG, HDF5, CXI; its first bytes tell which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Bool

from app.aggregates import hdf5_files, numpy_files, raster_files
from app.aggregates.stack import DEFAULT_LIMITS, DEFAULT_OPTIONS, FileLimits, FileOptions, ImageStack
from app.array_files import hdf5, npy, npz
from app.errors import InvalidInput, UnsupportedFormat

Kind = Literal["npy", "npz", "tiff", "png", "hdf5"]
Reader = Callable[[bytes, FileOptions, FileLimits], ImageStack]

MAGICS: Final[dict[Kind, tuple[bytes, ...]]] = {
    "npy": (npy.MAGIC,),
    "npz": npz.MAGICS,
    "tiff": raster_files.TIFF_MAGICS,
    "png": (raster_files.PNG_MAGIC,),
    "hdf5": (hdf5.MAGIC,),
}
READERS: Final[dict[Kind, Reader]] = {
    "npy": numpy_files.read_npy,
    "npz": numpy_files.read_npz,
    "tiff": raster_files.read_tiff,
    "png": raster_files.read_png,
    "hdf5": hdf5_files.read_hdf5,
}


def kind_of(content: bytes) -> Kind:
    """What a file is, by its first bytes.

    Raises:
        InvalidInput: it is empty.
        UnsupportedFormat: none of ours.
    """
    if not content:
        raise InvalidInput("the file is empty")
    for kind, magics in MAGICS.items():
        if content.startswith(magics):
            return kind
    raise UnsupportedFormat("the file is none of .npy, .npz, TIFF, PNG, HDF5 or CXI, by its first bytes")


def read_images(
    content: bytes, options: FileOptions = DEFAULT_OPTIONS, limits: FileLimits = DEFAULT_LIMITS
) -> ImageStack:
    """Read the images of a file, from its bytes. Safe with files from strangers.

    HDF5 is read in a child process, whose start takes most of a second on a busy machine.

    Args:
        content: the whole file.
        options: which dataset, which images.
        limits: what is refused before it is allocated.

    Returns:
        Images (image, row, column) with the file's own numbers, and its mask (True: measures) if it has one.

    Raises:
        InvalidInput: damaged, in colour, of another shape or type, or it leaves open which dataset is meant.
        UnsupportedFormat: a format or compression that is not read.
        TooLarge: beyond the limits.
    """
    return READERS[kind_of(content)](content, options, limits)


def read_path(path: Path, options: FileOptions = DEFAULT_OPTIONS, limits: FileLimits = DEFAULT_LIMITS) -> ImageStack:
    """Read the images of a file of one's own: HDF5 is read in this process, and only the images that are taken.

    Raises:
        InvalidInput, UnsupportedFormat, TooLarge: as `read_images`.
    """
    with path.open("rb") as stream:
        kind = kind_of(stream.read(16))
    if kind == "hdf5":
        return hdf5_files.read_hdf5_path(path, options, limits)
    return read_images(path.read_bytes(), options, limits)


def read_mask(
    content: bytes, options: FileOptions = DEFAULT_OPTIONS, limits: FileLimits = DEFAULT_LIMITS
) -> Bool[np.ndarray, "image row col"]:
    """Read a file that holds a mask: anything but 0 marks a pixel that does not count.

    Returns:
        True where a pixel measures: one mask, or one for each image.

    Raises:
        InvalidInput, UnsupportedFormat, TooLarge: as `read_images`.
    """
    return read_images(content, options, limits).images == 0
