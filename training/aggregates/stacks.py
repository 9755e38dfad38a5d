"""Sets of patterns with the number of particles of each, in files: to train on measurements, and to give sets away.

Images are read by the readers of the service and brought to the models' grid by the same function, batch by batch, so
that a set may be larger than the memory. `training.aggregates.labels.open_set` opens one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from jaxtyping import Int

from app.aggregates.intake import prepare
from app.aggregates.measurement import Measurement
from app.errors import InvalidInput
from training.aggregates.parts import Part
from training.aggregates.place import MOST
from training.aggregates.simulate import Patterns, join

SAMPLE: Final = "entry_1/sample_1"
"""Where `write_set` keeps the truth: CXI leaves this group open to more."""
TRUTH: Final = ("radius_px", "photons", "overlap", "beam_stop_px", "centre_px", "positions_px", "radii_px")
UNITS: Final = MappingProxyType(
    {
        "number": "particles",
        "radius_px": "object pixels: wavelength x distance / (128 x detector pixel)",
        "photons": "photons that one particle alone scatters",
        "overlap": "share of the particles' areas hidden behind others",
        "beam_stop_px": "detector pixels",
        "centre_px": "row and column, detector pixels",
        "positions_px": "row, column, depth, object pixels; NaN where there is no particle",
        "radii_px": "object pixels",
    }
)
SHAPES: Final = MappingProxyType({"positions_px": (MOST, 3), "radii_px": (MOST,)})
"""Shape of a truth that is not one number an image."""
CXI_VERSION: Final = 160
CXI_PIXEL_IS_INVALID: Final = 1
"""Bit of a CXI mask: the pixel does not measure."""
CHUNK: Final = 16
"""Images of one compressed chunk."""
RUNS: Final = 8
"""A shuffled batch is put together from runs of neighbouring images at this many places of the set."""


@dataclass(frozen=True)
class LabelledSet:
    """Patterns with the number of particles of each, in files.

    Attributes:
        parts: the files.
        measurement: what is declared of sample and detector; radii and beam stops that a file states go before it.
        centre_px: row and column of the direct beam [image pixels]; None: what a file states, else found in each image.
    """

    parts: tuple[Part, ...]
    measurement: Measurement
    centre_px: tuple[float, float] | None = None

    def __len__(self) -> int:
        return self._ends[-1] if self.parts else 0

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(map(len, self.parts)))

    @property
    def number(self) -> Int[np.ndarray, " image"]:
        """Particles on every image."""
        return np.concatenate([part.number for part in self.parts])

    def __getitem__(self, rows: slice) -> Patterns:
        """Neighbouring patterns, read and brought to the grid; what the files do not tell is NaN.

        Raises:
            InvalidInput: an image or the declared measurement makes no sense; no pattern, or a step other than 1.
        """
        first, last, step = rows.indices(len(self))
        if step != 1 or last <= first:
            raise InvalidInput(f"take one or more neighbouring patterns of {len(self)}; asked for {first} to {last}")
        pieces = []
        for index in range(bisect_right(self._ends, first), len(self.parts)):
            part = self.parts[index]
            start = self._ends[index] - len(part)
            if start >= last:
                break
            pieces.append(self._patterns(part, slice(max(first - start, 0), min(last - start, len(part)))))
        return join(pieces)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Patterns]:
        """All patterns once, `size` at a time, in order; with `rng` shuffled anew.

        A shuffled batch mixes runs of neighbours from 8 random places, so that a set sorted by number is mixed and
        files are still read in runs.
        """
        if rng is None:
            yield from (self[first : first + size] for first in range(0, len(self), size))
            return
        run = max(1, size // RUNS)
        waiting: list[Patterns] = []
        for start in rng.permutation(np.arange(0, len(self), run)).tolist():
            waiting.append(self[start : start + run])
            if sum(map(len, waiting)) >= size:
                mixed = _shuffled(waiting, rng)
                yield mixed[:size]
                waiting = [mixed[size:]] if len(mixed) > size else []
        if waiting:
            yield _shuffled(waiting, rng)

    def _patterns(self, part: Part, rows: slice) -> Patterns:
        stack = part.images(rows)
        truth = {name: values[rows] for name, values in part.truth.items()}
        centre = truth.get("centre_px") if self.centre_px is None else np.array(self.centre_px)
        prepared = prepare(stack.images, stack.mask, centre, _stated(self.measurement, truth))
        known = {
            "radius_px": np.array([setting.radius_px for setting in prepared.settings]),
            "beam_stop_px": np.array([setting.beam_stop_px for setting in prepared.settings]),
            **truth,
            "centre_px": prepared.centre_px,
        }
        count = len(prepared)
        filled = {name: known.get(name, np.full((count, *SHAPES.get(name, ())), np.nan)) for name in TRUTH}
        return Patterns(
            prepared.patterns, prepared.mask, part.number[rows], **filled, particle=self.measurement.particle
        )


def _stated(measurement: Measurement, truth: dict[str, np.ndarray]) -> Measurement:
    """The measurement that a file of `write_set` states; its images lie on the grid already."""
    if "radius_px" in truth:
        radius = float(np.median(truth["radius_px"]))
        measurement = replace(measurement, radius_px=radius, particle_radius_nm=None, binning=1)
    if "beam_stop_px" in truth:
        measurement = replace(measurement, beam_stop_px=max(0.0, float(np.median(truth["beam_stop_px"]))))
    return measurement


def _shuffled(parts: list[Patterns], rng: np.random.Generator) -> Patterns:
    together = join(parts)
    return together[rng.permutation(len(together))]


def write_set(path: Path, patterns: Iterable[Patterns], *, title: str) -> int:
    """Write patterns and the truth behind them to one HDF5 file in the layout of CXI; `open_set` reads it again.

    Counts are written as whole numbers, compressed; the group `/entry_1/sample_1` says what is known of each image,
    with units.

    Args:
        path: the file to write; one that is there is overwritten.
        patterns: batches of one kind of particle, as `simulate.batches` gives them.
        title: what the set is: the name of the simulation and its seed.

    Returns:
        Number of patterns written.
    """
    import h5py

    written = 0
    with h5py.File(path, "w") as file:
        file["cxi_version"] = CXI_VERSION
        file["entry_1/title"] = title
        for batch in patterns:
            _append(file, "entry_1/data_1/data", batch.counts.astype(np.uint32))
            _append(file, "entry_1/instrument_1/detector_1/mask", _cxi_mask(batch))
            _append(file, f"{SAMPLE}/number", batch.number.astype(np.uint8))
            for name in TRUTH:
                _append(file, f"{SAMPLE}/{name}", getattr(batch, name))
            file[SAMPLE].attrs["particle"] = batch.particle
            written += len(batch)
        if written:
            file["entry_1/instrument_1/detector_1/data"] = h5py.SoftLink("/entry_1/data_1/data")
            for name, unit in UNITS.items():
                file[f"{SAMPLE}/{name}"].attrs["units"] = unit
    return written


def _cxi_mask(batch: Patterns) -> np.ndarray:
    return np.where(batch.mask, 0, CXI_PIXEL_IS_INVALID).astype(np.uint32)


def _append(file: Any, name: str, values: np.ndarray) -> None:
    if name not in file:
        rest = values.shape[1:]
        compressed: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
        file.create_dataset(name, data=values, maxshape=(None, *rest), chunks=(CHUNK, *rest), **compressed)
        return
    dataset = file[name]
    dataset.resize(len(dataset) + len(values), axis=0)
    dataset[-len(values) :] = values
