"""One file of a set of patterns: how many images it holds, and some of them, read where they lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from jaxtyping import Int

from app.aggregates.files import Kind, kind_of, read_path
from app.aggregates.stack import FileLimits, FileOptions, ImageStack, as_stack
from app.errors import InvalidInput

LIMITS: Final = FileLimits(images=10**8, pixels=10**8, values=10**12)
"""Files of one's own are as large as they are."""
HELD: Final = 8
"""TIFF and `.npz` files that are kept in memory: these are read as a whole."""


@dataclass(frozen=True)
class Part:
    """One file of a set.

    Attributes:
        path: the file.
        options: which dataset holds the images.
        number: particles on each image; empty as long as nothing tells.
        truth: what else the file tells of each image.
    """

    path: Path
    options: FileOptions = field(default_factory=FileOptions)
    number: Int[np.ndarray, " image"] = field(default_factory=lambda: np.zeros(0, int))
    truth: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.count

    @cached_property
    def kind(self) -> Kind:
        """What the file is, by its first bytes."""
        with self.path.open("rb") as stream:
            return kind_of(stream.read(16))

    @cached_property
    def count(self) -> int:
        """Images in the file, without reading them where the format allows it."""
        return COUNTS.get(self.kind, _count_whole)(self)

    def images(self, rows: slice) -> ImageStack:
        """Images `rows` of the file. HDF5 and `.npy` are read only where asked, others as a whole.

        Raises:
            InvalidInput, UnsupportedFormat: as `app.aggregates.files.read_path`.
        """
        if self.kind == "hdf5":
            return read_path(self.path, replace(self.options, first=rows.start, count=rows.stop - rows.start), LIMITS)
        if self.kind == "npy":
            return ImageStack(_mapped(self.path)[rows], None, "npy")
        stack = _whole(self.path, self.options, self.path.stat().st_mtime_ns)
        mask = stack.mask
        if mask is not None and mask.shape == stack.images.shape:
            mask = mask[rows]
        return replace(stack, images=stack.images[rows], mask=mask)


def _mapped(path: Path) -> np.ndarray:
    """The array of an `.npy`, on the disk until it is looked at."""
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if values.ndim not in (2, 3):
        raise InvalidInput(f"{path.name} has {values.ndim} axes; expected 2 (row, column) or 3 (image, row, column)")
    return as_stack(values)


@lru_cache(maxsize=HELD)
def _whole(path: Path, options: FileOptions, _changed_ns: int) -> ImageStack:
    return read_path(path, options, LIMITS)


def _count_whole(part: Part) -> int:
    return len(_whole(part.path, part.options, part.path.stat().st_mtime_ns).images)


def _count_hdf5(part: Part) -> int:
    import h5py

    dataset = part.options.dataset
    if dataset is None:
        dataset = read_path(part.path, replace(part.options, count=1), LIMITS).source.removeprefix("HDF5 dataset ")
    with h5py.File(part.path, "r") as file:
        found: Any = file[dataset]
        shape = found.shape
    return shape[0] if len(shape) == 3 else 1


def _count_npy(part: Part) -> int:
    return len(_mapped(part.path))


def _count_png(_part: Part) -> int:
    return 1


def _count_tiff(part: Part) -> int:
    import tifffile

    with tifffile.TiffFile(part.path) as tiff:
        return len(tiff.pages)


COUNTS: Final = MappingProxyType[Kind, Callable[[Part], int]](
    {"hdf5": _count_hdf5, "npy": _count_npy, "png": _count_png, "tiff": _count_tiff}
)
