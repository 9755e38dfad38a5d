"""Images from `.npy` and `.npz`. Nothing is unpickled, and no array is made before its size was checked."""

from __future__ import annotations

import ast
import io
import math
import re
import zipfile
import zlib
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
    is_plain,
    taken,
)
from app.errors import InvalidInput, TooLarge

NPY_MAGIC: Final = b"\x93NUMPY"
ZIP_MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06")
MAX_HEADER_BYTES: Final = 4096
MAX_MEMBERS: Final = 256
PREFERRED: Final = ("data", "patterns", "images", "counts")
"""Arrays of an `.npz` that are taken for the images where several could be."""
MASK: Final = "mask"

_DTYPE: Final = re.compile(r"[<>|=]?([biufcSUVOmM])\d{0,4}(\[.*\])?")
_LENGTH_BYTES: Final = {1: 2, 2: 4, 3: 4}


class Header:
    """Type, shape and place of the numbers of an `.npy`."""

    def __init__(self, content: bytes) -> None:
        """Read the header (NumPy enhancement proposal 1).

        Raises:
            InvalidInput: it is damaged, or tells of objects or records.
        """
        text, self.offset = _header_text(content)
        described = _literal(text)
        shape, self.fortran = described.get("shape"), described.get("fortran_order")
        if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
            raise InvalidInput("the header of the .npy gives no shape; save the array again with numpy.save")
        self.shape: tuple[int, ...] = shape
        self.dtype = _dtype(described.get("descr"))

    def values(self, content: bytes) -> np.ndarray:
        """The array, without a copy.

        Raises:
            InvalidInput: the file ends before the array does.
        """
        count = math.prod(self.shape)
        there = len(content) - self.offset
        if count * self.dtype.itemsize > there:
            raise InvalidInput(
                f"the .npy announces {count * self.dtype.itemsize} bytes and holds {there}: it is cut off"
            )
        flat = np.frombuffer(content, self.dtype, count, self.offset)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def _header_text(content: bytes) -> tuple[str, int]:
    version = content[6] if len(content) > 8 else 0
    if not content.startswith(NPY_MAGIC) or version not in _LENGTH_BYTES:
        raise InvalidInput("the .npy has no header that NumPy writes; save the array again with numpy.save")
    start = 8 + _LENGTH_BYTES[version]
    length = int.from_bytes(content[8:start], "little")
    if length > MAX_HEADER_BYTES or start + length > len(content):
        raise InvalidInput("the header of the .npy is damaged; save the array again with numpy.save")
    return content[start : start + length].decode("latin-1"), start + length


def _literal(text: str) -> dict[str, Any]:
    try:
        described = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        described = None
    if not isinstance(described, dict):
        raise InvalidInput("the header of the .npy is damaged; save the array again with numpy.save")
    return described


def _dtype(code: Any) -> np.dtype[Any]:
    found = _DTYPE.fullmatch(code) if isinstance(code, str) and len(code) <= 32 else None
    if found is None:
        raise InvalidInput("the .npy holds records; send an array of plain numbers")
    if found[1] == "O":
        raise InvalidInput("the .npy holds pickled objects, which are not read; send an array of plain numbers")
    try:
        return np.dtype(code)
    except (TypeError, ValueError):
        raise InvalidInput("the .npy holds values of an unknown type; send an array of plain numbers") from None


def read_npy(content: bytes, options: FileOptions, limits: FileLimits) -> ImageStack:
    """Images of an `.npy`: one (row, column), or a stack (image, row, column).

    Raises:
        InvalidInput, TooLarge: see `Header`, `check_dtype`, `check_shape`, `taken`.
    """
    header = Header(content)
    chosen = _checked(header, "the .npy", options, limits)
    return ImageStack(as_stack(_with_axis(header.values(content))[chosen]), None, "npy", chosen.start)


def _checked(header: Header, what: str, options: FileOptions, limits: FileLimits) -> slice:
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
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _from_archive(archive, options, limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise InvalidInput(
            f"the .npz cannot be read ({type(error).__name__}); save it again with numpy.savez"
        ) from None


def _from_archive(archive: zipfile.ZipFile, options: FileOptions, limits: FileLimits) -> ImageStack:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist() if not info.is_dir()}
    if len(members) > MAX_MEMBERS:
        raise TooLarge(f"{len(members)} arrays in the .npz, at most {MAX_MEMBERS} are looked at")
    headers = {name: found for name, info in members.items() if (found := _peeked(archive, info)) is not None}
    name = _chosen(headers, options)
    what = f"the array {name[:80]!r}"
    chosen = _checked(headers[name], what, options, limits)
    images = _with_axis(_values(archive, members[name], headers[name], limits))[chosen]
    mask = _mask(archive, members, headers, images.shape, chosen, options, limits)
    return ImageStack(as_stack(images), mask, f"npz array {name[:80]}", chosen.start)


def _peeked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header | None:
    with archive.open(info) as stream:
        start = stream.read(MAX_HEADER_BYTES + 16)
    try:
        return Header(start)
    except InvalidInput:
        return None


def _chosen(headers: dict[str, Header], options: FileOptions) -> str:
    suitable = [n for n, h in headers.items() if is_image_shape(h.shape) and is_plain(h.dtype) and n != MASK]
    listed = ", ".join(repr(name[:40]) for name in suitable[:10]) or "none"
    if options.dataset is not None:
        if options.dataset not in headers:
            raise InvalidInput(f"the .npz has no array of the name in `dataset`; those with images: {listed}")
        return options.dataset
    preferred = [name for name in PREFERRED if name in suitable] or suitable
    if not preferred or (len(preferred) > 1 and preferred is suitable):
        raise InvalidInput(f"name the array that holds the images with `dataset`; those that could: {listed}")
    return preferred[0]


def _values(archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: Header, limits: FileLimits) -> np.ndarray:
    """The whole array: what is compressed cannot be read in parts."""
    count = math.prod(header.shape)
    if count > limits.values:
        raise TooLarge(f"{count} values in one array of the .npz, at most {limits.values} are read")
    with archive.open(info) as stream:
        content = stream.read(header.offset + count * header.dtype.itemsize)
    return header.values(content)


def _mask(
    archive: zipfile.ZipFile,
    members: dict[str, zipfile.ZipInfo],
    headers: dict[str, Header],
    shape: tuple[int, ...],
    chosen: slice,
    options: FileOptions,
    limits: FileLimits,
) -> np.ndarray | None:
    name = options.mask_dataset or MASK
    if name not in headers:
        if options.mask_dataset is not None:
            raise InvalidInput("the .npz has no array of the name in `mask_dataset`")
        return None
    header = headers[name]
    check_dtype(header.dtype, "the mask")
    if header.shape[-2:] != shape[-2:] or len(header.shape) not in (2, 3):
        raise InvalidInput(
            f"the mask has the shape {header.shape}, the images have {shape[-2]} x {shape[-1]} pixels; "
            "they must have the same rows and columns"
        )
    values = _values(archive, members[name], header, limits)
    return (values if values.ndim == 2 else values[chosen]) == 0
