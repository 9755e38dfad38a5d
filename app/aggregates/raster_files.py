"""Images from TIFF and PNG: grey values as the file holds them, without scaling."""

from __future__ import annotations

import io
import logging
import math
import zlib
from typing import Any, Final

import numpy as np

from app.aggregates.stack import FileLimits, FileOptions, ImageStack, as_stack, check_dtype, check_shape, taken
from app.errors import AppError, InvalidInput, TooLarge, UnsupportedFormat

TIFF_MAGICS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
MAX_PAGES: Final = 20_000

_UNCOMPRESSED: Final = 1
_DEFLATE: Final = (8, 32946)
_MIN_IS_BLACK: Final = 1
_GREY: Final = 0
_MEND_COLOUR: Final = (
    "save the detector's numbers as grey values of 16 or 32 bit (or as .npy), not as a picture of them"
)


# --- TIFF -------------------------------------------------------------------------------------------------------------


def read_tiff(content: bytes, options: FileOptions, limits: FileLimits) -> ImageStack:
    """Images of a TIFF or BigTIFF, one a page: whole numbers of 8 to 64 bit, floating-point numbers of 16 to 64 bit.

    Raises:
        InvalidInput: damaged, in colour, or with pages of different sizes.
        UnsupportedFormat: a compression other than Deflate.
        TooLarge: beyond the limits.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it finds wrong with a file is told by our errors
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as tiff:
            return _from_pages(tiff, content, options, limits)
    except AppError:
        raise
    except Exception as error:  # a hostile file can make the parser fail in any way
        raise InvalidInput(f"the TIFF cannot be read ({type(error).__name__}); write it again") from None


def _from_pages(tiff: Any, content: bytes, options: FileOptions, limits: FileLimits) -> ImageStack:
    first = tiff.pages[0]
    _check_page(first, limits)
    total = _page_count(tiff)
    chosen = taken(total, math.prod(first.shape), options, limits)
    images = np.empty((chosen.stop - chosen.start, *first.shape), first.dtype)
    for row, number in enumerate(range(chosen.start, chosen.stop)):
        page = tiff.pages[number]
        _check_page(page, limits)
        if page.shape != first.shape or page.dtype != first.dtype:
            raise InvalidInput("the pages of the TIFF differ in size or type; send them as separate files")
        _check_segments(page, content)
        images[row] = page.asarray(maxworkers=1)
    return ImageStack(as_stack(images), None, "TIFF", chosen.start)


def _page_count(tiff: Any) -> int:
    """Counted with an end: pages may be linked in a circle."""
    total = 0
    for _ in tiff.pages:
        total += 1
        if total > MAX_PAGES:
            raise TooLarge(f"the TIFF has more than {MAX_PAGES} pages; send it in parts")
    return total


def _check_page(page: Any, limits: FileLimits) -> None:
    if page.samplesperpixel != 1 or int(page.photometric) != _MIN_IS_BLACK:
        raise InvalidInput(f"the TIFF is in colour, has a palette, or is inverted: {_MEND_COLOUR}")
    if int(page.compression) not in (_UNCOMPRESSED, *_DEFLATE):
        name = getattr(page.compression, "name", "unknown")
        raise UnsupportedFormat(f"the TIFF is compressed with {name}; write it uncompressed or with Deflate")
    if page.dtype is None:
        raise InvalidInput("the TIFF has an unknown type of numbers; use 8, 16 or 32 bit, whole or floating-point")
    check_dtype(page.dtype, "the TIFF")
    if len(page.shape) != 2:
        raise InvalidInput(f"a page of the TIFF has {len(page.shape)} axes; expected rows and columns alone")
    check_shape(page.shape, "the TIFF", limits)


def _check_segments(page: Any, content: bytes) -> None:
    """Hold each compressed strip or tile against the size that the page gives it, before it is unpacked whole."""
    if int(page.compression) == _UNCOMPRESSED:
        return
    most = math.prod(page.chunks) * page.dtype.itemsize
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if count > 0 and len(zlib.decompressobj().decompress(content[offset : offset + count], most + 1)) > most:
            raise TooLarge("a strip of the TIFF is larger than its page says; write it again")


# --- PNG --------------------------------------------------------------------------------------------------------------


def read_png(content: bytes, options: FileOptions, limits: FileLimits) -> ImageStack:
    """The image of a PNG with grey values of 8 or 16 bit.

    Raises:
        InvalidInput: damaged, in colour, with transparency, or with fewer bits.
        TooLarge: beyond the limits.
    """
    from PIL import Image

    size = _checked_size(content, limits)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            if getattr(picture, "n_frames", 1) != 1:
                raise InvalidInput("the PNG is animated; send a TIFF or an .npy with one page an image")
            if picture.size != size:  # a second header goes before the first one
                raise InvalidInput("the PNG has two headers that differ; write it again")
            values = np.asarray(picture)
    except AppError:
        raise
    except Exception as error:  # a hostile file can make the parser fail in any way
        raise InvalidInput(f"the PNG cannot be read ({type(error).__name__}); write it again") from None
    chosen = taken(1, values.size, options, limits)
    return ImageStack(as_stack(values), None, "PNG", chosen.start)


def _checked_size(content: bytes, limits: FileLimits) -> tuple[int, int]:
    """Width and height in the header chunk, which comes first (PNG specification, 11.2.2)."""
    if len(content) < 33 or content[12:16] != b"IHDR":
        raise InvalidInput("the PNG is cut off or damaged; write it again")
    width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    depth, colour = content[24], content[25]
    if colour != _GREY:
        raise InvalidInput(f"the PNG is in colour or has transparency: {_MEND_COLOUR}")
    if depth not in (8, 16):
        raise InvalidInput(f"the PNG has grey values of {depth} bit; expected 8 or 16: {_MEND_COLOUR}")
    check_shape((height, width), "the PNG", limits)
    return width, height
