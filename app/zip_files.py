"""Zips that strangers send: their files in memory, within limits.

Nothing is ever written to disk, so that a member's path is a name and no more. Sizes are checked on the zip's directory
before anything is decompressed, and again while it is.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Final

from app.errors import TooLarge
from app.zip_bounds import DAMAGES, damaged, open_zip

MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
"""How a zip begins."""
APPLE_DOUBLE_MAGIC: Final = b"\x00\x05\x16\x07"
"""How the files begin that macOS puts beside the real ones."""
MAX_NAME_LENGTH: Final = 200
_SMALL_MEMBER_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class Limits:
    """What a zip may hold.

    Attributes:
        members: its entries.
        file_bytes: decompressed size of one file.
        total_bytes: decompressed size of all files that are read.
        ratio: decompressed over compressed size of a member above 64 KiB; text reaches 20, a bomb 1000.
    """

    members: int = 2000
    file_bytes: int = 8 * 1024**2
    total_bytes: int = 32 * 1024**2
    ratio: float = 100.0


@dataclass(frozen=True)
class Unzipped:
    """Name and content of each file that was read, and the other members with the reason why they were left."""

    files: tuple[tuple[str, bytes], ...]
    skipped: tuple[tuple[str, str], ...]


def unzip(content: bytes, limits: Limits, skip_reason: Callable[[str], str], *, what: str = "file") -> Unzipped:
    """Read the files of a zip, in its order, those of macOS's own left out.

    Args:
        content: the zip.
        limits: what it may hold.
        skip_reason: why a file of this name is not read; empty where it is.
        what: the files that are read, for messages.

    Raises:
        InvalidInput: a damaged or encrypted zip.
        UnsupportedFormat: files compressed by other means than Deflate.
        TooLarge: beyond ``limits``.
    """
    try:
        with open_zip(content) as archive:
            return _members(archive, limits, skip_reason, what)
    except DAMAGES as error:
        raise damaged(error, "zip", "pack the folder again, unencrypted") from None


def display_name(name: str) -> str:
    """A name fit for a report: printable, short, no way out of a folder."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    printable = "".join(letter if letter.isprintable() else "?" for letter in "/".join(parts))
    return printable[-MAX_NAME_LENGTH:] or "unnamed"


def free_name(name: str, taken: Container[str]) -> str:
    """The name itself, or with a number behind it where it is taken."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name} ({number})", number + 1
    return free


def _members(archive: zipfile.ZipFile, limits: Limits, skip_reason: Callable[[str], str], what: str) -> Unzipped:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > limits.members:
        raise TooLarge(f"{len(members)} files in the zip, at most {limits.members} are read")
    reasons = [_of_macos(member.filename) or skip_reason(member.filename) for member in members]
    wanted = [member for member, reason in zip(members, reasons, strict=True) if not reason]
    skipped = [(display_name(m.filename), reason) for m, reason in zip(members, reasons, strict=True) if reason]
    _check_sizes(wanted, limits, what)
    files: dict[str, bytes] = {}
    for member in wanted:
        files[free_name(display_name(member.filename), files)] = _read(archive, member)
    return Unzipped(tuple(files.items()), tuple(skipped))


def _of_macos(filename: str) -> str:
    name = filename.replace("\\", "/")
    apple = name.rpartition("/")[2].startswith("._") or name.startswith("__MACOSX/")
    return "AppleDouble file of macOS" if apple else ""


def _check_sizes(members: list[zipfile.ZipInfo], limits: Limits, what: str) -> None:
    for member in members:
        if member.file_size > limits.file_bytes:
            raise TooLarge(
                f"a file of {member.file_size} bytes in the zip, a {what} may have {limits.file_bytes}",
            )
        if member.file_size > max(_SMALL_MEMBER_BYTES, limits.ratio * member.compress_size):
            raise TooLarge(f"a file in the zip is compressed more than {limits.ratio:g} times, no {what} is")
    total = sum(member.file_size for member in members)
    if total > limits.total_bytes:
        raise TooLarge(f"{total} bytes in the files of the zip, at most {limits.total_bytes} are read")


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Never more bytes than the directory, which was checked, announces."""
    with archive.open(member) as stream:
        data = stream.read(member.file_size + 1)
    if len(data) > member.file_size:
        raise TooLarge("a file in the zip is larger than the zip's directory says")
    return data
