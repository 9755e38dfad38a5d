"""Every format gives back the numbers that were written, and nothing but them."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.aggregates.files import READERS, kind_of, read_images, read_mask, read_path
from app.aggregates.hdf5_files import read_open
from app.aggregates.stack import DEFAULT_LIMITS, DEFAULT_OPTIONS, FileLimits, FileOptions, ImageStack
from app.array_files.hdf5 import open_hdf5
from app.errors import AppError, InvalidInput, TooLarge, UnsupportedFormat
from tests.aggregates.image_files import CXI, cxi, hdf5_of, npy, npz, png, tiff

RNG = np.random.default_rng(7)
STACK = RNG.poisson(3.0, (3, 9, 12)).astype(np.uint16)
ONE = STACK[0]


def from_hdf5(
    content: bytes, options: FileOptions = DEFAULT_OPTIONS, limits: FileLimits = DEFAULT_LIMITS
) -> ImageStack:
    """In this process: a child a test would take minutes."""
    with open_hdf5(content) as file:
        return read_open(file, options, limits)


STACKS = {
    "npy": npy(STACK),
    "npy, Fortran order": npy(np.asfortranarray(STACK)),
    "npy, other byte order": npy(STACK.astype(">u2")),
    "npz": npz(data=STACK),
    "npz, compressed": npz(compressed=True, something=STACK, centre=np.zeros(2)),
    "TIFF": tiff(STACK),
    "TIFF, Deflate": tiff(STACK, compression="zlib"),
    "TIFF, big endian": tiff(STACK.astype(">u2"), byteorder=">"),
    "CXI": cxi(STACK),
    "CXI, Deflate": cxi(STACK, compression="gzip", shuffle=True, chunks=(1, 9, 12)),
    "CXI, bitshuffle": cxi(STACK, **hdf5plugin.Bitshuffle()),
    "HDF5": hdf5_of({"/run/7/frames": STACK, "/run/7/pulse_id": np.arange(3)}),
}


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_comes_back_as_it_was_written(name: str) -> None:
    found = read_images(STACKS[name])
    assert np.array_equal(found.images, STACK)
    assert found.images.dtype == np.uint16
    assert found.images.dtype.isnative
    assert found.mask is None


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">f4", ">i4"], ids=str
)
def test_every_type_of_number_is_kept(dtype: str) -> None:
    image = ONE.astype(dtype)
    for content in (npy(image), tiff(image), cxi(image)):
        reader = from_hdf5 if content.startswith(b"\x89HDF") else read_images
        found = reader(content)
        assert found.images.dtype == np.dtype(dtype).newbyteorder("=")
        assert np.array_equal(found.images[0], ONE)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_a_grey_png(dtype: str) -> None:
    image = (ONE * (7 if dtype == "u1" else 4000)).astype(dtype)
    found = read_images(png(image))
    assert np.array_equal(found.images, image[None])
    assert found.images.dtype == dtype


def test_not_a_number_and_infinity_pass() -> None:
    image = ONE.astype(np.float32)
    image[0, 0], image[1, 1] = np.nan, np.inf
    for content in (npy(image), tiff(image), cxi(image)):
        assert np.array_equal(read_images(content).images[0], image, equal_nan=True)


def test_a_path_gives_what_the_bytes_give(tmp_path: Path) -> None:
    for name, content in STACKS.items():
        path = tmp_path / f"{name}.dat"
        path.write_bytes(content)
        assert np.array_equal(read_path(path).images, STACK)


@pytest.mark.parametrize("name", ["npy", "npz", "TIFF", "CXI"])
def test_a_part_of_a_stack(name: str) -> None:
    reader = from_hdf5 if name == "CXI" else read_images
    found = reader(STACKS[name], FileOptions(first=1, count=1))
    assert np.array_equal(found.images, STACK[1:2])
    assert found.first == 1
    assert np.array_equal(reader(STACKS[name], FileOptions(first=1, count=99)).images, STACK[1:])
    with pytest.raises(InvalidInput, match="holds images 0 to 2"):
        reader(STACKS[name], FileOptions(first=3))


@pytest.mark.parametrize("name", ["npy", "npz", "TIFF", "CXI"])
def test_limits(name: str) -> None:
    reader = from_hdf5 if name == "CXI" else read_images
    too_small = {
        "in parts": FileLimits(images=2),
        "at most 100": FileLimits(pixels=100),
        "in parts|at most 300": FileLimits(values=300),
    }
    for words, limits in too_small.items():
        with pytest.raises(TooLarge, match=words):
            reader(STACKS[name], DEFAULT_OPTIONS, limits)


# --- masks ------------------------------------------------------------------------------------------------------------


def test_masks_of_cxi_files_mark_what_does_not_count() -> None:
    bits = np.zeros((9, 12), np.uint16)
    bits[0, :4] = 1, 2, 512, 0x20 | 0x800 | 0x2000 | 0x4000
    for path in ("/entry_1/instrument_1/detector_1/mask", "/entry_1/data_1/mask"):
        mask = from_hdf5(hdf5_of({CXI: STACK, path: bits})).mask
        assert mask is not None
        assert np.argwhere(~mask).tolist() == [[0, 0], [0, 1], [0, 2]]


def test_one_mask_an_image_follows_the_part_that_is_taken() -> None:
    masks = np.zeros(STACK.shape, np.int32)
    masks[2, 3, 4] = 1
    found = from_hdf5(hdf5_of({CXI: STACK, "/entry_1/data_1/mask": masks}), FileOptions(first=2)).mask
    assert found is not None
    assert found.shape == (1, 9, 12)
    assert np.argwhere(~found).tolist() == [[0, 3, 4]]


def test_the_mask_of_an_npz() -> None:
    bad = np.zeros((9, 12), bool)
    bad[2, 5] = True
    for arrays in ({"data": STACK, "mask": bad}, {"data": STACK, "dead": bad}):
        options = FileOptions(mask_dataset="dead" if "dead" in arrays else None)
        assert np.array_equal(read_images(npz(**arrays), options).mask, ~bad)


def test_a_mask_of_another_size_is_refused() -> None:
    small = np.zeros((9, 11), bool)
    with pytest.raises(InvalidInput, match="same rows and columns"):
        read_images(npz(data=STACK, mask=small))
    with pytest.raises(InvalidInput, match="9 x 11"):
        from_hdf5(hdf5_of({CXI: STACK, "/m": small}), FileOptions(mask_dataset="/m"))
    assert from_hdf5(hdf5_of({CXI: STACK, "/entry_1/data_1/mask": small})).mask is None


@pytest.mark.parametrize("name", ["npz", "HDF5"])
def test_there_is_one_mask_for_all_images_or_one_for_each(name: str) -> None:
    def read(mask: np.ndarray) -> ImageStack:
        if name == "npz":
            return read_images(npz(data=STACK, mask=mask), FileOptions(first=1))
        return from_hdf5(hdf5_of({CXI: STACK, "/entry_1/data_1/mask": mask}), FileOptions(first=1))

    for mask in (ONE > 2, (ONE > 2)[None]):
        assert np.array_equal(read(mask).mask, ONE <= 2)  # type: ignore[arg-type]
    assert np.array_equal(read(STACK > 2).mask, STACK[1:] <= 2)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="2 masks for 3 images"):
        read(STACK[:2] > 2)


def test_a_file_that_is_a_mask() -> None:
    assert np.array_equal(read_mask(npy(ONE > 2)), (ONE <= 2)[None])


# --- what cannot be read ----------------------------------------------------------------------------------------------


def _npy_of(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + content


def _objects() -> bytes:
    content = io.BytesIO()
    np.save(content, np.array([{}], dtype=object), allow_pickle=True)
    return content.getvalue()


def _deflate_bomb() -> bytes:
    """A page of 16 x 16 pixels whose strip unpacks to 64 MiB."""
    good = tiff(np.zeros((16, 16), np.uint8), compression="zlib")
    bomb = zlib.compress(bytes(64 * 1024 * 1024), 9)
    offset = good.index(zlib.compress(bytes(256), 6)[:2], 8)
    count_tag = good.index(struct.pack("<HHI", 279, 4, 1)) if struct.pack("<HHI", 279, 4, 1) in good else -1
    if count_tag < 0:
        count_tag = good.index(struct.pack("<HHI", 279, 3, 1))
    offset_tag = good.index(struct.pack("<H", 273))
    changed = bytearray(good + bomb)
    changed[count_tag : count_tag + 12] = struct.pack("<HHII", 279, 4, 1, len(bomb))
    changed[offset_tag : offset_tag + 12] = struct.pack("<HHII", 273, 4, 1, len(good))
    assert offset > 0
    return bytes(changed)


HUGE = (1000, 4000, 4000)
REFUSED: dict[str, tuple[bytes, type[AppError], str]] = {
    "empty": (b"", InvalidInput, "empty"),
    "text": (b"1 2 3\n4 5 6\n", UnsupportedFormat, "first bytes"),
    "npy, objects": (_objects(), InvalidInput, "pickled objects"),
    "npy, records": (npy(np.zeros(3, [("a", "i4")])), InvalidInput, "records"),
    "npy, text": (npy(np.full((9, 9), "a")), InvalidInput, "another type"),
    "npy, complex": (npy(STACK * 1j), InvalidInput, "squared magnitude"),
    "npy, long double": (npy(STACK.astype(np.longdouble)), InvalidInput, "another type"),
    "npy, one axis": (npy(ONE.ravel()), InvalidInput, "1 axes"),
    "npy, four axes": (npy(STACK[None]), InvalidInput, "4 axes"),
    "npy, no image": (npy(STACK[:0]), InvalidInput, "no image"),
    "npy, tiny": (npy(STACK[:, :2]), InvalidInput, "at least 8 x 8"),
    "npy, cut off": (npy(STACK)[:-1], InvalidInput, "cut off"),
    "npy, too long": (npy(STACK) + b"x", InvalidInput, "too small"),
    "npy, huge": (
        _npy_of(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {HUGE}}}"),
        TooLarge,
        "take them in parts",
    ),
    "npy, negative": (_npy_of("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 9)}"), InvalidInput, "shape"),
    "npy, nested": (_npy_of("(" * 4000), InvalidInput, "header"),
    "npy, code": (_npy_of("__import__('os').system('true')"), InvalidInput, "header"),
    "npz, two": (npz(a=STACK, b=STACK), InvalidInput, "'a', 'b'"),
    "npz, none": (npz(a=np.zeros(3)), InvalidInput, "none"),
    "npz, damaged": (npz(a=STACK)[:300], InvalidInput, "savez"),
    "npz, huge": (npz(compressed=True, a=np.zeros((5, 3000, 3000), np.uint8)), TooLarge, "parts"),
    "TIFF, colour": (tiff(np.zeros((16, 16, 3), np.uint8)[None], photometric="rgb"), InvalidInput, "grey values"),
    "TIFF, inverted": (tiff(ONE, photometric="miniswhite"), InvalidInput, "inverted"),
    "TIFF, bomb": (_deflate_bomb(), TooLarge, "strip"),
    "TIFF, cut off": (tiff(STACK)[:200], InvalidInput, "TIFF"),
    "PNG, colour": (png(np.zeros((16, 16, 3), np.uint8)), InvalidInput, "colour"),
    "PNG, bits": (png(np.zeros((16, 16), bool)), InvalidInput, "1 bit"),
    "PNG, cut off": (png(ONE)[:60], InvalidInput, "PNG"),
    "HDF5, two": (hdf5_of({"/a": STACK, "/b/c": STACK}), InvalidInput, "'/a', '/b/c'"),
    "HDF5, none": (hdf5_of({"/a": np.zeros(4)}), InvalidInput, "none"),
    "HDF5, complex": (cxi(STACK * 1j), InvalidInput, "squared magnitude"),
    "HDF5, cut off": (cxi(STACK)[:-100], InvalidInput, "damaged"),
    "HDF5, scale-offset": (cxi(STACK, scaleoffset=0), UnsupportedFormat, "filter 6"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_told(name: str) -> None:
    content, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        read_images(content)


def test_pages_of_different_sizes() -> None:
    import tifffile

    content = io.BytesIO()
    with tifffile.TiffWriter(content) as writer:
        for image in (ONE, ONE.T):
            writer.write(image, photometric="minisblack", metadata=None)
    with pytest.raises(InvalidInput, match="differ"):
        read_images(content.getvalue())


def test_a_tiff_with_a_foreign_compression() -> None:
    content = bytearray(tiff(ONE))
    place = content.index(struct.pack("<HHI", 259, 3, 1))
    content[place + 8 : place + 10] = struct.pack("<H", 5)
    with pytest.raises(UnsupportedFormat, match="LZW"):
        read_images(bytes(content))


# --- HDF5 -------------------------------------------------------------------------------------------------------------


def test_images_in_another_file_are_refused() -> None:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_group("/entry_1/data_1")["data"] = h5py.ExternalLink("data_000001.h5", "/data")
        file["/dark"] = STACK
    with pytest.raises(InvalidInput, match="another file"):
        from_hdf5(content.getvalue())


def test_a_dataset_that_is_named() -> None:
    content = hdf5_of({"/a": STACK, "/b/c": STACK + 1})
    assert np.array_equal(from_hdf5(content, FileOptions(dataset="b/c")).images, STACK + 1)
    for wrong in ("/b", "/nothing", "/../a", ""):
        with pytest.raises(InvalidInput):
            from_hdf5(content, FileOptions(dataset=wrong))


def test_a_shape_without_its_data_is_refused_before_it_is_read() -> None:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset(CXI, (10**6, 4000, 4000), "f8", chunks=(1, 4000, 4000))
    with pytest.raises(TooLarge):
        read_images(content.getvalue())


# --- fuzzing ----------------------------------------------------------------------------------------------------------

WHOLE = [content for name, content in STACKS.items() if "HDF5" not in name and "CXI" not in name] + [png(ONE)]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_files_are_refused_or_read(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        kind = kind_of(damaged)
        found = READERS[kind](damaged, DEFAULT_OPTIONS, FileLimits(images=100, pixels=10_000, values=100_000))
    except AppError:
        return
    assert found.images.ndim == 3
    assert found.images.dtype.kind in "buif"


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_hdf5_file_never_ends_the_service(seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = np.frombuffer(STACKS["CXI, Deflate"], np.uint8).copy()
    content[rng.integers(8, len(content), 30)] = rng.integers(0, 256, 30)
    with contextlib.suppress(AppError):
        assert read_images(content.tobytes()).images.ndim == 3
