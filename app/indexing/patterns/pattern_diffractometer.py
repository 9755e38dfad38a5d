"""Files of Bruker and Rigaku diffractometers: RAW of DIFFRAC-plus (RAW1.01), UXD and RAS.

RAW1.01 after section A.1, 'DIFFRAC-plus V3 RAW file structure', of the manual 'DIFFRAC-plus file exchange and XCH'
(Bruker, 2002): a header of 712 bytes; for each range a header of 304 bytes, supplementary headers, then the counts as
little-endian 32-bit floats.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Final

import numpy as np

from app.errors import InvalidInput, TooLarge, UnsupportedFormat
from app.indexing.patterns.pattern import MAX_POINTS, Doublet, Pattern, make_pattern
from app.indexing.patterns.pattern_columns import decoded, lines_of, quoted

RAW_MAGIC: Final = b"RAW1.01"
_FILE_HEADER: Final = 712
_RANGE_HEADER: Final = 304
_ALPHA1_AT, _ALPHA2_AT, _RATIO_AT, _SAMPLE_AT = 624, 632, 648, 326
_UXD_DATA: Final = re.compile(r"_(2THETA)?(COUNTS|CPS)\s*(=.*)?$", re.IGNORECASE)
_UXD_KEY: Final = re.compile(r"_(\w+)\s*=\s*(.*)")
_RAS_KEY: Final = re.compile(r'\*(\w+)\s+"?([^"]*)"?')


def read_bruker_raw(content: bytes, name: str, *, wavelength_ang: float | None) -> Pattern:
    """Read the first range of a Bruker RAW of version 3 (``RAW1.01``).

    Raises:
        InvalidInput: a truncated file or a header that makes no sense.
        TooLarge: more than `MAX_POINTS` points.
    """
    if len(content) < _FILE_HEADER + _RANGE_HEADER:
        raise InvalidInput(f"the Bruker RAW file has {len(content)} bytes: it is cut short")
    (n_ranges,) = struct.unpack_from("<I", content, 12)
    alpha1, alpha2 = struct.unpack_from("<dd", content, _ALPHA1_AT)
    (ratio,) = struct.unpack_from("<d", content, _RATIO_AT)
    sample = content[_SAMPLE_AT : _SAMPLE_AT + 60].split(b"\0")[0].decode("latin-1").strip()
    length, n_points = struct.unpack_from("<II", content, _FILE_HEADER)
    (start,) = struct.unpack_from("<d", content, _FILE_HEADER + 16)
    (step,) = struct.unpack_from("<d", content, _FILE_HEADER + 176)
    (used,) = struct.unpack_from("<d", content, _FILE_HEADER + 240)
    (more,) = struct.unpack_from("<I", content, _FILE_HEADER + 256)
    if length != _RANGE_HEADER or not (math.isfinite(start) and 0 < step < 5):
        raise InvalidInput("the header of the first range of the Bruker RAW file makes no sense: no scan over 2theta?")
    if n_points > MAX_POINTS:
        raise TooLarge(f"{n_points} points, at most {MAX_POINTS} are read")
    at = _FILE_HEADER + _RANGE_HEADER + more
    if at + 4 * n_points > len(content):
        raise InvalidInput(f"the Bruker RAW file announces {n_points} points and is cut short")
    counts = np.frombuffer(content, "<f4", n_points, at).astype(np.float64)
    found = _sane(alpha1) or _sane(used)
    both = _sane(alpha1) and _sane(alpha2) and 0 < ratio <= 1 and alpha2 > alpha1
    return make_pattern(
        start + step * np.arange(n_points),
        counts,
        wavelength_ang=wavelength_ang or found,
        doublet=Doublet(alpha1, alpha2, ratio) if both and wavelength_ang in (None, found) else None,
        name=sample or name,
        warnings=(f"the file holds {n_ranges} ranges; the first was read",) if n_ranges > 1 else (),
    )


def _sane(value: float) -> float | None:
    return value if math.isfinite(value) and 0.05 <= value <= 15 else None


def read_uxd(text: str, name: str, *, wavelength_ang: float | None) -> Pattern:
    """Read the first range of a Bruker UXD: ``_KEY = value`` lines, then counts alone or pairs of 2theta and counts.

    Raises:
        InvalidInput: no data, a line that is none, no start or step.
    """
    keys: dict[str, str] = {}
    lines = lines_of(text)
    begin = next((at for at, line in enumerate(lines) if _UXD_DATA.match(line.strip())), None)
    if begin is None:
        raise InvalidInput("the UXD file has no _COUNTS, _CPS, _2THETACOUNTS or _2THETACPS")
    for line in lines[:begin]:
        if key := _UXD_KEY.match(line.strip()):
            keys[key[1].upper()] = key[2].strip().strip("'\"")
    drive = keys.get("DRIVE", "COUPLED").upper()
    if drive not in {"COUPLED", "2THETA", "TWOTHETA"}:
        raise InvalidInput(f"the UXD file is a scan of {quoted(drive)}, expected COUPLED or 2THETA")
    marker = _UXD_DATA.match(lines[begin].strip())
    paired = marker is not None and marker[1] is not None
    values = np.array(_uxd_values(lines, begin + 1, paired))
    if paired:
        values = values.reshape(-1, 2)
        position, counts = values[:, 0], values[:, 1]
    else:
        start, step = _uxd_number(keys, "START", "2THETA"), _uxd_number(keys, "STEPSIZE")
        position, counts = start + step * np.arange(len(values)), values
    seconds = (
        float(keys["STEPTIME"]) if marker and marker[2].upper() == "CPS" and _is_number(keys.get("STEPTIME")) else 0
    )
    wave = _sane(float(keys["WL1"])) if _is_number(keys.get("WL1")) else None
    return make_pattern(
        position,
        counts,
        np.sqrt(np.maximum(counts, 1 / seconds) / seconds) if seconds > 0 else None,
        wavelength_ang=wavelength_ang or wave,
        doublet=_text_doublet(keys, ("WL1", "WL2", "WLRATIO")) if wavelength_ang in (None, wave) else None,
        name=keys.get("SAMPLE", "")[:80] or name,
    )


def _uxd_values(lines: list[str], begin: int, paired: bool) -> list[float]:
    values: list[float] = []
    for number, raw in enumerate(lines[begin:], start=begin + 1):
        line = raw.strip()
        if not line or line.startswith(";"):
            continue
        if line.startswith("_"):
            break
        try:
            row = [float(part) for part in re.split(r"[\s,;]+", line.strip(" ,;"))]
        except ValueError:
            row = []
        if not row or (paired and len(row) % 2):
            raise InvalidInput(f"line {number} reads {quoted(line)}, expected {'pairs of ' * paired}numbers")
        values.extend(row)
        if len(values) > 2 * MAX_POINTS:
            raise TooLarge(f"more than {MAX_POINTS} points; at most so many are read")
    return values


def _uxd_number(keys: dict[str, str], *names: str) -> float:
    for name in names:
        if _is_number(keys.get(name)):
            return float(keys[name])
    raise InvalidInput(f"the UXD file gives no number for _{names[0]}")


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and math.isfinite(float(text))
    except ValueError:
        return False


def _text_doublet(keys: dict[str, str], names: tuple[str, str, str]) -> Doublet | None:
    values = [float(keys[name]) if _is_number(keys.get(name)) else None for name in names]
    alpha1, alpha2, ratio = values[0], values[1], 0.5 if values[2] is None else values[2]
    if alpha1 is None or alpha2 is None or not (_sane(alpha1) and alpha1 < alpha2 < 1.05 * alpha1 and 0 < ratio <= 1):
        return None
    return Doublet(alpha1, alpha2, ratio)


def read_ras(content: bytes, name: str, *, wavelength_ang: float | None) -> Pattern:
    """Read the first scan of a Rigaku RAS: ``*KEY "value"`` lines, then 2theta, counts and the absorber's factor.

    Raises:
        InvalidInput: no data, a line that is none.
        UnsupportedFormat: binary content.
    """
    keys: dict[str, str] = {}
    rows: list[list[float]] = []
    inside = False
    for number, raw in enumerate(lines_of(decoded(content)), start=1):
        line = raw.strip()
        if line.startswith("*RAS_INT_START"):
            inside = True
        elif line.startswith("*RAS_INT_END"):
            break
        elif inside and line:
            rows.append(_ras_row(number, line))
        elif key := _RAS_KEY.match(line):
            keys.setdefault(key[1].upper(), key[2].strip())
        if len(rows) > MAX_POINTS:
            raise TooLarge(f"more than {MAX_POINTS} points; at most so many are read")
    if not rows:
        raise InvalidInput("the RAS file has no rows between *RAS_INT_START and *RAS_INT_END")
    table = np.array(rows)
    factor = table[:, 2]
    prefix = "HW_XG_WAVE_LENGTH_ALPHA"
    wave = _sane(float(keys[f"{prefix}1"])) if _is_number(keys.get(f"{prefix}1")) else None
    return make_pattern(
        table[:, 0],
        table[:, 1] * factor,
        None if bool(np.all(factor == 1)) else np.sqrt(np.maximum(table[:, 1], 1)) * factor,
        wavelength_ang=wavelength_ang or wave,
        doublet=_text_doublet(keys, (f"{prefix}1", f"{prefix}2", "")) if wavelength_ang in (None, wave) else None,
        name=keys.get("FILE_SAMPLE", "")[:80] or name,
    )


def _ras_row(number: int, line: str) -> list[float]:
    try:
        row = [float(part) for part in line.split()]
    except ValueError:
        row = []
    if len(row) not in (2, 3):
        raise InvalidInput(f"line {number} reads {quoted(line)}, expected 2theta, counts and the absorber's factor")
    return [*row, 1.0][:3]


def refuse_binary(content: bytes) -> None:
    """Raise `UnsupportedFormat` with a way out for the binary and zipped kinds that are known and not read."""
    for magic, what in _NOT_READ:
        if content.startswith(magic):
            raise UnsupportedFormat(f"{what} is not read; {CONVERT}")


CONVERT: Final = (
    "export the pattern as two columns (.xy, .xye, .csv), GSAS, .xrdml, .uxd or .ras from the diffractometer's program "
    "(or convert it with PowDLL or xylib's xyconv)"
)
_NOT_READ: Final = (
    (b"RAW4.00", "Bruker RAW of version 4"),
    (b"RAW2", "Bruker RAW of version 2"),
    (b"RAW ", "Bruker RAW of version 1"),
    (b"FI\0\0", "Rigaku's binary RAW"),
    (b"HR-XRDScan", "Philips' binary RD/SD"),
    (b"V3RD", "Philips RD"),
    (b"V5RD", "Philips RD"),
    (b"PK\x03\x04", "a zip archive (Bruker .brml, Rigaku .rasx)"),
    (b"\x89HDF", "HDF5/NeXus"),
)
