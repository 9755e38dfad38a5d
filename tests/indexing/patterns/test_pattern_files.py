"""Readers of patterns: one pattern in every format comes out the same; damage is named by its line."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from app.errors import AppError, InvalidInput, TooLarge, UnsupportedFormat
from app.indexing.patterns.pattern import Axis, make_pattern
from app.indexing.patterns.pattern_columns import read_line_list
from app.indexing.patterns.pattern_files import MAX_BYTES, read_pattern

N = 120
X = 10 + 0.02 * np.arange(N)
Y = np.round(50 + 400 * np.exp(-0.5 * ((X - 11.2) / 0.06) ** 2))
E = np.round(np.sqrt(Y), 3)


def rows(form: str = "{x:.4f} {y:.0f}", *, turned: bool = False) -> str:
    order = range(N - 1, -1, -1) if turned else range(N)
    return "".join(form.format(x=X[i], y=Y[i], e=E[i]) + "\n" for i in order)


def german(text: str) -> str:
    return text.replace(".", ",")


def esd_rows(values: list[str], per_line: int) -> str:
    lines = ["".join(values[at : at + per_line]) for at in range(0, len(values), per_line)]
    return "\n".join(f"{line:<80}" for line in lines) + "\n"


GSAS_ESD = f"title\nBANK 1 {N} {N // 5} CONST 1000.0 2.0 0 0 ESD\n" + esd_rows(
    [f"{y:8.1f}{e:8.3f}" for y, e in zip(Y, E, strict=True)], 5
)
GSAS_STD = f"title\nBANK 1 {N} {N // 10} CONST 1000.0 2.0 0 0 STD\n" + esd_rows([f"  {y:6.0f}" for y in Y], 10)
GSAS_FXYE = f"title\n# more\nBANK 1 {N} {N} CONS 1000.0 2.0 0 0 FXYE\n" + "".join(
    f"{100 * x:12.4f} {y:12.2f} {e:10.3f}\n" for x, y, e in zip(X, Y, E, strict=True)
)
STEPPED = "a sample\n10.0 0.02 12.38\n" + "\n".join(
    " ".join(f"{y:.0f}" for y in Y[at : at + 10]) for at in range(0, N, 10)
)
CHI = f"quartz\n2-Theta Angle (Degrees)\nIntensity\n    {N}\n" + rows(" {x:.6e} {y:.6e}")

TEXTS = {
    "a.xy": rows(),
    "tabs.xy": rows("{x:.4f}\t{y:.0f}"),
    "descending.xy": rows(turned=True),
    "crlf.xy": rows().replace("\n", "\r\n"),
    "old mac.xy": rows().replace("\n", "\r"),
    "comments.dat": "# one\n! two\n' three\n; four\n" + rows("{x:.4f}   {y:.0f}  # point"),
    "headed.csv": "Angle,Intensity\n" + rows("{x:.4f},{y:.0f}"),
    "sections.csv": '[Measurement conditions]\nSample identification,"X"\n\n[Scan points]\nAngle,Intensity\n'
    + rows("{x:.4f},{y:.0f}"),
    "excel.csv": "\ufeffAngle;Counts\n" + german(rows("{x:.4f};{y:.1f}")),
    "german.xy": german(rows("{x:.4f} {y:.1f}")),
    "trailing.csv": rows("{x:.4f},{y:.0f},"),
    "pyfai.chi": CHI,
    "stepped.dat": STEPPED,
    "g.gsa": GSAS_ESD,
    "std.raw": GSAS_STD,
    "f.fxye": GSAS_FXYE,
    "e.xye": rows("{x:.4f} {y:.0f} {e:.3f}"),
    "three.dat": rows("{x:.4f} {y:.0f} {e:.3f}"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_formats_hold_one_pattern(name: str) -> None:
    pattern = read_pattern(TEXTS[name].encode(), name)
    assert pattern.two_theta_deg == pytest.approx(X, abs=1e-6)
    assert pattern.counts == pytest.approx(Y)
    assert pattern.name == name


@pytest.mark.parametrize("name", ["e.xye", "three.dat", "g.gsa", "f.fxye"])
def test_standard_deviations_are_read(name: str) -> None:
    assert read_pattern(TEXTS[name].encode(), name).sigma == pytest.approx(E, abs=1e-3)


def test_a_third_column_that_is_no_standard_deviation_is_left_out_with_a_word() -> None:
    pattern = read_pattern(rows("{x:.4f} {y:.0f} {y:.0f}").encode(), "calc.dat")
    assert pattern.sigma is None
    assert "third column" in pattern.warnings[0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_encodings(encoding: str) -> None:
    text = "# d\u00e9tecteur, \u00b0\n" + rows()
    assert read_pattern(text.encode(encoding), "x.xy").counts == pytest.approx(Y)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("# Wavelength: 1.5406", 1.5406),
        ("# wavelength = 0.41283 Å", 0.41283),
        ("# Wavelength: 4.1283e-11 m", 0.41283),
        ("! lambda 0.15406 nm", 1.5406),
        ("# sample one", None),
    ],
)
def test_the_wavelength_in_a_header(header: str, expected: float | None) -> None:
    found = read_pattern(f"{header}\n{rows()}".encode(), "x.xy").wavelength_ang
    assert found == pytest.approx(expected)
    assert read_pattern(f"{header}\n{rows()}".encode(), "x.xy", wavelength_ang=2.0).wavelength_ang == 2.0


@pytest.mark.parametrize(
    ("axis", "position"),
    [
        ("q_inv_ang", lambda q: q),
        ("q_2pi_inv_ang", lambda q: 2 * np.pi * q),
        ("q_2pi_inv_nm", lambda q: 20 * np.pi * q),
        ("d_ang", lambda q: 1 / q),
    ],
)
def test_axes_are_changes_of_variable(axis: Axis, position: object) -> None:
    q = 2 * np.sin(np.radians(X / 2)) / 1.5406
    values = position(q)  # type: ignore[operator]
    assert make_pattern(values, Y, axis=axis, wavelength_ang=1.5406).two_theta_deg == pytest.approx(X)
    nominal = make_pattern(values, Y, axis=axis)
    assert nominal.nominal
    assert nominal.wavelength_ang is not None
    assert 2 * np.sin(np.radians(nominal.two_theta_deg / 2)) / nominal.wavelength_ang == pytest.approx(q)


def test_a_header_names_the_axis() -> None:
    q = 4 * np.pi * np.sin(np.radians(X / 2)) / 1.5406
    text = "# q_A^-1  I\n" + "".join(f"{a:.6f} {b:.0f}\n" for a, b in zip(q, Y, strict=True))
    assert read_pattern(text.encode(), "i.dat", wavelength_ang=1.5406).two_theta_deg == pytest.approx(X, abs=1e-4)


XRDML = """<?xml version="1.0" encoding="UTF-8"?>
<xrdMeasurements xmlns="http://www.xrdml.com/XRDMeasurement/1.5" status="Completed">
<sample type="To be analyzed"><id>LaB6</id></sample>
<xrdMeasurement><usedWavelength intended="{intended}"><kAlpha1 unit="Angstrom">1.5405980</kAlpha1>
<kAlpha2 unit="Angstrom">1.5444260</kAlpha2><kBeta unit="Angstrom">1.39</kBeta>
<ratioKAlpha2KAlpha1>0.5</ratioKAlpha2KAlpha1></usedWavelength>
<scan scanAxis="Gonio"><dataPoints>
<positions axis="2Theta" unit="deg">{positions}</positions>
<positions axis="Omega" unit="deg"><startPosition>5</startPosition><endPosition>6</endPosition></positions>
<commonCountingTime unit="seconds">2.0</commonCountingTime>{more}
<{tag} unit="{unit}">{values}</{tag}></dataPoints></scan></xrdMeasurement></xrdMeasurements>"""
ENDS = f"<startPosition>{X[0]}</startPosition><endPosition>{X[-1]}</endPosition>"
LISTED = "<listPositions>" + " ".join(f"{x:.5f}" for x in X) + "</listPositions>"


def xrdml(**changes: str) -> bytes:
    values = {
        "intended": "K-Alpha",
        "positions": ENDS,
        "more": "",
        "tag": "intensities",
        "unit": "counts",
        "values": " ".join(f"{y:.0f}" for y in Y),
    }
    return XRDML.format(**{**values, **changes}).encode()


@pytest.mark.parametrize("positions", [ENDS, LISTED])
@pytest.mark.parametrize("tag", ["intensities", "counts"])
def test_xrdml(positions: str, tag: str) -> None:
    pattern = read_pattern(xrdml(positions=positions, tag=tag), "x.xrdml")
    assert pattern.two_theta_deg == pytest.approx(X)
    assert pattern.counts == pytest.approx(Y)
    assert pattern.name == "LaB6"
    assert pattern.wavelength_ang == 1.540598
    assert pattern.doublet is not None
    assert pattern.doublet.alpha2_ang == 1.544426


def test_xrdml_behind_a_monochromator_has_no_doublet() -> None:
    pattern = read_pattern(xrdml(intended="K-Alpha 1"), "x.xrdml")
    assert pattern.monochromatic
    assert pattern.doublet is None


def test_xrdml_absorber_factors_multiply_raw_counts_only() -> None:
    more = "<beamAttenuationFactors>" + " ".join(["10"] * N) + "</beamAttenuationFactors>"
    raw, corrected = (read_pattern(xrdml(more=more, tag=tag), "x") for tag in ("counts", "intensities"))
    assert raw.counts == pytest.approx(10 * Y)
    assert raw.sigma == pytest.approx(10 * np.sqrt(Y))
    assert corrected.counts == pytest.approx(Y)
    assert corrected.sigma == pytest.approx(np.sqrt(10 * Y))


BOMB = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
EXTERNAL = b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>'


@pytest.mark.parametrize("content", [BOMB, EXTERNAL])
def test_xml_with_declarations_is_refused(content: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match="entities"):
        read_pattern(content, "x.xrdml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (xrdml()[:-200], "cannot be read"),
        (xrdml(values="1 2 three"), "not a number"),
        (xrdml(positions="<commonPosition>30</commonPosition>"), "2Theta"),
        (xrdml(positions="<listPositions>1 2 3</listPositions>"), "3 positions and 120 counts"),
        (b"<a>" * 100, "deeper"),
    ],
)
def test_damaged_xrdml(content: bytes, message: str) -> None:
    with pytest.raises(AppError, match=message):
        read_pattern(content, "x.xrdml")


def bruker_raw(*, supplementary: int = 40, n_points: int = N, magic: bytes = b"RAW1.01") -> bytes:
    """Pack fields at the offsets of the manual."""
    header = bytearray(712)
    header[: len(magic)] = magic
    struct.pack_into("<I", header, 12, 1)
    header[326:331] = b"LaB6\0"
    struct.pack_into("<ddddd", header, 616, 1.5418, 1.5406, 1.54439, 1.39222, 0.5)
    scan = bytearray(304)
    struct.pack_into("<IIdd", scan, 0, 304, n_points, X[0] / 2, X[0])
    struct.pack_into("<d", scan, 176, 0.02)
    struct.pack_into("<f", scan, 192, 1.0)
    struct.pack_into("<d", scan, 240, 1.5406)
    struct.pack_into("<I", scan, 256, supplementary)
    return bytes(header) + bytes(scan) + bytes(supplementary) + Y.astype("<f4").tobytes()


@pytest.mark.parametrize("supplementary", [0, 40])
def test_bruker_raw_of_version_3(supplementary: int) -> None:
    pattern = read_pattern(bruker_raw(supplementary=supplementary), "x.raw")
    assert pattern.two_theta_deg == pytest.approx(X)
    assert pattern.counts == pytest.approx(Y)
    assert pattern.name == "LaB6"
    assert pattern.doublet is not None
    assert (pattern.wavelength_ang, pattern.doublet.alpha2_ang) == (1.5406, 1.54439)


@pytest.mark.parametrize("content", [bruker_raw()[:500], bruker_raw()[:-10], bruker_raw(n_points=4_000_000_000)])
def test_damaged_bruker_raw(content: bytes) -> None:
    with pytest.raises((InvalidInput, TooLarge)):
        read_pattern(content, "x.raw")


@pytest.mark.parametrize("magic", [b"RAW4.00", b"RAW2", b"RAW ", b"FI\0\0", b"PK\x03\x04", b"\x89HDF\r\n"])
def test_formats_that_are_not_read_say_how_to_convert(magic: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match="export the pattern as two columns"):
        read_pattern(magic + bytes(2000), "x.raw")


@pytest.mark.parametrize(
    "data",
    [
        "_START = 10.0\n_STEPSIZE = 0.02\n_COUNTS\n" + "\n".join(f"{y:.0f}" for y in Y),
        "_STEPSIZE=0.02\n_2THETACOUNTS = 2\n" + rows(),
    ],
)
def test_uxd(data: str) -> None:
    head = (
        "; C:\\data.raw\n_FILEVERSION=2\n_SAMPLE='LaB6'\n_WL1=1.540600\n_WL2=1.544390\n_WLRATIO=0.5\n_DRIVE='COUPLED'\n"
    )
    pattern = read_pattern((head + data).encode(), "x.uxd")
    assert pattern.two_theta_deg == pytest.approx(X)
    assert pattern.counts == pytest.approx(Y)
    assert (pattern.name, pattern.wavelength_ang) == ("LaB6", 1.5406)
    assert pattern.doublet is not None


def test_a_uxd_of_another_drive_is_refused() -> None:
    with pytest.raises(InvalidInput, match="PHI"):
        read_pattern(f"_FILEVERSION=2\n_DRIVE='PHI'\n_2THETACOUNTS\n{rows()}".encode(), "x.uxd")


def test_ras() -> None:
    head = "*RAS_DATA_START\n*RAS_HEADER_START\n"
    head += '*HW_XG_WAVE_LENGTH_ALPHA1 "1.540593"\n*FILE_SAMPLE "LaB6"\n*RAS_HEADER_END\n'
    text = f"{head}*RAS_INT_START\n{rows('{x:.4f} {y:.1f} 1.0000')}*RAS_INT_END\n*RAS_DATA_END\n"
    pattern = read_pattern(text.encode(), "x.ras")
    assert pattern.two_theta_deg == pytest.approx(X)
    assert pattern.counts == pytest.approx(Y)
    assert (pattern.name, pattern.wavelength_ang) == ("LaB6", 1.540593)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        ("hello\nworld\n", "no row of 2"),
        (rows() + "what is this\n" + rows(), "line 121 reads 'what is this'"),
        (rows() + "12.5\n" + rows(), "line 121 reads '12.5', 1 number,"),
        (rows() + rows(), "ascend or descend"),
        (rows().replace("11.0000 ", "nan "), "line 51 holds a value that is not a finite number"),
        (rows("{x:.4f} 7"), "no pattern"),
        ("10 5\n11 7\n12 3\n", "a list of lines goes where peaks"),
        (rows("2{x:.4f} {y:.0f}"), "180 degrees"),
        (german(rows("{x:.4f},{y:.1f}")), "decimal comma"),
        ("title\nBANK 1 120 12 SLOG 1000.0 2.0 0 0 FXYE\n", "time-of-flight"),
        ("title\nBANK 1 120 12 CONST 1000.0 2.0 0 0 ALT\n", "not read"),
        ("title\nBANK 1 9999 12 CONST 1000.0 2.0 0 0 ESD\n" + GSAS_ESD.split("\n", 2)[2], "cut short"),
        ("title\nBANK 1 120 120 CONST 1000.0 2.0 0 0 FXYE\n1000.0 5.0\n", "line 3 reads"),
        ("title\nBANK 1 120 12 CONST abc 2.0 0 0 ESD\n", "line 2: start and step"),
        ("title\nBANK 1 99999999 12 CONST 1000.0 2.0 0 0 ESD\n", "at most"),
        ("x" * 3000 + "\n" + rows(), "line 1 has 3000 characters"),
    ],
)
def test_what_is_wrong_is_said(content: str, message: str) -> None:
    with pytest.raises(AppError, match=message):
        read_pattern(content.encode(), "x.xy")


def test_limits() -> None:
    with pytest.raises(TooLarge, match="bytes"):
        read_pattern(b"1" * (MAX_BYTES + 1), "x.xy")
    with pytest.raises(TooLarge, match="rows"):
        read_pattern(b"".join(b"%d 1\n" % at for at in range(200_002)), "x.xy")


def test_no_path_is_shown() -> None:
    with pytest.raises(InvalidInput, match=r"^x\.xy: ") as caught:
        read_pattern(b"hello", "/home/user/x.xy")
    assert "/home" not in caught.value.message


def test_a_wavelength_in_nm_gets_a_hint() -> None:
    with pytest.raises(InvalidInput, match=r"wavelength is 0\.015406, expected"):
        read_pattern(rows().encode(), "x.xy", wavelength_ang=0.015406)


@pytest.mark.parametrize(
    ("text", "position", "intensity", "sigma"),
    [
        ("10.1\n20.2\n30.3\n", [10.1, 20.2, 30.3], None, None),
        ("10.1 100\n20.2 50\n", [10.1, 20.2], [100, 50], None),
        ("10.1,100,0.01\n20.2,50,0.02\n", [10.1, 20.2], [100, 50], [0.01, 0.02]),
        ("# 2theta sigma I\n10.1 0.01 100\n20.2 0.02 50\n", [10.1, 20.2], [100, 50], [0.01, 0.02]),
        ("two_theta_deg,esd\n10.1,0.01\n20.2,0.02\n", [10.1, 20.2], None, [0.01, 0.02]),
        ("10,1\t100\n20,2\t50\n", [10.1, 20.2], [100, 50], None),
    ],
)
def test_lists_of_lines(
    text: str, position: list[float], intensity: list[float] | None, sigma: list[float] | None
) -> None:
    found = read_line_list(text.encode())
    assert found.position.tolist() == position
    assert (None if found.intensity is None else found.intensity.tolist()) == intensity
    assert (None if found.sigma is None else found.sigma.tolist()) == sigma


@pytest.mark.parametrize(
    ("header", "axis"),
    [("d_ang", "d_ang"), ("# 2-theta", "two_theta_deg"), ("q_inv_ang", "q_inv_ang"), ("# lines", None)],
)
def test_a_list_may_name_its_axis(header: str, axis: str | None) -> None:
    assert read_line_list(f"{header}\n1.5\n2.5\n".encode()).axis == axis


def test_a_list_with_code_in_it_is_text() -> None:
    with pytest.raises(InvalidInput, match="line 2"):
        read_line_list(b"1.5\n__import__('os').system('true')\n2.5\n")
