"""The array of waveforms in a `.npy`, `.npz` or HDF5 file, told apart by its first bytes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from jaxtyping import Num

from app.array_files import hdf5, npy, npz
from app.array_files.child import read_isolated
from app.array_files.listing import listed, quoted
from app.errors import InvalidInput, UnsupportedFormat

WAVEFORM_DIMENSIONS: Final = 2


def array_from_file(content: bytes, dataset: str | None, max_items: int) -> Num[np.ndarray, "..."]:
    """Read the array of a file. Safe with files from strangers.

    Args:
        content: the whole file.
        dataset: which array of an `.npz` or HDF5 file; None: the only one, or the only one of two dimensions.
        max_items: most numbers.

    Raises:
        UnsupportedFormat: the file is of another kind, or the array holds no numbers.
        InvalidInput: the file is damaged; no such array, or several that could be meant.
        TooLarge: more numbers than ``max_items``.
    """
    if content.startswith(npy.MAGIC):
        return npy.array_from_npy(content, max_items)
    if content.startswith(npz.MAGICS):
        return _from_npz(content, dataset, max_items)
    if content.startswith(hdf5.MAGIC):
        return read_isolated(_from_hdf5, content, dataset=dataset, max_items=max_items)["array"]
    if not content:
        raise InvalidInput("the file is empty")
    raise UnsupportedFormat("the file is none of .npy, .npz and HDF5, by its first bytes")


def _from_npz(content: bytes, dataset: str | None, max_items: int) -> Num[np.ndarray, "..."]:
    with npz.open_npz(content) as file:
        dimensions = {name: len(header.shape) for name, header in file.headers.items() if npy.is_real(header.dtype)}
        return file.values(dataset or _only(dimensions), max_items)


def _from_hdf5(file: Any, dataset: str | None, max_items: int) -> dict[str, Any]:
    """In the child process."""
    shapes = {name: found.shape or () for name, found in hdf5.datasets(file) if npy.is_real(found.dtype)}
    name = dataset or _only({name: len(shape) for name, shape in shapes.items()})
    found = hdf5.dataset_at(file, name)
    if not npy.is_real(found.dtype):
        raise UnsupportedFormat("the dataset holds something other than an array of real numbers")
    npy.checked_shape(found.shape, max_items)
    hdf5.check_storage(found, f"the dataset {quoted(name)}")
    return {"array": np.asarray(found[()])}


def _only(dimensions: dict[str, int]) -> str:
    """The name of the only array that can be meant: of two dimensions, else of any.

    Args:
        dimensions: of each array of numbers, by its name; 0 for a single number.
    """
    candidates = [name for name, count in dimensions.items() if count == WAVEFORM_DIMENSIONS]
    candidates = candidates or [name for name, count in dimensions.items() if count]
    if len(candidates) != 1:
        raise InvalidInput(f"name the array with `dataset`; the file has {listed(dimensions)}")
    return candidates[0]
