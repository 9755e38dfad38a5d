from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from app.aggregates.measurement import Measurement
from app.errors import InvalidInput, NotFound
from training.aggregates.labels import open_set
from training.aggregates.settings import REFERENCE, SIMULATIONS
from training.aggregates.simulate import ARRAYS, Patterns, batches, simulate
from training.aggregates.stacks import LabelledSet, write_set

DECLARED = Measurement(radius_px=5.0, beam_stop_px=3.0, binning=1)
BEAM = (32.0, 32.0)


@pytest.fixture(scope="module")
def patterns() -> Patterns:
    return simulate(replace(REFERENCE, photons=(1e5, 2e5)), 15, np.random.default_rng(2))


def _same(found: Patterns, expected: Patterns) -> None:
    assert np.array_equal(found.counts, expected.counts)
    assert np.array_equal(found.number, expected.number)


@pytest.mark.parametrize("name", ["reference-r3-7", "spheres", "polystyrene-100nm", "gaps"])
def test_a_set_that_was_given_away_comes_back_whole(name: str, tmp_path: Path) -> None:
    whole = next(iter(batches(SIMULATIONS[name], 20, 5, size=20)))
    path = tmp_path / "set.cxi"
    assert write_set(path, batches(SIMULATIONS[name], 20, 5, size=7), title="test") == 20
    back = open_set(path, DECLARED)[:20]
    assert back.particle == whole.particle
    for field in set(ARRAYS) - {"counts", "mask", "centre_px"}:
        assert np.array_equal(getattr(back, field), getattr(whole, field), equal_nan=True), field
    near = np.all(np.abs(whole.centre_px - 32) < 0.5, axis=1)  # others are cut anew around their beam
    assert near.sum() > 10
    for field in ("counts", "mask", "centre_px"):
        assert np.array_equal(getattr(back, field)[near], getattr(whole, field)[near]), field
    moved = back.centre_px - whole.centre_px
    assert np.allclose(moved, np.round(moved))
    assert np.all(np.abs(back.centre_px - 32) <= 0.5)


def test_a_written_set_says_its_units(patterns: Patterns, tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    write_set(path, [patterns], title="reference, seed 2")
    with h5py.File(path) as file:
        assert file["entry_1/title"][()] == b"reference, seed 2"
        assert all("units" in dataset.attrs for dataset in file["entry_1/sample_1"].values())
        assert np.array_equal(file["entry_1/instrument_1/detector_1/data"], file["entry_1/data_1/data"])


def _as_npy(path: Path, images: np.ndarray) -> Path:
    np.save(path / "set.npy", images)
    return path / "set.npy"


def _as_tiff(path: Path, images: np.ndarray) -> Path:
    tifffile.imwrite(path / "set.tif", images.astype(np.uint16), photometric="minisblack", metadata=None)
    return path / "set.tif"


def _as_hdf5(path: Path, images: np.ndarray) -> Path:
    with h5py.File(path / "set.h5", "w") as file:
        file["anything"] = images
    return path / "set.h5"


def _as_npz(path: Path, images: np.ndarray) -> Path:
    np.savez(path / "set.npz", data=images)
    return path / "set.npz"


@pytest.mark.parametrize("write", [_as_npy, _as_tiff, _as_hdf5, _as_npz])
@pytest.mark.parametrize("ending", ["npy", "csv"])
def test_images_of_every_format_take_their_labels_from_beside(
    write: object, ending: str, patterns: Patterns, tmp_path: Path
) -> None:
    path = write(tmp_path, patterns.counts)  # type: ignore[operator]
    labels = tmp_path / f"labels.{ending}"
    if ending == "npy":
        np.save(labels, patterns.number)
    else:
        labels.write_text("number\n" + "\n".join(map(str, patterns.number)))
    found = open_set(path, DECLARED, labels=labels, centre_px=BEAM)
    assert len(found) == 15
    _same(found[:15], patterns)
    _same(found[4:9], patterns[4:9])
    assert np.all(found[:15].radius_px == 5.0)
    assert np.all(np.isnan(found[:15].photons))


def test_an_npz_may_hold_its_own_labels(patterns: Patterns, tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", data=patterns.counts, number=patterns.number)
    _same(open_set(tmp_path / "set.npz", DECLARED, centre_px=BEAM)[:15], patterns)


def _in_folders(patterns: Patterns, path: Path) -> list[int]:
    for index, (counts, number) in enumerate(zip(patterns.counts, patterns.number, strict=True)):
        folder = path / str(number)
        folder.mkdir(exist_ok=True)
        Image.fromarray(counts.astype(np.uint16)).save(folder / f"{index:03}.png")
    return sorted(range(len(patterns)), key=lambda index: (patterns.number[index], index))


def test_pictures_may_lie_in_folders_named_by_number(patterns: Patterns, tmp_path: Path) -> None:
    order = np.array(_in_folders(patterns, tmp_path))
    found = open_set(tmp_path, DECLARED, centre_px=BEAM)
    _same(found[:15], patterns[order])


def test_a_table_names_the_files_and_leaves_others_out(patterns: Patterns, tmp_path: Path) -> None:
    for index in range(4):
        np.save(tmp_path / f"{index}.npy", patterns.counts[3 * index : 3 * index + 3])
    rows = [f"{index // 3}.npy,{patterns.number[index]}" for index in (0, 1, 2, 6, 7, 8)]
    (tmp_path / "labels.csv").write_text("file,number\n" + "\n".join(rows))
    found = open_set(tmp_path, DECLARED, labels=tmp_path / "labels.csv", centre_px=BEAM)
    _same(found[:6], patterns[np.array([0, 1, 2, 6, 7, 8])])


def _opened(patterns: Patterns, path: Path) -> LabelledSet:
    order = np.argsort(patterns.number, kind="stable")
    np.savez(path / "set.npz", data=patterns.counts[order], number=patterns.number[order])
    return open_set(path / "set.npz", DECLARED, centre_px=BEAM)


@pytest.mark.parametrize("size", [1, 4, 15, 40])
def test_batches_hold_every_pattern_once(size: int, patterns: Patterns, tmp_path: Path) -> None:
    found = _opened(patterns, tmp_path)
    ordered = np.concatenate([batch.counts for batch in found.batches(size)])
    shuffled = list(found.batches(size, np.random.default_rng(1)))
    assert all(len(batch) == size for batch in shuffled[:-1])
    assert np.array_equal(ordered, found[:15].counts)
    totals = np.concatenate([batch.counts.sum(axis=(1, 2)) for batch in shuffled])
    assert np.array_equal(np.sort(totals), np.sort(patterns.counts.sum(axis=(1, 2))))


def test_shuffling_mixes_a_set_sorted_by_number(patterns: Patterns, tmp_path: Path) -> None:
    first = next(_opened(patterns, tmp_path).batches(10, np.random.default_rng(1)))
    assert np.unique(first.number).size >= 4


def test_larger_images_are_cut_around_the_beam(patterns: Patterns, tmp_path: Path) -> None:
    wide = np.zeros((15, 100, 120), np.float32)
    wide[:, 10:74, 20:84] = patterns.counts
    np.savez(tmp_path / "set.npz", data=wide, number=patterns.number)
    _same(open_set(tmp_path / "set.npz", DECLARED, centre_px=(42.0, 52.0))[:15], patterns)


def test_a_set_without_labels_is_refused(patterns: Patterns, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing says how many"):
        open_set(_as_npy(tmp_path, patterns.counts), DECLARED)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [([1, 2], "2 labels for 15 images"), ([7] * 15, "labels from 7 to 7"), ([1.5] * 15, "whole numbers")],
)
def test_labels_that_do_not_fit_are_refused(
    numbers: list[float], message: str, patterns: Patterns, tmp_path: Path
) -> None:
    np.save(tmp_path / "labels.npy", np.array(numbers))
    with pytest.raises(InvalidInput, match=message):
        open_set(_as_npy(tmp_path, patterns.counts), DECLARED, labels=tmp_path / "labels.npy")


def test_tables_without_numbers_or_with_unknown_files_are_refused(patterns: Patterns, tmp_path: Path) -> None:
    path, labels = _as_npy(tmp_path, patterns.counts), tmp_path / "labels.csv"
    for text, message in [
        ("n\n1", "column `number`"),
        ("number\nx", "whole numbers"),
        ("file,number\na,1", "not there"),
    ]:
        labels.write_text(text)
        with pytest.raises(InvalidInput, match=message):
            open_set(path, DECLARED, labels=labels)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        open_set(tmp_path, DECLARED)


def test_no_patterns_are_no_slice_of_a_set(patterns: Patterns, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="neighbouring"):
        _opened(patterns, tmp_path)[3:3]
