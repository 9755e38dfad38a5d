"""Which files make up a set of patterns, and how many particles each of their images shows."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Int

from app.aggregates.measurement import Measurement
from app.aggregates.setting import PARTICLES
from app.aggregates.stack import FileOptions
from app.errors import InvalidInput, NotFound
from training.aggregates.parts import Part
from training.aggregates.place import MOST
from training.aggregates.stacks import SAMPLE, TRUTH, LabelledSet

SUFFIXES: Final = (".h5", ".hdf5", ".cxi", ".nxs", ".npy", ".npz", ".tif", ".tiff", ".png")
"""Files that a folder is searched for."""
HDF5_LABELS: Final = f"{SAMPLE}/number"
NPZ_LABELS: Final = "number"


def open_set(
    path: Path,
    measurement: Measurement,
    *,
    labels: Path | None = None,
    dataset: str | None = None,
    mask_dataset: str | None = None,
    labels_dataset: str | None = None,
    centre_px: tuple[float, float] | None = None,
) -> LabelledSet:
    """Open a set without reading its images.

    The number of particles of each image comes from `labels`; else from the file itself (`labels_dataset`, by default
    `/entry_1/sample_1/number` of HDF5 and `number` of `.npz`); else from the folder the file lies in, named 1 to 5.

    Args:
        path: a file, or a folder that is searched for files, folders within it too.
        measurement: what is declared of sample and detector.
        labels: `.npy` with one number an image, files in the order of their names; or `.csv` with a column `number`
            and, where there are several files, `file` (its path within the folder), one row an image. Files that the
            `.csv` does not name are left out.
        dataset: of the images, where it cannot be told.
        mask_dataset: of the mask.
        labels_dataset: of the numbers.
        centre_px: row and column of the direct beam on every image.

    Raises:
        NotFound: no file there.
        InvalidInput: no numbers, not as many as images, or others than 1 to 5.
        UnsupportedFormat: as `app.aggregates.files.read_path`.
    """
    options = FileOptions(dataset, mask_dataset)
    parts = [_told(Part(file, options), labels_dataset) for file in _files(path, labels)]
    base = path if path.is_dir() else path.parent
    parts = [_by_folder(part) for part in parts] if labels is None else _labelled(parts, base, labels)
    for part in parts:
        _check(part)
    told = _particle(parts[0])
    return LabelledSet(tuple(parts), measurement if told is None else replace(measurement, particle=told), centre_px)


def _files(path: Path, labels: Path | None) -> list[Path]:
    found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    found = [each for each in found if labels is None or each != labels]
    if not found:
        raise NotFound(f"there is no file with one of the endings {', '.join(SUFFIXES)} in {path.name}")
    return found


# --- what a file tells ------------------------------------------------------------------------------------------------


def _told(part: Part, labels_dataset: str | None) -> Part:
    """The part with the numbers and truths that its file states."""
    if part.kind == "npz":
        with np.load(part.path, allow_pickle=False) as arrays:
            numbers = arrays.get(labels_dataset or NPZ_LABELS)
        return part if numbers is None else replace(part, number=_numbers(numbers))
    return _told_hdf5(part, labels_dataset or HDF5_LABELS) if part.kind == "hdf5" else part


def _told_hdf5(part: Part, labels_dataset: str) -> Part:
    import h5py

    with h5py.File(part.path, "r") as file:
        if labels_dataset in file:
            part = replace(part, number=_numbers(np.asarray(file[labels_dataset])))
        sample: Any = file.get(SAMPLE)
        truth = {name: np.asarray(sample[name]) for name in TRUTH if sample is not None and name in sample}
    return replace(part, truth=truth)


def _particle(part: Part) -> Any:
    """The kind of particle that a file of `write_set` states."""
    if part.kind != "hdf5":
        return None
    import h5py

    with h5py.File(part.path, "r") as file:
        particle = file[SAMPLE].attrs.get("particle") if SAMPLE in file else None
    return particle if particle in PARTICLES else None


# --- labels beside the files ------------------------------------------------------------------------------------------


def _by_folder(part: Part) -> Part:
    folder = part.path.parent.name
    if len(part.number):
        return part
    if folder not in map(str, range(1, MOST + 1)):
        raise InvalidInput(
            f"nothing says how many particles {part.path.name} shows: give labels, or put it into a folder named 1 "
            f"to {MOST}"
        )
    return replace(part, number=np.full(len(part), int(folder)))


def _labelled(parts: list[Part], base: Path, labels: Path) -> list[Part]:
    if labels.suffix.lower() != ".csv":
        return _dealt(parts, _numbers(np.load(labels, allow_pickle=False)))
    with labels.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    numbers = _csv_numbers(rows)
    if "file" not in rows[0]:
        return _dealt(parts, numbers)
    names = np.array([Path(row["file"]).as_posix() for row in rows])
    there = {part.path.relative_to(base).as_posix(): part for part in parts}
    missing = sorted(set(names.tolist()) - set(there))
    if missing:
        raise InvalidInput(f"the labels name {len(missing)} files that are not there, {missing[0][:120]} first")
    return [replace(part, number=numbers[names == name]) for name, part in there.items() if (names == name).any()]


def _csv_numbers(rows: list[dict[str, str]]) -> Int[np.ndarray, " image"]:
    if not rows or "number" not in rows[0]:
        raise InvalidInput("the labels need a column `number`, and `file` where there are several files")
    try:
        return np.array([int(row["number"]) for row in rows])
    except (TypeError, ValueError):
        raise InvalidInput("the column `number` of the labels must hold whole numbers") from None


def _dealt(parts: list[Part], numbers: Int[np.ndarray, " image"]) -> list[Part]:
    """One list of numbers for all images, in order."""
    total = sum(map(len, parts))
    if total != len(numbers):
        raise InvalidInput(f"there are {len(numbers)} labels for {total} images")
    pieces = np.split(numbers, np.cumsum([len(part) for part in parts])[:-1])
    return [replace(part, number=piece) for part, piece in zip(parts, pieces, strict=True)]


def _numbers(values: np.ndarray) -> Int[np.ndarray, " image"]:
    values = np.atleast_1d(values)
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not np.all(values == np.round(values)):
        raise InvalidInput("labels must be whole numbers of particles, one an image")
    return values.astype(int)


def _check(part: Part) -> None:
    """Numbers are 1 to 5, and as many as there are images."""
    if len(part.number) != len(part):
        raise InvalidInput(f"{part.path.name} holds {len(part)} images and has {len(part.number)} labels")
    least, most = part.number.min(), part.number.max()
    if least < 1 or most > MOST:
        raise InvalidInput(f"{part.path.name} has labels from {least} to {most}; expected 1 to {MOST}")
