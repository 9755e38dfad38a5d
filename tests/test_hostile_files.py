"""Every reader of files gives a result or an error of ours, whatever it is given, and takes little memory for it."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.aggregates.files import read_images, read_mask
from app.aggregates.stack import DEFAULT_OPTIONS, FileLimits
from app.errors import AppError
from app.indexing.patterns.pattern_files import read_pattern
from app.indexing.upload import FileOptions, is_line_list, question_from_upload, search_file
from app.indexing.upload import read_upload as read_lines
from app.polarization.archive import read_archive
from app.polarization.upload import read_upload
from app.waveform.files import array_from_file
from app.zip_files import Limits
from tests.aggregates.image_files import cxi, npy, npz, png, tiff
from tests.hostile import FEW, MANY, hostile, survives
from tests.indexing.patterns.test_pattern_files import LISTED, TEXTS, bruker_raw, xrdml
from tests.polarization.fli_writer import decay_rows, fli, header

SMALL: Final = Limits(members=50, file_bytes=200_000, total_bytes=400_000)
IMAGES: Final = FileLimits(images=10, pixels=10_000, values=100_000)
ITEMS: Final = 100_000
STACK: Final = np.random.default_rng(3).poisson(3.0, (3, 9, 12)).astype(np.uint16)

FLI: Final = fli(
    header(), decay_rows(), "! a remark", header("ge18012", role="analyser"), decay_rows(number=200)
).encode()
MEASURED: Final = (
    b"DeltaTime,PolarizationD3,SoftPolarizationD3,ErrPolarizationD3\n0.0,0.85,0.85,0.002\n3600.0,0.84,0.84,0.002\n"
    b"7200.0,0.83,0.83,0.002\n"
)
PARAMETERS: Final = b"CellID,Pressure,LabPolarization,LabTime\nge18004,2.3,0.79,-600\n"
AMORPHOUS: Final = (
    b"CellID,AnalyserID,PolariserPressure,AnalyserPressure,LabPolarization,LabTime\nge18004,ge18012,2.3,2.1,0.79,-6\n"
)
PAIR: Final = "PolarizationD3_polar_4_5_30_0_MillerIndex_(1,1,1)"
LINES: Final = b"# d_ang intensity sigma\n" + b"".join(b"%.4f %d 0.001\n" % (9.0 / n, 100 - n) for n in range(1, 25))
PKSLST: Final = (
    b"#GSAS-II PWDR peaks/single line\n[3.1, True, 120.0, True, 0.1, False, 0.0, False]\n"
    b"__import__('os').system('true')\n"
)
UXD: Final = (
    "; data\n_FILEVERSION=2\n_SAMPLE='LaB6'\n_WL1=1.5406\n_WL2=1.54439\n_WLRATIO=0.5\n_DRIVE='COUPLED'\n"
    "_STEPTIME=1\n_STEPSIZE=0.02\n_START=10\n_CPS\n" + "\n".join(str(n) for n in range(60))
).encode()
RAS: Final = (
    b"*RAS_DATA_START\n*RAS_HEADER_START\n*HW_XG_WAVE_LENGTH_ALPHA1 \"1.540593\"\n*FILE_SAMPLE \"LaB6\"\n"
    b"*RAS_HEADER_END\n*RAS_INT_START\n" + b"".join(b"%.2f %d 1.0\n" % (10 + n / 50, n) for n in range(60))
    + b"*RAS_INT_END\n*RAS_DATA_END\n"
)  # fmt: skip


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


ZIPS: Final = tuple(
    zipped({"a/polar.fli": FLI, f"{PAIR}.txt": MEASURED, f"{PAIR}_Parameters.txt": PARAMETERS, "b.pdf": b"x"}, method)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
)
CHIRP: Final = np.sin(np.linspace(0, 9, 40)).reshape(2, 20)


@dataclass(frozen=True)
class Reader:
    """A reader and what it takes."""

    read: Callable[[bytes], object]
    valid: tuple[bytes, ...]
    also: tuple[type[Exception], ...] = field(default=())


def pattern(*names: str) -> Reader:
    return Reader(partial(read_pattern, name=names[0]), tuple(TEXTS[name].encode() for name in names))


def listed(content: bytes) -> object:
    """A list of lines up to the question that the solver gets."""
    is_line_list(content)
    options = FileOptions(content="lines", wavelength_ang=1.5406)
    return question_from_upload(read_lines(content, "a.txt", options), {})


def pair(measured: bytes, parameters: bytes) -> object:
    return read_upload([(f"{PAIR}.txt", measured), (f"{PAIR}_Parameters.txt", parameters)], SMALL)


READERS: Final = {
    ".fli": Reader(lambda content: read_upload([("polar.fli", content)], SMALL), (FLI, FLI.replace(b" ", b","))),
    "D3 measurements": Reader(lambda content: pair(content, PARAMETERS), (MEASURED,)),
    "D3 parameters": Reader(lambda content: pair(MEASURED, content), (PARAMETERS, AMORPHOUS)),
    "zip of D3": Reader(lambda content: read_upload([("a.zip", content)], SMALL), ZIPS),
    "archive": Reader(lambda content: read_archive(content, "a.zip", SMALL), (*ZIPS, FLI)),
    ".xy": pattern("a.xy", "comments.dat", "german.xy", "stepped.dat"),
    ".xye": pattern("e.xye", "three.dat"),
    ".chi": pattern("pyfai.chi"),
    ".csv": pattern("headed.csv", "sections.csv", "excel.csv", "trailing.csv"),
    "GSAS": pattern("g.gsa", "std.raw", "f.fxye"),
    ".xrdml": Reader(read_pattern, (xrdml(), xrdml(positions=LISTED, tag="counts"))),
    ".uxd": Reader(read_pattern, (UXD, UXD.replace(b"_CPS", b"_2THETACOUNTS"))),
    ".ras": Reader(read_pattern, (RAS,)),
    ".raw": Reader(read_pattern, (bruker_raw(),)),
    "lines of a pattern": Reader(
        lambda content: search_file(content, "a.xye", FileOptions(wavelength_ang=1.5)),
        (TEXTS["e.xye"].encode(), TEXTS["f.fxye"].encode()),
    ),
    "list of lines": Reader(listed, (LINES, LINES.replace(b".", b","), LINES.replace(b" ", b";"))),
    ".pkslst": Reader(listed, (PKSLST,)),
    ".npy of waveforms": Reader(lambda content: array_from_file(content, None, ITEMS), (npy(CHIRP), npy(CHIRP > 0))),
    ".npz of waveforms": Reader(
        lambda content: array_from_file(content, "a", ITEMS), (npz(a=CHIRP, b=CHIRP), npz(compressed=True, a=CHIRP))
    ),
    ".npy of images": Reader(lambda content: read_images(content, DEFAULT_OPTIONS, IMAGES), (npy(STACK),)),
    ".npz of images": Reader(
        lambda content: read_images(content, DEFAULT_OPTIONS, IMAGES),
        (npz(data=STACK, mask=STACK[0] > 3), npz(compressed=True, data=STACK)),
    ),
    "TIFF": Reader(
        lambda content: read_images(content, DEFAULT_OPTIONS, IMAGES),
        (tiff(STACK), tiff(STACK, compression="zlib"), tiff(STACK.astype(">f4"), byteorder=">")),
    ),
    "PNG": Reader(lambda content: read_images(content, DEFAULT_OPTIONS, IMAGES), (png(STACK[0]), png(STACK[0] > 2))),
    "mask": Reader(lambda content: read_mask(content, DEFAULT_OPTIONS, IMAGES), (png(STACK[0]), npy(STACK[0] > 2))),
}


@pytest.fixture(autouse=True, scope="module")
def _imported() -> None:
    """What readers import at their first use is none of the memory that they take."""
    for reader in READERS.values():
        for content in reader.valid:
            try:
                reader.read(content)
            except AppError:
                continue


@pytest.mark.parametrize("name", READERS)
@FEW
@given(data=st.data())
def test_a_hostile_file_is_read_or_refused(name: str, data: st.DataObject) -> None:
    reader = READERS[name]
    survives(reader.read, data.draw(hostile(reader.valid)), also=reader.also)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
@MANY
@given(data=st.data())
def test_very_many_hostile_files_are_read_or_refused(name: str, data: st.DataObject) -> None:
    reader = READERS[name]
    survives(reader.read, data.draw(hostile(reader.valid)), also=reader.also)


# --- HDF5, which is read in a child process ---------------------------------------------------------------------------

HDF5: Final = (
    cxi(STACK),
    cxi(STACK, compression="gzip", shuffle=True, chunks=(1, 9, 12)),
    cxi(STACK.astype("f4"), fletcher32=True, chunks=(3, 9, 12)),
)


def damaged_hdf5(seed: int) -> bytes:
    chance = random.Random(seed)  # noqa: S311  not for secrets
    content = bytearray(chance.choice(HDF5))
    for _ in range(chance.randint(1, 40)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    return bytes(content[: chance.choice((len(content), chance.randrange(len(content))))])


def reads_hdf5(seed: int) -> None:
    content = damaged_hdf5(seed)
    readers = (partial(read_images, limits=IMAGES), partial(array_from_file, dataset=None, max_items=ITEMS))
    survives(readers[seed % 2], content)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_hdf5_file_is_read_or_refused(seed: int) -> None:
    reads_hdf5(seed)


@pytest.mark.slow
def test_very_many_damaged_hdf5_files_are_read_or_refused() -> None:
    for seed in range(100, 300):
        reads_hdf5(seed)
