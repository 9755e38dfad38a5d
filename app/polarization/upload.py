"""What a user uploads: `.fli` files, zips of them, and D3's pairs of text files, loose or in a zip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from app import zip_files
from app.errors import AppError, InvalidInput, TooLarge
from app.polarization.archive import DEFAULT_LIMITS, Unpacked, check_lines, unpack
from app.polarization.exchange import read_pair
from app.polarization.fli import DamagedLine
from app.polarization.segments import Segment, Survey, survey
from app.zip_files import Limits

MAX_FILES: Final = 64
_PARAMETERS: Final = "_Parameters.txt"


def read_upload(files: Sequence[tuple[str, bytes]], limits: Limits = DEFAULT_LIMITS) -> Survey:
    """Find the experiments in a user's files.

    Args:
        files: name and content of each. A text file whose name ends in `.txt` is half of a D3 pair,
            `<name>.txt` and `<name>_Parameters.txt`; any other text is read as a `.fli`.

    Returns:
        The `.fli` files' segments in order of time, then one accepted segment a pair. Only `.fli` files have dates:
        the segment of a pair has no ``installation``.

    Raises:
        InvalidInput: no file, a damaged or empty zip, half of a pair, a damaged pair.
        UnsupportedFormat: a file that is neither a zip nor text.
        TooLarge: beyond `limits` or `archive.MAX_LINES`, all files together.
    """
    if not 0 < len(files) <= MAX_FILES:
        raise InvalidInput(f"{len(files)} files were sent, expected 1 to {MAX_FILES}")
    texts: dict[str, str] = {}
    skipped: list[tuple[str, str]] = []
    for name, content in files:
        unpacked = _unpacked(name, content, limits)
        several_zips = content.startswith(zip_files.MAGICS) and len(files) > 1
        for member, text in unpacked.texts.items():
            texts[f"{name}/{member}" if several_zips else _free(member, texts)] = text
        skipped.extend(unpacked.skipped)
    if (total := sum(map(len, texts.values()))) > limits.total_bytes:
        raise TooLarge(f"{total} characters in all files, at most {limits.total_bytes} are read")
    check_lines(texts.values())
    return _surveyed(texts, tuple(skipped))


def _unpacked(name: str, content: bytes, limits: Limits) -> Unpacked:
    try:
        return unpack(content, name, limits, endings=(".fli", ".txt"))
    except AppError as error:
        raise type(error)(f"{name[-80:]}: {error.message}") from None


def _free(name: str, taken: dict[str, str]) -> str:
    return name if name not in taken else f"{name} ({len(taken)})"


def _surveyed(texts: dict[str, str], skipped: tuple[tuple[str, str], ...]) -> Survey:
    halves = {name: text for name, text in texts.items() if name.lower().endswith(".txt")}
    found = survey({name: text for name, text in texts.items() if name not in halves})
    pairs, lonely = _pairs(halves)
    if not found.segments and not pairs and lonely and not found.damaged:
        raise InvalidInput(
            f"{lonely[0][0][-80:]}: {lonely[0][1]}; a pair of D3 text files is <name>.txt and <name>{_PARAMETERS}"
        )
    read = [_read(name, measurements, parameters) for name, (measurements, parameters) in pairs.items()]
    damaged = tuple(item for item in read if not isinstance(item, Segment))
    segments = tuple(item for item in read if isinstance(item, Segment))
    return replace(
        found,
        segments=found.segments + segments,
        damaged=found.damaged + damaged,
        skipped=(*skipped, *lonely),
    )


def _pairs(halves: dict[str, str]) -> tuple[dict[str, tuple[str, str]], list[tuple[str, str]]]:
    """Measurements and parameters by common name, and the files without their other half."""
    stems = {name: name[: -len(_PARAMETERS)] for name in halves if name.lower().endswith(_PARAMETERS.lower())}
    measured = {name[: -len(".txt")]: name for name in halves if name not in stems}
    pairs = {stem: (halves[measured[stem]], halves[name]) for name, stem in stems.items() if stem in measured}
    lonely = [(name, "its measurements are missing") for name, stem in stems.items() if stem not in measured]
    lonely += [(name, f"its {_PARAMETERS} file is missing") for stem, name in measured.items() if stem not in pairs]
    return pairs, lonely


def _read(name: str, measurements: str, parameters: str) -> Segment | tuple[str, DamagedLine]:
    label = name.rpartition("/")[2]
    try:
        experiment = read_pair(measurements, parameters, label)
    except InvalidInput as error:
        return f"{name}.txt", DamagedLine(0, "", error.message)
    sources = (f"{name}.txt", f"{name}{_PARAMETERS}")
    return Segment(experiment, True, "", (), sources, None, experiment.reflection, (), ())
