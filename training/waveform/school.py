"""Sets of waveforms in the school's form: `(n, 5000)` waveforms and `(n,)` separations as a share of 800 samples.

Files are `.npy` (one array), `.npz` and HDF5 (named arrays). Waveforms of `.npy` and HDF5 stay on disk until they are
used. A set of one-scatter pulses has no separations.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import h5py
import numpy as np
from jaxtyping import Float

from app.errors import InvalidInput, UnsupportedFormat
from training.waveform.settings import SAMPLE_US, SAMPLES
from training.waveform.simulate import Events

D_SAMPLES: Final = 800
"""A separation of one is this many samples: the targets shown at the Data Science School (LIP, Coimbra, 2022) are all
multiples of 1/800."""

WAVEFORM_NAMES: Final = ("waveforms", "input", "x", "X", "data")
TARGET_NAMES: Final = ("d", "output", "y", "targets")


@dataclass(frozen=True)
class SchoolSet:
    """Waveforms and separations.

    Attributes:
        waveforms: array-like of shape `(n, 5000)`; slices of it are arrays (a memory map or an HDF5 dataset).
        d: separations as a share of 800 samples; None for pulses of one scatter.
    """

    waveforms: Any
    d: Float[np.ndarray, "wave"] | None

    def __len__(self) -> int:
        return len(self.waveforms)

    @property
    def d_us(self) -> Float[np.ndarray, "wave"] | None:
        """Separations [us]."""
        return None if self.d is None else self.d * D_SAMPLES * SAMPLE_US


def read(waveforms: Path, targets: Path | None = None) -> SchoolSet:
    """Read a set from one file with both arrays, or from a file of each.

    Args:
        waveforms: `.npy`, `.npz`, `.h5` or `.hdf5`.
        targets: file of the separations, where they are not in the same file.

    Raises:
        UnsupportedFormat: the name ends otherwise, or the file is not what its name says.
        InvalidInput: an array is missing, has another shape, or holds what no separation can be.
    """
    arrays = _arrays(waveforms)
    pulses = _named(arrays, WAVEFORM_NAMES, waveforms, lambda a: a.ndim == 2)
    _check_waveforms(pulses, waveforms)
    found = _named(_arrays(targets), TARGET_NAMES, targets, _is_column) if targets else _optional_targets(arrays)
    return SchoolSet(pulses, None if found is None else _checked_targets(found, len(pulses)))


def write(path: Path, events: Events) -> None:
    """Write simulated events as `.npz` or HDF5, or as `.npy` with the separations in a second file `<name>_d.npy`.

    Separations are written where all events have two scatters.
    """
    two = bool(np.all(events.scatters == 2))
    d = {"d": events.d_us / (D_SAMPLES * SAMPLE_US)} if two else {}
    _of_suffix(path, _WRITERS)(path, {"waveforms": events.samples} | d)


def _arrays(path: Path) -> Mapping[str, Any]:
    """Open a file's arrays by their names; the single array of an `.npy` has an empty name."""
    reader = _of_suffix(path, _READERS)
    if not path.is_file():
        raise InvalidInput(f"There is no file {path.name!r}.")
    try:
        return reader(path)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UnsupportedFormat(f"{path.name!r} cannot be read as {path.suffix}: {error}") from error


def _read_npy(path: Path) -> Mapping[str, Any]:
    return {"": np.load(path, mmap_mode="r", allow_pickle=False)}


def _read_npz(path: Path) -> Mapping[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_hdf5(path: Path) -> Mapping[str, Any]:
    """The datasets at the top and in groups; the file stays open as long as a dataset is used."""
    found: dict[str, Any] = {}
    file = h5py.File(path, "r")
    file.visititems(lambda name, item: found.__setitem__(name, item) if isinstance(item, h5py.Dataset) else None)
    return found


def _write_npy(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    np.save(path, arrays["waveforms"])
    if "d" in arrays:
        np.save(path.with_name(f"{path.stem}_d.npy"), arrays["d"])


def _write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    targets = {"d": arrays["d"]} if "d" in arrays else {}
    np.savez(path, allow_pickle=False, waveforms=arrays["waveforms"], **targets)


def _write_hdf5(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values)


_READERS: Final[Mapping[str, Callable[[Path], Mapping[str, Any]]]] = MappingProxyType(
    {".npy": _read_npy, ".npz": _read_npz, ".h5": _read_hdf5, ".hdf5": _read_hdf5}
)
_WRITERS: Final[Mapping[str, Callable[[Path, Mapping[str, np.ndarray]], None]]] = MappingProxyType(
    {".npy": _write_npy, ".npz": _write_npz, ".h5": _write_hdf5, ".hdf5": _write_hdf5}
)


F = TypeVar("F")


def _of_suffix(path: Path, table: Mapping[str, F]) -> F:
    """Choose by the file name's end."""
    if path.suffix.lower() not in table:
        raise UnsupportedFormat(f"{path.name!r} is of no known format; files end in {', '.join(table)}.")
    return table[path.suffix.lower()]


def _is_column(array: Any) -> bool:
    return array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)


def _named(arrays: Mapping[str, Any], names: tuple[str, ...], path: Path, fits: Callable[[Any], bool]) -> Any:
    """Choose by name, or else the only array of a fitting shape."""
    for name in names:
        if name in arrays:
            return arrays[name]
    fitting = [array for array in arrays.values() if fits(array)]
    if len(fitting) == 1:
        return fitting[0]
    held = ", ".join(f"{name or 'array'} {tuple(array.shape)}" for name, array in list(arrays.items())[:8]) or "none"
    raise InvalidInput(
        f"{path.name!r} must hold one array that is clearly meant; name it one of {', '.join(names)}. It holds: {held}."
    )


def _optional_targets(arrays: Mapping[str, Any]) -> Any | None:
    for name in TARGET_NAMES:
        if name in arrays:
            return arrays[name]
    return None


def _check_waveforms(array: Any, path: Path) -> None:
    if array.ndim != 2 or array.shape[1] != SAMPLES or array.dtype.kind not in "iuf":
        raise InvalidInput(
            f"Waveforms must be numbers of shape (n, {SAMPLES}), one row each; {path.name!r} holds "
            f"{array.dtype} of shape {tuple(array.shape)}."
        )


def _checked_targets(array: Any, waveforms: int) -> Float[np.ndarray, "wave"]:
    """Return the separations as a flat array of floats."""
    if not _is_column(array) or array.dtype.kind not in "iuf":
        raise InvalidInput(f"Separations must be numbers of shape (n,); found {array.dtype} of {tuple(array.shape)}.")
    d = np.asarray(array, dtype=np.float64).ravel()
    if len(d) != waveforms:
        raise InvalidInput(f"There are {waveforms} waveforms and {len(d)} separations; each waveform needs its own.")
    outside = ~((d >= 0.0) & (d <= 1.0))  # so that nan is outside, too
    if outside.any():
        first = int(np.argmax(outside))
        raise InvalidInput(
            f"Separations are a share of {D_SAMPLES} samples, from 0 to 1; row {first} is {d[first]:g}. "
            f"Divide samples by {D_SAMPLES}, or microseconds by {D_SAMPLES * SAMPLE_US:g}."
        )
    return d
