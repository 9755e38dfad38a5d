"""From the bytes that a user hands over, a single `.fli` or the zip of a proposal's `processed` folder, to experiments.

Nothing is ever written to disk; what a zip may hold is limited, see `app.zip_files`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from app.errors import InvalidInput, TooLarge, UnsupportedFormat
from app.polarization.segments import Survey, survey
from app.zip_files import APPLE_DOUBLE_MAGIC, MAGICS, Limits, display_name, free_name, unzip

DEFAULT_LIMITS = Limits()
"""The largest real `.fli` has 0.1 MB."""
MAX_LINES = 100_000
"""Lines of all files together; the largest real proposal has 1,129. Each becomes an object many times its length."""


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
        TooLarge: beyond `limits` or `MAX_LINES`.
    """
    unpacked = unpack(content, name, limits)
    check_lines(unpacked.texts.values())
    return replace(survey(unpacked.texts), skipped=unpacked.skipped)


def check_lines(texts: Iterable[str]) -> None:
    """Hold the lines of all texts against the limit.

    Raises:
        TooLarge: more than `MAX_LINES`.
    """
    if (count := sum(text.count("\n") + text.count("\r") for text in texts)) > MAX_LINES:
        raise TooLarge(f"{count} lines in all files, at most {MAX_LINES} are read: send fewer files at once")


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
        is_zip = content.startswith(MAGICS)
        texts |= {f"{name}/{member}" if is_zip else member: text for member, text in unpacked.texts.items()}
        skipped.extend((f"{name}/{member}", reason) for member, reason in unpacked.skipped)
    return replace(survey(texts), skipped=tuple(skipped))


def unpack(
    content: bytes, name: str = "upload", limits: Limits = DEFAULT_LIMITS, endings: tuple[str, ...] = (".fli",)
) -> Unpacked:
    """The texts of the `.fli` files in a zip (or those of other ``endings``), or the single file's.

    Raises as `read_archive`.
    """
    if content.startswith(MAGICS):
        return _unzip(content, limits, endings)
    if content.startswith(APPLE_DOUBLE_MAGIC):
        raise UnsupportedFormat(
            "an AppleDouble file (its name begins with '._') holds no measurement; send the file itself"
        )
    if len(content) > limits.file_bytes:
        raise TooLarge(f"{len(content)} bytes, a .fli may have {limits.file_bytes}")
    if not _is_text(content):
        raise UnsupportedFormat("neither a zip nor the text of a .fli: it holds zero bytes")
    return Unpacked({display_name(name): _decoded(content)}, ())


def _is_text(content: bytes) -> bool:
    return b"\x00" not in content


def _decoded(content: bytes) -> str:
    """UTF-8, and where it is not, Latin-1: only remarks hold anything but ASCII."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _unzip(content: bytes, limits: Limits, endings: tuple[str, ...]) -> Unpacked:
    expected = " or ".join(endings)
    found = unzip(content, limits, lambda name: "" if name.lower().endswith(endings) else f"no {expected}", what=".fli")
    skipped = list(found.skipped)
    texts: dict[str, str] = {}
    for name, data in found.files:
        if data.startswith(APPLE_DOUBLE_MAGIC) or not _is_text(data):
            skipped.append((name, "binary, no text"))
        else:
            texts[free_name(name, texts)] = _decoded(data)
    if not texts:
        raise InvalidInput(f"no {expected} file among the {len(found.files) + len(found.skipped)} files of the zip")
    return Unpacked(texts, tuple(skipped))
