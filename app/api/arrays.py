"""Arrays of numbers in requests: as base64, and what their values may be."""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Final

import numpy as np
import pybase64
from jaxtyping import Num
from pydantic import Field

from app.api.problems import Where, at
from app.api.schema import Input
from app.array_files import npy
from app.array_files.npy import array_from_bytes, array_from_npy
from app.errors import InvalidInput

_SIZES: Final = ["8", "16", "32", "64"]
DTYPES: Final[Mapping[str, np.dtype[Any]]] = MappingProxyType(
    {
        kind + size: np.dtype(kind + size).newbyteorder("<")
        for kind, sizes in (("bool", [""]), ("uint", _SIZES), ("int", _SIZES), ("float", _SIZES[1:]))
        for size in sizes
    }
)
"""Types of number that raw bytes may hold, by name; little-endian."""

# --- base64 -----------------------------------------------------------------------------------------------------------


class Base64Array(Input):
    """Numbers as base64 in place of nested lists: raw little-endian ones, or an .npy without `dtype` and `shape`."""

    data_base64: str
    dtype: Annotated[str | None, Field(examples=["uint16"])] = None
    shape: Annotated[list[int] | None, Field(examples=[[10, 64, 64]])] = None


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
        if not data.startswith(npy.MAGIC):
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
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        return _decoded_with_care(text)


def _decoded_with_care(text: str) -> bytes:
    """The standard library's decoder takes forty times as long, and says what is wrong."""
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
