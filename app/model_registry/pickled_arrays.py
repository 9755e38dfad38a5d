"""NumPy dtypes, arrays and scalars of a pickle, rebuilt from checked parts.

NumPy's own reconstruct functions trust their arguments: a forged dtype state can make raw bytes pass as object
pointers, and a forged shape can ask for any amount of memory. Nothing here calls ``dtype.__setstate__``, and no array
is made before its size was held against the bytes that are there.
"""

from __future__ import annotations

import io
import math
from typing import Any, Final

import numpy as np

from app.errors import ModelRefused

MAX_FIELDS: Final = 32
PLAIN_KINDS: Final = "biufcSU"


def refuse(message: str) -> ModelRefused:
    """The error for a payload that is not admitted."""
    return ModelRefused(message)


class DtypeSpec:
    """Stands for ``numpy.dtype`` while a pickle is read; ``resolve`` gives the real one."""

    def __init__(self, code: Any = None, align: Any = False, copy: Any = True) -> None:
        if not isinstance(code, str) or len(code) > 16:
            raise refuse("A dtype without a plain code was found.")
        self._code = code
        self._order = "="
        self._names: tuple[str, ...] = ()
        self._fields: dict[str, tuple[Any, int]] = {}
        self._itemsize = -1

    def set_state(self, state: Any) -> None:
        """Take ``(version, byte order, subdtype, names, fields, itemsize, ...)`` as NumPy pickles it."""
        if type(state) is not tuple or len(state) < 6 or state[2] is not None or state[1] not in ("<", ">", "|", "="):
            raise refuse("A dtype's state is not one that is admitted.")
        self._order = state[1]
        if state[3] is not None:
            self._names, self._fields, self._itemsize = tuple(state[3]), dict(state[4]), int(state[5])

    def resolve(self) -> np.dtype[Any]:
        """The dtype, of plain numbers, text, objects, or a flat record of numbers."""
        dtype = np.dtype(self._code)
        if self._names:
            return self._record()
        if dtype.kind == "O":
            return dtype
        if dtype.kind not in PLAIN_KINDS or dtype.itemsize == 0:
            raise refuse(f"An array of dtype kind {dtype.kind} is not admitted.")
        return dtype.newbyteorder(self._order) if self._order in "<>" else dtype  # pyright: ignore[reportArgumentType]

    def _record(self) -> np.dtype[Any]:
        if len(self._names) > MAX_FIELDS or not 0 < self._itemsize <= 4096:
            raise refuse("A record dtype is too wide.")
        formats = [resolve_dtype(self._fields[name][0]) for name in self._names]
        if any(form.hasobject or form.names for form in formats):
            raise refuse("A record dtype holds something other than numbers.")
        offsets = [int(self._fields[name][1]) for name in self._names]
        # NumPy checks here that each field lies inside the item.
        parts: Any = {"names": list(self._names), "formats": formats, "offsets": offsets, "itemsize": self._itemsize}
        return np.dtype(parts)


def resolve_dtype(spec: Any) -> np.dtype[Any]:
    """The dtype that a ``DtypeSpec`` stands for."""
    if not isinstance(spec, DtypeSpec):
        raise refuse(f"A dtype was expected, a {type(spec).__name__} was found.")
    return spec.resolve()


def _shape(value: Any) -> tuple[int, ...]:
    shape = (value,) if type(value) is int else value
    if type(shape) is not tuple or len(shape) > 8 or any(type(n) is not int or n < 0 for n in shape):
        raise refuse("An array's shape is not a short tuple of integers.")
    return shape


def _array(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> np.ndarray:
    if dtype.hasobject or len(data) != math.prod(shape) * dtype.itemsize or order not in ("C", "F"):
        raise refuse("An array's bytes do not fit its shape and dtype.")
    native = np.frombuffer(data, dtype=dtype).astype(dtype.newbyteorder("="))
    return np.asarray(native.reshape(shape, order=order))


class ArrayHeader:
    """Stands for joblib's ``NumpyArrayWrapper``: the array's bytes follow it in the file."""

    shape: tuple[int, ...]
    order: str
    dtype: np.dtype[Any]
    aligned: bool

    def set_state(self, state: Any) -> None:
        """Take the wrapper's attributes, checked."""
        if type(state) is not dict or state.get("subclass") != "ndarray" or state.get("order") not in ("C", "F"):
            raise refuse("A joblib array header is not one that is admitted.")
        self.shape = _shape(state.get("shape"))
        self.order = state["order"]
        self.dtype = resolve_dtype(state.get("dtype"))
        self.aligned = state.get("numpy_array_alignment_bytes") is not None


def read_array(header: ArrayHeader, stream: io.BytesIO) -> np.ndarray:
    """The array whose padding and bytes lie next in ``stream``.

    Raises:
        ModelRefused: fewer bytes are left than the header declares.
    """
    if header.aligned:
        padding = stream.read(1)
        stream.seek(padding[0] if padding else 0, io.SEEK_CUR)
    needed = math.prod(header.shape) * header.dtype.itemsize
    if needed > stream.getbuffer().nbytes - stream.tell():
        raise refuse("An array declares more bytes than the file holds.")
    return _array(stream.read(needed), header.dtype, header.shape, header.order)


def empty_array(subclass: Any, shape: Any, code: Any) -> np.ndarray:
    """Stands for ``numpy._core.multiarray._reconstruct``: an empty array that a state will fill."""
    if subclass != "ndarray" or shape not in ((0,), 0):
        raise refuse("An array is reconstructed in a way that is not admitted.")
    return np.empty((0,), dtype=np.int8)


def array_set_state(array: np.ndarray, state: Any) -> None:
    """Fill an empty array in place from ``(version, shape, dtype, is_fortran, bytes or list)``, checked."""
    if type(state) is not tuple or len(state) != 5 or array.size:
        raise refuse("An array's state is not one that is admitted.")
    shape, dtype, data = _shape(state[1]), resolve_dtype(state[2]), state[4]
    if dtype.hasobject:
        if type(data) is not list or len(data) != math.prod(shape) or any(type(x) is not str for x in data):
            raise refuse("An array of objects holds something other than text.")
    elif type(data) is not bytes or len(data) != math.prod(shape) * dtype.itemsize:
        raise refuse("An array's bytes do not fit its shape and dtype.")
    array.__setstate__((1, shape, dtype, bool(state[3]), data))  # pyright: ignore[reportArgumentType]  NumPy takes no other


def array_from_buffer(buffer: Any, spec: Any, shape: Any, order: Any, *_: Any) -> np.ndarray:
    """Stands for ``numpy._core.numeric._frombuffer`` (pickle protocol 5 in band)."""
    if type(buffer) not in (bytes, bytearray):
        raise refuse("An array's buffer is not bytes.")
    return _array(bytes(buffer), resolve_dtype(spec), _shape(shape), order)


def scalar_from_bytes(spec: Any, data: Any = b"") -> Any:
    """Stands for ``numpy._core.multiarray.scalar``."""
    dtype = resolve_dtype(spec)
    if type(data) is not bytes:
        raise refuse("A NumPy scalar without bytes was found.")
    return _array(data, dtype, (1,), "C")[0]


def bytes_from_text(text: Any, encoding: Any) -> bytes:
    """Stands for ``codecs.encode``, through which pickle protocol 2 carries bytes."""
    if type(text) is not str or encoding != "latin1":
        raise refuse("Bytes are encoded in a way that is not admitted.")
    return text.encode("latin1")
