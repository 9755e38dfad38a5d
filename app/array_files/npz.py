"""`.npz` files in memory: the headers of all arrays first, then those that are wanted, each within a limit."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import numpy as np
from jaxtyping import Num

from app.array_files.listing import listed, quoted
from app.array_files.npy import MAX_HEADER_BYTES, NpyHeader, checked_shape, npy_header
from app.errors import AppError, InvalidInput, TooLarge
from app.zip_bounds import DAMAGES, damaged, open_zip

MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06")
MAX_MEMBERS: Final = 256


class Npz:
    """Arrays of a `.npz`.

    Attributes:
        headers: what each array says of itself, by its name; members that are no array are left out.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist() if not info.is_dir()}
        if len(members) > MAX_MEMBERS:
            raise TooLarge(f"{len(members)} arrays in the .npz, at most {MAX_MEMBERS} are looked at")
        self._archive, self._members = archive, members
        found = {name: self._peeked(name) for name in members}
        self.headers: Mapping[str, NpyHeader] = {name: header for name, header in found.items() if header is not None}

    def header(self, name: str) -> NpyHeader:
        """What one array says of itself.

        Raises:
            InvalidInput: there is none of that name.
        """
        if name not in self.headers:
            raise InvalidInput(f"the .npz has no array {quoted(name)}; it has {listed(self.headers)}")
        return self.headers[name]

    def _peeked(self, name: str) -> NpyHeader | None:
        with self._archive.open(self._members[name]) as stream:
            start = stream.read(MAX_HEADER_BYTES + 16)
        try:
            return npy_header(start)
        except AppError:
            return None

    def values(self, name: str, max_items: int) -> Num[np.ndarray, "..."]:
        """One array, whole: what is compressed cannot be read in parts.

        Raises:
            UnsupportedFormat: it holds something other than real numbers.
            InvalidInput: there is none of that name, or it is cut off, or holds no numbers.
            TooLarge: more numbers than ``max_items``.
        """
        header = self.header(name)
        header.check_numbers()  # before any of it is unpacked: one text may be longer than a million numbers
        items = int(np.prod(checked_shape(header.shape, max_items)))
        # The header is believed, not the zip's own size of the member, which need not be true.
        with self._archive.open(self._members[name]) as stream:
            return header.values(stream.read(header.offset + items * header.dtype.itemsize))


@contextmanager
def open_npz(content: bytes) -> Iterator[Npz]:
    """Open a `.npz`.

    Raises:
        InvalidInput: it is damaged, also where that is found while it is read.
        UnsupportedFormat: compressed by other means than Deflate.
        TooLarge: more than `MAX_MEMBERS` arrays.
    """
    try:
        with open_zip(content) as archive:
            yield Npz(archive)
    except DAMAGES as error:
        raise damaged(error, ".npz", "save it again with numpy.savez") from None
