"""Zips from strangers, looked at before Python's zipfile opens them.

zipfile reads the whole directory of a zip at once, however long it is, and unpacks bzip2 and LZMA without a bound: a
few kilobytes become gigabytes before anybody counts them. Deflate is unpacked by as many bytes as are asked for.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from app.errors import InvalidInput, TooLarge, UnsupportedFormat

METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""How files in a zip may be compressed."""
MAX_DIRECTORY_BYTES: Final = 2 * 1024**2
"""Names and sizes of all files in a zip take at most so many bytes: 45,000 files, each with a short name."""
DAMAGES: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
    OverflowError,
)
"""What zipfile raises on a damaged or encrypted zip."""

_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_ZIP64: Final = b"PK\x06\x07"
_ZIP64_BYTES: Final = 20
_LONGEST_COMMENT: Final = 2**16


@contextmanager
def open_zip(content: bytes) -> Iterator[zipfile.ZipFile]:
    """Open a zip.

    Raises:
        TooLarge: its directory is longer than `MAX_DIRECTORY_BYTES`.
        UnsupportedFormat: a file in it is compressed otherwise than by `METHODS`.
        Exception: one of `DAMAGES`, now or while it is read.
    """
    _check_directory(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            if member.compress_type not in METHODS:
                raise UnsupportedFormat(
                    f"a file in the zip is compressed by method {member.compress_type}; pack it again with Deflate, "
                    "as every program does unless told otherwise"
                )
        yield archive


def _check_directory(content: bytes) -> None:
    """Hold the announced length of the directory against the limit, wherever zipfile may find its end."""
    ends = {content.rfind(_END, max(0, len(content) - _LONGEST_COMMENT - _END_BYTES)), len(content) - _END_BYTES}
    for at in ends:
        if at < 0 or not content.startswith(_END, at) or at + _END_BYTES > len(content):
            continue
        if content.startswith(_ZIP64, max(0, at - _ZIP64_BYTES)):
            raise TooLarge("the zip is of the kind for more than 65,535 files or 4 GB; split it")
        (directory_bytes,) = struct.unpack_from("<I", content, at + 12)
        if directory_bytes > MAX_DIRECTORY_BYTES:
            raise TooLarge(
                f"the directory of the zip has {directory_bytes} bytes, at most {MAX_DIRECTORY_BYTES} are read: it "
                "holds too many files"
            )


def damaged(error: Exception, what: str, mend: str) -> InvalidInput:
    """The error for one of `DAMAGES`."""
    return InvalidInput(f"the {what} cannot be read ({type(error).__name__}); {mend}")
