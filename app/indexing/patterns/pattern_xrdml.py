"""PANalytical XRDML, XML of the X'Pert and Empyrean diffractometers (schemas 1.x and 2.x)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, NoReturn
from xml.parsers import expat

import numpy as np

from app.errors import InvalidInput, TooLarge, UnsupportedFormat
from app.indexing.patterns.pattern import MAX_POINTS, Doublet, Pattern, make_pattern

MAX_DEPTH: Final = 64
MAX_ELEMENTS: Final = 100_000
MAX_VALUES: Final = 4 * MAX_POINTS


@dataclass
class _Scan:
    start: float | None = None
    end: float | None = None
    listed: np.ndarray | None = None
    counts: np.ndarray | None = None
    raw: bool = False
    attenuation: np.ndarray | None = None
    axis: str = ""
    unit: str = "counts"
    counting_s: float | None = None


@dataclass
class _File:
    """What the handlers gather while the parser runs."""

    wavelengths: dict[str, float] = field(default_factory=dict)
    intended: str = ""
    name: str = ""
    scans: list[_Scan] = field(default_factory=list)


def read_xrdml(content: bytes, name: str, *, wavelength_ang: float | None) -> Pattern:
    """Read the first scan over 2theta.

    Wavelength and doublet are those of ``usedWavelength``: K-alpha 1 alone behind a monochromator, both K-alpha lines
    where the file intends them.

    Raises:
        InvalidInput: XML that cannot be read, with its line; no scan over 2theta; positions and counts that differ.
        UnsupportedFormat: XML with a document type or entities.
        TooLarge: too many values or elements, too deeply nested.
    """
    found = _parsed(content)
    scans = [
        scan for scan in found.scans if scan.counts is not None and (scan.listed is not None or scan.end != scan.start)
    ]
    if not scans:
        raise InvalidInput("the XRDML file holds no scan over 2Theta with counts or intensities")
    scan = scans[0]
    counts, sigma = _counts(scan)
    alpha1, doublet, single = _radiation(found)
    return make_pattern(
        _two_theta(scan, len(counts)),
        counts,
        sigma,
        wavelength_ang=wavelength_ang or alpha1,
        doublet=doublet if wavelength_ang in (None, alpha1) else None,
        monochromatic=single,
        name=found.name or name,
        warnings=(f"the file holds {len(scans)} scans; the first was read",) if len(scans) > 1 else (),
    )


def _counts(scan: _Scan) -> tuple[np.ndarray, np.ndarray | None]:
    """Counts on the scale without absorber and, where they are not plain counts, their standard deviation.

    ``intensities`` are already multiplied by the absorber's factors, the raw ``counts`` of schema 2 are not.
    """
    values = scan.counts if scan.counts is not None else np.empty(0)
    factor = np.ones(len(values))
    if scan.attenuation is not None and len(scan.attenuation) == len(values):
        factor = scan.attenuation
    if scan.raw:
        values = values * factor
    per_second = scan.counting_s if scan.unit == "cps" and scan.counting_s else 1.0
    if per_second == 1.0 and bool(np.all(factor == 1)):
        return values, None
    scale = factor / per_second
    return values, np.sqrt(np.maximum(values, scale) * scale)


def _radiation(found: _File) -> tuple[float | None, Doublet | None, bool]:
    """K-alpha1, the doublet where both lines are in the beam, and whether one line alone is."""
    alpha1, alpha2 = found.wavelengths.get("kAlpha1"), found.wavelengths.get("kAlpha2")
    ratio = found.wavelengths.get("ratioKAlpha2KAlpha1", 0.5)
    single = found.intended.replace(" ", "").lower() in {"k-alpha1", "kalpha1"} or ratio == 0
    if alpha1 is None or alpha2 is None or single:
        return alpha1, None, single
    return alpha1, Doublet(alpha1, alpha2, ratio), False


def _two_theta(scan: _Scan, n_points: int) -> np.ndarray:
    if scan.listed is not None:
        if len(scan.listed) != n_points:
            raise InvalidInput(
                f"{len(scan.listed)} positions and {n_points} counts in the scan, expected as many of each"
            )
        return scan.listed
    if scan.start is None or scan.end is None:
        raise InvalidInput("the scan has no start and end position over 2Theta")
    return np.linspace(scan.start, scan.end, n_points)


def _parsed(content: bytes) -> _File:
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    _refuse_declarations(parser)
    gathered = _Gatherer(_File())
    parser.StartElementHandler = gathered.start
    parser.EndElementHandler = gathered.end
    parser.CharacterDataHandler = gathered.text
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise InvalidInput(f"line {error.lineno}: the XML cannot be read ({reason})") from None
    return gathered.file


def _refuse_declarations(parser: expat.XMLParserType) -> None:
    def refuse(*_: object) -> NoReturn:
        raise UnsupportedFormat("XML with a document type or entities is not read; XRDML has none")

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse


class _Gatherer:
    """Handlers of the parser: the path of open elements and the text of the innermost."""

    def __init__(self, file: _File) -> None:
        self.file = file
        self.path: list[str] = []
        self.pieces: list[str] = []
        self.count = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        local = tag.rpartition("}")[2]
        self.path.append(local)
        self.pieces = []
        self.count += 1
        if self.count > MAX_ELEMENTS:
            raise TooLarge(f"XML of more than {MAX_ELEMENTS} elements")
        if len(self.path) > MAX_DEPTH:
            raise TooLarge(f"XML nested deeper than {MAX_DEPTH} elements")
        if local == "scan":
            self.file.scans.append(_Scan())
        elif local == "usedWavelength":
            self.file.intended = attributes.get("intended", "")
        elif local == "positions" and self.file.scans:
            self.file.scans[-1].axis = attributes.get("axis", "")
        elif local in {"intensities", "counts"} and self.file.scans:
            self.file.scans[-1].unit = attributes.get("unit", "counts")

    def text(self, text: str) -> None:
        self.pieces.append(text)

    def end(self, tag: str) -> None:
        local = self.path.pop()
        text, self.pieces = "".join(self.pieces).strip(), []
        scan = self.file.scans[-1] if self.file.scans else None
        if local in {"kAlpha1", "kAlpha2", "ratioKAlpha2KAlpha1"} and "usedWavelength" in self.path:
            self.file.wavelengths.setdefault(local, _number(text, local))
        elif local == "id" and self.path[-1:] == ["sample"]:
            self.file.name = text[:80]
        elif scan is not None and "dataPoints" in self.path:
            _point_data(scan, local, text)


def _point_data(scan: _Scan, local: str, text: str) -> None:
    over_two_theta = scan.axis.replace(" ", "").lower() == "2theta"
    if local in {"intensities", "counts"}:
        scan.counts, scan.raw = _values(text, local), local == "counts"
    elif local == "beamAttenuationFactors":
        scan.attenuation = _values(text, local)
    elif local == "commonCountingTime":
        scan.counting_s = _number(text, local)
    elif over_two_theta and local == "startPosition":
        scan.start = _number(text, local)
    elif over_two_theta and local == "endPosition":
        scan.end = _number(text, local)
    elif over_two_theta and local == "listPositions":
        scan.listed = _values(text, local)


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidInput(f"{what} is '{text[:20]}', expected a number")
    return value


def _values(text: str, what: str) -> np.ndarray:
    parts = text.split(None, MAX_VALUES)
    if len(parts) > MAX_VALUES:
        raise TooLarge(f"more than {MAX_VALUES} {what}")
    try:
        return np.array(parts, dtype=float)
    except ValueError:
        raise InvalidInput(f"{what} holds a value that is not a number") from None
