"""From the bytes that a user hands over, a single `.fli` or the zip of a proposal's `processed` folder, to experiments.

Nothing is ever written to disk, so a member's path is a name and no more. Sizes are checked on the zip's directory
before anything is decompressed, and again while it is.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from app.errors import InvalidInput, TooLarge, UnsupportedFormat
from app.polarization.segments import Survey, survey

APPLE_DOUBLE_MAGIC = b"\x00\x05\x16\x07"
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
MAX_NAME_LENGTH = 200


@dataclass(frozen=True)
class Limits:
    """What an archive may hold.

    Attributes:
        members: entries of the zip.
        file_bytes: decompressed size of one file; the largest real `.fli` has 0.1 MB.
        total_bytes: decompressed size of all files that are read.
        ratio: decompressed over compressed size of a member above 64 KiB; text reaches 20, a bomb 1000.
    """

    members: int = 2000
    file_bytes: int = 8 * 1024**2
    total_bytes: int = 32 * 1024**2
    ratio: float = 100.0


DEFAULT_LIMITS = Limits()
_SMALL_MEMBER_BYTES = 64 * 1024


@dataclass(frozen=True)
class Unpacked:
    """Texts of the `.fli` files by name, and the other members with the reason why they were left."""

    texts: dict[str, str]
    skipped: tuple[tuple[str, str], ...]


def read_archive(content: bytes, name: str = "upload", limits: Limits = DEFAULT_LIMITS) -> Survey:
    """Find the experiments in a zip of a `processed` folder, or in a single `.fli`.

    Args:
        content: the file's bytes.
        name: its name; a single `.fli` is called so in the survey.

    Raises:
        UnsupportedFormat: neither a zip nor text.
        InvalidInput: a damaged or encrypted zip, or one without a `.fli`.
        TooLarge: beyond `limits`.
    """
    unpacked = unpack(content, name, limits)
    return replace(survey(unpacked.texts), skipped=unpacked.skipped)


def read_archives(contents: Iterable[tuple[str, bytes]], limits: Limits = DEFAULT_LIMITS) -> Survey:
    """The experiments of several archives or files of one beamline together: copies between them count once.

    Args:
        contents: name and bytes of each. Raises as `read_archive`; a zip without a `.fli` is only reported.
    """
    texts: dict[str, str] = {}
    skipped: list[tuple[str, str]] = []
    for name, content in contents:
        try:
            unpacked = unpack(content, name, limits)
        except InvalidInput as error:
            skipped.append((name, error.message))
            continue
        is_zip = content.startswith(ZIP_MAGICS)
        texts |= {f"{name}/{member}" if is_zip else member: text for member, text in unpacked.texts.items()}
        skipped.extend((f"{name}/{member}", reason) for member, reason in unpacked.skipped)
    return replace(survey(texts), skipped=tuple(skipped))


def unpack(
    content: bytes, name: str = "upload", limits: Limits = DEFAULT_LIMITS, endings: tuple[str, ...] = (".fli",)
) -> Unpacked:
    """The texts of the `.fli` files in a zip (or those of other ``endings``), or the single file's.

    Raises as `read_archive`.
    """
    if content.startswith(ZIP_MAGICS):
        return _unzip(content, limits, endings)
    if content.startswith(APPLE_DOUBLE_MAGIC):
        raise UnsupportedFormat(
            "an AppleDouble file (its name begins with '._') holds no measurement; send the file itself"
        )
    if len(content) > limits.file_bytes:
        raise TooLarge(f"{len(content)} bytes, a .fli may have {limits.file_bytes}")
    if not _is_text(content):
        raise UnsupportedFormat("neither a zip nor the text of a .fli: it holds zero bytes")
    return Unpacked({_display_name(name): _decoded(content)}, ())


def _is_text(content: bytes) -> bool:
    return b"\x00" not in content


def _decoded(content: bytes) -> str:
    """UTF-8, and where it is not, Latin-1: only remarks hold anything but ASCII."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _display_name(name: str) -> str:
    """A name fit for a report: printable, short, no way out of a folder."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    printable = "".join(letter if letter.isprintable() else "?" for letter in "/".join(parts))
    return printable[-MAX_NAME_LENGTH:] or "unnamed"


# --- zips ------------------------------------------------------------------------------------------------------------


def _unzip(content: bytes, limits: Limits, endings: tuple[str, ...]) -> Unpacked:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _members(archive, limits, endings)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise InvalidInput(
            f"the zip cannot be read ({type(error).__name__}); pack the folder again, unencrypted"
        ) from None


def _members(archive: zipfile.ZipFile, limits: Limits, endings: tuple[str, ...]) -> Unpacked:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > limits.members:
        raise TooLarge(f"{len(members)} files in the zip, at most {limits.members} are read")
    reasons = [_skip_reason(member, endings) for member in members]
    wanted = [member for member, reason in zip(members, reasons, strict=True) if not reason]
    skipped = [(_display_name(m.filename), reason) for m, reason in zip(members, reasons, strict=True) if reason]
    _check_sizes(wanted, limits)
    texts: dict[str, str] = {}
    for member in wanted:
        data = _read_member(archive, member)
        name = _display_name(member.filename)
        if data.startswith(APPLE_DOUBLE_MAGIC) or not _is_text(data):
            skipped.append((name, "binary, no text"))
        else:
            texts[_free_name(name, texts)] = _decoded(data)
    if not texts:
        raise InvalidInput(f"no {' or '.join(endings)} file among the {len(members)} files of the zip")
    return Unpacked(texts, tuple(skipped))


def _skip_reason(member: zipfile.ZipInfo, endings: tuple[str, ...]) -> str:
    name = member.filename.replace("\\", "/")
    if name.rpartition("/")[2].startswith("._") or name.startswith("__MACOSX/"):
        return "AppleDouble file of macOS"
    return "" if name.lower().endswith(endings) else f"no {' or '.join(endings)}"


def _check_sizes(members: list[zipfile.ZipInfo], limits: Limits) -> None:
    for member in members:
        if member.file_size > limits.file_bytes:
            raise TooLarge(f"a file of {member.file_size} bytes in the zip, a .fli may have {limits.file_bytes}")
        if member.file_size > max(_SMALL_MEMBER_BYTES, limits.ratio * member.compress_size):
            raise TooLarge(f"a file in the zip is compressed more than {limits.ratio:g} times, no text is")
    total = sum(member.file_size for member in members)
    if total > limits.total_bytes:
        raise TooLarge(f"{total} bytes in the zip's .fli files, at most {limits.total_bytes} are read")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Never more bytes than the directory, which was checked, announces."""
    with archive.open(member) as stream:
        data = stream.read(member.file_size + 1)
    if len(data) > member.file_size:
        raise TooLarge("a file in the zip is larger than the zip's directory says")
    return data


def _free_name(name: str, taken: dict[str, str]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name} ({number})", number + 1
    return free
