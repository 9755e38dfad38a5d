"""Files of powder patterns: which reader reads which, told by content and not by name."""

from __future__ import annotations

from typing import Final

from app.errors import AppError, InvalidInput, TooLarge
from app.indexing.patterns.pattern import Axis, Pattern, wavelength
from app.indexing.patterns.pattern_columns import decoded, read_columns
from app.indexing.patterns.pattern_diffractometer import RAW_MAGIC, read_bruker_raw, read_ras, read_uxd, refuse_binary
from app.indexing.patterns.pattern_gsas import BANK, read_gsas
from app.indexing.patterns.pattern_xrdml import read_xrdml

MAX_BYTES: Final = 32_000_000
ENDINGS: Final = (
    ".xy",
    ".xye",
    ".csv",
    ".dat",
    ".txt",
    ".chi",
    ".gsa",
    ".gda",
    ".fxye",
    ".xrdml",
    ".uxd",
    ".ras",
    ".raw",
)
"""What users call the files that are read (`.raw`: GSAS and Bruker's RAW1.01)."""


def read_pattern(
    content: bytes, name: str = "", *, axis: Axis | None = None, wavelength_ang: float | None = None
) -> Pattern:
    """Read a pattern from a file of any kind that is known; the first scan where there are several.

    Args:
        content: the file.
        name: its name, for answers; an ending `.xye` says what the third column is.
        axis: what the first column of a text file holds; None takes what its header says, else 2theta in degrees.
        wavelength_ang: goes before the file's own.

    Raises:
        InvalidInput: a damaged file, by its line number; a pattern that makes no sense.
        UnsupportedFormat: a kind that is not read, with a way to convert it.
        TooLarge: more than `MAX_BYTES` or `pattern.MAX_POINTS`.
    """
    short = name.replace("\\", "/").rpartition("/")[2][-80:]
    if len(content) > MAX_BYTES:
        raise TooLarge(f"the file has {len(content)} bytes, at most {MAX_BYTES} are read")
    if not content.strip():
        raise InvalidInput("the file is empty")
    wavelength(wavelength_ang)
    try:
        return _read(content, short, axis, wavelength_ang)
    except AppError as error:
        raise type(error)(f"{short}: {error.message}" if short else error.message) from None


def _read(content: bytes, name: str, axis: Axis | None, wavelength_ang: float | None) -> Pattern:
    start = content[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if content.startswith(RAW_MAGIC):
        return read_bruker_raw(content, name, wavelength_ang=wavelength_ang)
    refuse_binary(content)
    if start.startswith(b"<") or name.lower().endswith(".xrdml"):
        return read_xrdml(content, name, wavelength_ang=wavelength_ang)
    if start.startswith(b"*RAS_"):
        return read_ras(content, name, wavelength_ang=wavelength_ang)
    text = decoded(content)
    if BANK.search(text):
        return read_gsas(text, name, wavelength_ang=wavelength_ang)
    if start.startswith((b"_FILEVERSION", b"; (Data", b";")) and "_FILEVERSION" in text[:4096].upper():
        return read_uxd(text, name, wavelength_ang=wavelength_ang)
    return read_columns(content, name, axis=axis, wavelength_ang=wavelength_ang)
