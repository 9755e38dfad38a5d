"""Files that are small on the wire and large in memory are refused, and refusing them takes little memory itself."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile

from app import zip_bounds
from app.aggregates.files import read_images
from app.array_files.npz import open_npz
from app.errors import AppError, InvalidInput, TooLarge, UnsupportedFormat
from app.indexing.patterns import peak_fit
from app.indexing.patterns.pattern import make_pattern
from app.indexing.patterns.pattern_columns import MAX_LINE_LENGTH, MAX_TEXT_LINES
from app.indexing.patterns.pattern_files import read_pattern
from app.indexing.patterns.pattern_xrdml import MAX_ELEMENTS
from app.indexing.patterns.peak_search import search_peaks
from app.polarization.archive import MAX_LINES
from app.polarization.upload import read_upload
from app.waveform.files import array_from_file
from app.waveform.intake import MAX_SAMPLES, Intake, take
from app.zip_bounds import MAX_DIRECTORY_BYTES
from app.zip_files import Limits, unzip

MIB = 1024**2


@contextmanager
def at_most(n_bytes: int) -> Iterator[None]:
    """Hold the memory that the block takes, beyond what there is, against a limit."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < n_bytes


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def said_to_be_small(content: bytes, size: int) -> bytes:
    """A zip whose directory lies about what its one file unpacks to."""
    at = content.rfind(b"PK\x01\x02")
    return content[: at + 24] + struct.pack("<I", size) + content[at + 28 :]


# --- zips -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "LZMA"])
def test_what_is_unpacked_without_a_bound_is_not_unpacked(method: int) -> None:
    bomb = said_to_be_small(zipped({"a.fli": bytes(16 * MIB)}, method), 1000)
    assert len(bomb) < MIB // 8
    with at_most(2 * MIB):
        for read in (lambda: unzip(bomb, Limits(), lambda _: ""), lambda: read_upload([("a.zip", bomb)])):
            with pytest.raises(UnsupportedFormat, match="Deflate"):
                read()
        with pytest.raises(UnsupportedFormat), open_npz(bomb):
            pass


def test_a_deflated_file_that_is_larger_than_said_is_not_unpacked_whole() -> None:
    bomb = said_to_be_small(zipped({"a.fli": bytes(16 * MIB)}), 1000)
    with at_most(4 * MIB), pytest.raises(AppError):
        unzip(bomb, Limits(), lambda _: "")


def test_a_directory_that_is_too_long_is_not_read() -> None:
    member = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    many = member * (MAX_DIRECTORY_BYTES // len(member) + 1)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 9, 9, len(many), 0, 0)
    bomb = many + end
    for content in (bomb, bomb[:-2] + b"\x09\x00a comment"):
        with at_most(MIB), pytest.raises(TooLarge, match="directory"), zip_bounds.open_zip(content):
            pass


def test_a_second_directory_of_the_large_kind_is_not_looked_for() -> None:
    content = zipped({"a": b"b"})
    at = content.rfind(b"PK\x05\x06")
    locator = b"PK\x06\x07" + bytes(16)
    with pytest.raises(TooLarge, match="65,535"), zip_bounds.open_zip(content[:at] + locator + content[at:]):
        pass


def test_a_zip_with_a_comment_is_read() -> None:
    stream = io.BytesIO(zipped({"a": b"b"}))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.comment = b"packed at night" * 20
    with zip_bounds.open_zip(stream.getvalue()) as archive:
        assert archive.read("a") == b"b"


# --- arrays -----------------------------------------------------------------------------------------------------------


def test_texts_of_any_length_are_not_unpacked_for_numbers() -> None:
    header = b"{'descr': '<U9999', 'fortran_order': False, 'shape': (2000,), }".ljust(117) + b"\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(16 * MIB)
    bomb = zipped({"a.npy": npy})
    with at_most(4 * MIB):
        for read in (lambda: array_from_file(bomb, "a", 10**6), lambda: read_images(bomb)):
            with pytest.raises(AppError):
                read()


def test_the_second_header_of_a_png_does_not_go_before_the_first() -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    def header(side: int) -> bytes:
        return chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0))

    rows = zlib.compress(bytes(4500 * (2 * 4500 + 1)), 9)
    bomb = b"\x89PNG\r\n\x1a\n" + header(16) + header(4500) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert len(bomb) < MIB
    with at_most(8 * MIB), pytest.raises(InvalidInput, match="two headers"):
        read_images(bomb)


def test_a_page_of_a_tiff_has_rows_and_columns_alone() -> None:
    stream = io.BytesIO()
    tifffile.imwrite(
        stream, np.zeros((4, 16, 16), np.uint8), volumetric=True, tile=(4, 16, 16), photometric="minisblack"
    )
    with pytest.raises(AppError):
        read_images(stream.getvalue())


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n" * (MAX_TEXT_LINES + 1), "lines of text"),
        ("a\r" * (MAX_TEXT_LINES + 1), "lines of text"),
        ("#" + "wavelength" * MAX_LINE_LENGTH + "\n1 2\n", "line 1 has"),
        ("BANK 1 9 9 CONS 0 1 0 0 STD\n" + "1 " * MAX_LINE_LENGTH, "line 2 has"),
        ("<x>" + "<y/>" * MAX_ELEMENTS + "</x>", "elements"),
    ],
    ids=["lines", "lines of old Macs", "a line", "a line of GSAS", "XML"],
)
def test_a_text_that_is_too_long(text: str, said: str) -> None:
    with pytest.raises(TooLarge, match=said):
        read_pattern(text.encode())


def test_a_bank_without_a_line_of_its_own_is_no_bank() -> None:
    with pytest.raises(InvalidInput):
        read_pattern(b"BANK 1\n1 2 3\n")


@pytest.mark.parametrize("ending", ["fli", "txt"])
def test_a_small_zip_of_many_lines(ending: str) -> None:
    line = "1 0 0 2 01/01/25 00:00 1 0.9000 0.0010 20.000 0.2000 60 a remark\n"
    files = {f"{n}.{ending}": (line * (MAX_LINES // 4)).encode() for n in range(5)}
    with pytest.raises(TooLarge):  # by the lines of all, or by how well it packs
        read_upload([("a.zip", zipped(files))])
    loose = list(files.items())
    with pytest.raises(TooLarge, match="lines in all files"):
        read_upload(loose)


def test_a_search_for_lines_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The finest pattern that is read, with as many lines as there is room for, would keep a processor for minutes."""
    x = np.arange(10.0, 60.0, 0.02)
    counts = 1e4 * np.exp(-0.5 * ((x % 5 - 2.5) / 0.1) ** 2)
    pattern = make_pattern(x, np.round(counts) + 100, wavelength_ang=1.5)
    assert len(search_peaks(pattern).two_theta_deg) == 10
    monkeypatch.setattr(peak_fit, "MAX_SEARCH_S", -1.0)
    with pytest.raises(TooLarge, match="send fewer points"):
        search_peaks(pattern)


def test_steps_of_next_to_nothing_are_searched() -> None:
    x = np.concatenate([np.arange(1, 400) * 1e-310, np.linspace(10.0, 20.0, 300)])
    counts = np.full(x.size, 100.0) + 900 * np.exp(-0.5 * ((x - 15) / 0.1) ** 2)
    with at_most(64 * MIB):
        search_peaks(make_pattern(x, np.round(counts), wavelength_ang=1.5))


# --- waveforms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "period_ns"), [(MAX_SAMPLES + 1, 10.0), (MAX_SAMPLES + 1, 0.1), (5000, 2000.0), (MAX_SAMPLES, 11.0)]
)
def test_a_record_that_is_too_long(samples: int, period_ns: float) -> None:
    with pytest.raises(TooLarge, match="cut out the part"):
        take(np.zeros((1, samples), np.uint8), Intake(period_ns, "resample"))


def test_the_longest_record_takes_little_memory() -> None:
    waveform = np.zeros((1, MAX_SAMPLES))
    waveform[0, 250_000:250_100] = 1.0
    with at_most(100 * MIB):
        assert take(waveform, Intake(10.0, "resample")).samples.max() == 1.0
