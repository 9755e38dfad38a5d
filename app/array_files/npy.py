"""`.npy` files and raw numbers in memory, without a copy and without a Python object for each number.

What a file says of itself, its shape and type of number, is checked against its length before anything is allocated;
nothing is unpickled, and the arrays are views of the bytes that were given.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from jaxtyping import Num, Shaped

from app.errors import InvalidInput, TooLarge, UnsupportedFormat

MAGIC: Final = b"\x93NUMPY"
MAX_HEADER_BYTES: Final = 4096
MAX_DIMENSIONS: Final = 8

_DTYPE: Final = re.compile(r"[<>|=]?[biufcSUVOmM]\d{0,4}(\[.*\])?")
_RECORDS: Final = np.dtype("V1")
"""Stands for records, and for whatever else is no type of one number."""
_LENGTH_BYTES: Final = MappingProxyType({1: 2, 2: 4, 3: 4})
"""Bytes of the header's length by the format's major version."""


def is_real(dtype: np.dtype[Any]) -> bool:
    """Are these real numbers or booleans that this machine computes with?"""
    return dtype.kind in "buif" and dtype.itemsize <= 8 and dtype.names is None and dtype.subdtype is None


@dataclass(frozen=True)
class NpyHeader:
    """What the header of a `.npy` says.

    Attributes:
        dtype: of any kind; `is_real` tells which are numbers.
        fortran_order: the first index runs fastest.
        offset: bytes before the numbers.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool
    offset: int

    def check_numbers(self) -> None:
        """Refuse everything but real numbers.

        Raises:
            UnsupportedFormat: it holds something else.
        """
        if not is_real(self.dtype):
            raise UnsupportedFormat(
                "the .npy file holds something other than real numbers; save an array of bool, integers or floats"
            )

    def values(self, content: bytes | memoryview) -> Num[np.ndarray, "..."]:
        """The array as a read-only view of the whole file.

        Raises:
            UnsupportedFormat: it holds something other than real numbers.
            InvalidInput: the header does not fit the length of what follows.
        """
        self.check_numbers()
        data = memoryview(content)[self.offset :]
        if self.fortran_order:
            return _shaped(data, self.dtype, self.shape[::-1]).transpose()
        return _shaped(data, self.dtype, self.shape)


def npy_header(content: bytes | memoryview) -> NpyHeader:
    """Read the header of a `.npy` (NumPy enhancement proposal 1); the numbers need not be there.

    Raises:
        UnsupportedFormat: it is no `.npy`, or of an unknown version.
        InvalidInput: the header is damaged.
    """
    view = memoryview(content)
    start = bytes(view[:12])
    if not start.startswith(MAGIC):
        raise UnsupportedFormat("the content is not a .npy file: it does not begin with \\x93NUMPY; use numpy.save")
    width = _LENGTH_BYTES.get(start[6]) if len(start) == 12 else None
    if width is None:
        raise UnsupportedFormat("the .npy file is of an unknown version, or cut off in its header; use numpy.save")
    length = int.from_bytes(start[8 : 8 + width], "little")
    if length > MAX_HEADER_BYTES:
        raise InvalidInput(f"the header of the .npy file has {length} bytes, expected at most {MAX_HEADER_BYTES}")
    return _parsed(bytes(view[8 + width : 8 + width + length]), 8 + width + length)


@lru_cache(maxsize=256)
def _parsed(text: bytes, offset: int) -> NpyHeader:
    """Kept, since a client sends the same header again and again."""
    try:
        read = ast.literal_eval(text.decode("latin-1").strip())
        descr, fortran_order, shape = read["descr"], read["fortran_order"], read["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        raise InvalidInput("the header of the .npy file is damaged or cut off; write it with numpy.save") from None
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise InvalidInput("the header of the .npy file gives no shape of whole numbers; write it with numpy.save")
    if not isinstance(fortran_order, bool):
        raise InvalidInput("the header of the .npy file is damaged; write it with numpy.save")
    return NpyHeader(_dtype(descr), shape, fortran_order, offset)


def _dtype(descr: object) -> np.dtype[Any]:
    if not isinstance(descr, str) or len(descr) > 32 or _DTYPE.fullmatch(descr) is None:
        return _RECORDS
    try:
        return np.dtype(descr)
    except (TypeError, ValueError):
        return _RECORDS


def array_from_npy(content: bytes | memoryview, max_items: int) -> Num[np.ndarray, "..."]:
    """Read a `.npy` in memory; the array is a read-only view of ``content``.

    Args:
        content: the whole file.
        max_items: most numbers.

    Raises:
        UnsupportedFormat: it is no `.npy`, or holds something other than real numbers.
        InvalidInput: the header is damaged, or does not fit the length of what follows.
        TooLarge: more numbers than ``max_items``.
    """
    header = npy_header(content)
    checked_shape(header.shape, max_items)
    return header.values(content)


def array_from_bytes(
    data: bytes | memoryview, dtype: np.dtype[Any], shape: Sequence[object], max_items: int
) -> Num[np.ndarray, "..."]:
    """Give raw numbers in C order their shape; a read-only view of ``data``.

    Raises:
        InvalidInput: the shape is not one, holds no numbers, or does not fit the length of the data.
        TooLarge: more numbers than ``max_items``.
    """
    return _shaped(memoryview(data), dtype, checked_shape(shape, max_items))


def _shaped(data: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
    expected = math.prod(shape) * dtype.itemsize
    found = data.nbytes
    if found != expected:
        raise InvalidInput(
            f"the shape {shape} of {dtype.name} needs {expected} bytes and {found} are there: "
            + ("the data are cut off, or the shape is too large" if found < expected else "the shape is too small")
        )
    return np.frombuffer(data, dtype).reshape(shape)


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
