"""Arrays of numbers from the bytes of a request: `.npy` and base64, without a Python object for each number.

What a body says of itself, its shape and type of number, is checked against its length before anything is allocated;
the arrays are views of the request's own bytes wherever they can be.
"""

from __future__ import annotations

import ast
import binascii
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from jaxtyping import Num

from app.errors import AppError, InvalidInput, TooLarge, UnsupportedFormat

NPY_MAGIC: Final = b"\x93NUMPY"
MAX_NPY_HEADER: Final = 4096
MAX_DIMENSIONS: Final = 8
_SIZES: Final = ["8", "16", "32", "64"]
DTYPES: Final[Mapping[str, np.dtype[Any]]] = MappingProxyType(
    {
        kind + size: np.dtype(kind + size).newbyteorder("<")
        for kind, sizes in (("bool", [""]), ("uint", _SIZES), ("int", _SIZES), ("float", _SIZES[1:]))
        for size in sizes
    }
)
"""Types of number that raw bytes may hold, by name; little-endian."""

_NPY_DTYPE: Final = re.compile(r"([<>|=])(b1|[iu][1248]|f[248])")
_NPY_HEADER_LENGTH: Final = MappingProxyType({1: 2, 2: 4, 3: 4})
"""Bytes of the header's length by the format's major version."""

Where = Sequence[str | int]
"""Keys and indices that lead to a value: ``("body", "waveforms")``."""


def at(error: AppError, where: Where) -> AppError:
    """The same error with the place that it speaks of, in the form of a problem's ``errors``."""
    kind = error.kind.replace("-", "_")
    return type(error)(error.message, details={"errors": [{"loc": list(where), "msg": error.message, "type": kind}]})


# --- .npy -------------------------------------------------------------------------------------------------------------


def array_from_npy(content: bytes | memoryview, max_items: int) -> Num[np.ndarray, "..."]:
    """Read a `.npy` (NumPy enhancement proposal 1) in memory; the array is a read-only view of ``content``.

    Args:
        content: the whole file.
        max_items: most numbers.

    Raises:
        UnsupportedFormat: it is no `.npy`, or holds something other than numbers.
        InvalidInput: the header is damaged, or does not fit the length of what follows.
        TooLarge: more numbers than ``max_items``.
    """
    view = memoryview(content)
    start = bytes(view[:12])
    if not start.startswith(NPY_MAGIC):
        raise UnsupportedFormat("the content is not a .npy file: it does not begin with \\x93NUMPY; use numpy.save")
    width = _NPY_HEADER_LENGTH.get(start[6]) if len(start) == 12 else None
    if width is None:
        raise UnsupportedFormat("the .npy file is of an unknown version, or cut off in its header; use numpy.save")
    length = int.from_bytes(start[8 : 8 + width], "little")
    if length > MAX_NPY_HEADER:
        raise InvalidInput(f"the header of the .npy file has {length} bytes, expected at most {MAX_NPY_HEADER}")
    data = view[8 + width + length :]
    dtype, fortran_order, shape = _npy_header(bytes(view[8 + width : 8 + width + length]))
    if fortran_order:
        return array_from_bytes(data, dtype, shape[::-1], max_items).transpose()
    return array_from_bytes(data, dtype, shape, max_items)


@lru_cache(maxsize=256)
def _npy_header(header: bytes) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Type of number, order and shape; kept, since a client sends the same header again and again."""
    try:
        read = ast.literal_eval(header.decode("latin-1").strip())
        descr, fortran_order, shape = read["descr"], read["fortran_order"], read["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        raise InvalidInput("the header of the .npy file is damaged or cut off; write it with numpy.save") from None
    found = _NPY_DTYPE.fullmatch(descr) if isinstance(descr, str) else None
    if found is None:
        raise UnsupportedFormat(
            "the .npy file holds something other than real numbers; save an array of bool, integers or floats"
        )
    if not isinstance(fortran_order, bool) or not isinstance(shape, tuple):
        raise InvalidInput("the header of the .npy file is damaged; write it with numpy.save")
    return np.dtype(descr), fortran_order, shape


def array_from_bytes(
    data: bytes | memoryview, dtype: np.dtype[Any], shape: Sequence[object], max_items: int
) -> Num[np.ndarray, "..."]:
    """Give raw numbers in C order their shape; a read-only view of ``data``.

    Raises:
        InvalidInput: the shape is not one, holds no numbers, or does not fit the length of the data.
        TooLarge: more numbers than ``max_items``.
    """
    sizes = checked_shape(shape, max_items)
    expected = math.prod(sizes) * dtype.itemsize
    found = memoryview(data).nbytes
    if found != expected:
        raise InvalidInput(
            f"the shape {sizes} of {dtype.name} needs {expected} bytes and {found} are there: "
            + ("the data are cut off, or the shape is too large" if found < expected else "the shape is too small")
        )
    return np.frombuffer(data, dtype).reshape(sizes)


def checked_shape(shape: Sequence[object], max_items: int) -> tuple[int, ...]:
    """The shape of an array that holds at least one number and at most ``max_items``.

    Raises:
        InvalidInput: it is not a shape, or has too many dimensions, or holds no numbers.
        TooLarge: more numbers than ``max_items``.
    """
    sizes = [size for size in shape if type(size) is int and size >= 0]
    if len(sizes) != len(shape) or len(sizes) > MAX_DIMENSIONS:
        raise InvalidInput(f"the shape should be at most {MAX_DIMENSIONS} whole numbers of 0 or more")
    items = math.prod(sizes)
    if items == 0:
        raise InvalidInput(f"the shape {tuple(sizes)} holds no numbers")
    if items > max_items:
        raise TooLarge(f"the array has {items} numbers, at most {max_items} are taken: split the request")
    return tuple(sizes)


# --- base64 -----------------------------------------------------------------------------------------------------------


def array_from_base64(value: Mapping[str, object], max_items: int) -> Num[np.ndarray, "..."]:
    """Read ``{"data_base64": ..., "dtype": ..., "shape": [...]}``: raw little-endian numbers in C order, or a `.npy`.

    ``dtype`` and ``shape`` are left out for a `.npy`, which says both itself.

    Raises:
        InvalidInput: unknown or missing keys, bad base64, or data that do not fit what is said of them.
        UnsupportedFormat: as `array_from_npy`.
        TooLarge: more numbers than ``max_items``.
    """
    extra = sorted(str(key)[:40] for key in value.keys() - {"data_base64", "dtype", "shape"})
    text = value.get("data_base64")
    if extra or not isinstance(text, str):
        found = f"found {extra[0]!r}" if extra else "data_base64 is missing or no text"
        raise InvalidInput(f"an object in place of numbers has the keys data_base64, dtype and shape; {found}")
    data = _decoded(text)
    if "dtype" not in value and "shape" not in value:
        if not data.startswith(NPY_MAGIC):
            raise InvalidInput("the base64 holds no .npy: give dtype and shape of the raw little-endian numbers")
        return array_from_npy(data, max_items)
    dtype, shape = value.get("dtype"), value.get("shape")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise InvalidInput(f"dtype should be one of {', '.join(DTYPES)}")
    if not isinstance(shape, list):
        raise InvalidInput("shape should be a list of whole numbers")
    return array_from_bytes(data, DTYPES[dtype], shape, max_items)


def _decoded(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:  # binascii.Error among them
        raise InvalidInput(f"data_base64 is not base64 ({str(error)[:80]}); use the standard alphabet") from None


# --- values -----------------------------------------------------------------------------------------------------------


def check_finite(array: Num[np.ndarray, "..."], name: str, axes: Sequence[str], where: Where) -> None:
    """Refuse NaN and infinities.

    Args:
        array: any shape.
        name: what the array is, in the plural.
        axes: what an index along each axis counts: ``("waveform", "sample")``.
        where: keys that lead to the array.

    Raises:
        InvalidInput: with the indices of the first number that is not finite.
    """
    if array.dtype.kind != "f":
        return
    # A sum is finite only where each number is; it takes no memory, so most arrays need no second look.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):
            return
    bad = ~np.isfinite(array)
    count = int(np.count_nonzero(bad))
    if count == 0:
        return
    index = [int(i) for i in np.unravel_index(int(bad.argmax()), array.shape)]
    place = ", ".join(f"{axis} {i}" for axis, i in zip(axes[-len(index) :], index, strict=False))
    raise at(
        InvalidInput(
            f"{name}: {place} (counted from 0) is {array[tuple(index)]}; {count} of {array.size} numbers are not "
            "finite: replace them, or leave out what holds them"
        ),
        [*where, *index],
    )
