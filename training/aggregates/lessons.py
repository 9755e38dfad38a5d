"""A set of lessons on disk, made once and read by every epoch; making it goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, Int
from tqdm import tqdm

from app.aggregates.features import CHANNELS, COLUMNS, NUMBERS, ROWS
from training.aggregates.school import BLOCK, SchoolArgs, lesson

ROWS_OF_FACTS: Final = ("number", "verdict", "log_ratio", "radius_px", "photons", "overlap", "sphere", "beam_stop_px")


@dataclass(frozen=True)
class LessonSet:
    """Lessons as arrays, some of them on disk.

    Attributes:
        maps: `Features.maps` in half precision.
        numbers: `Features.numbers`.
        facts: what is true of each, the keys `ROWS_OF_FACTS`.
    """

    maps: np.ndarray
    numbers: Float32[np.ndarray, "image feature"]
    facts: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: slice) -> LessonSet:
        """Some of them."""
        return LessonSet(self.maps[rows], self.numbers[rows], {k: v[rows] for k, v in self.facts.items()})

    @property
    def fits(self) -> np.ndarray:
        """Where everything is declared rightly."""
        return self.facts["verdict"] == 0

    def targets(self, rows: Int[np.ndarray, "batch"] | slice = slice(None)) -> Float32[np.ndarray, "batch 3"]:
        """Number - 1, index of the verdict, logarithm of true over declared radius."""
        facts = self.facts
        columns = facts["number"][rows] - 1, facts["verdict"][rows], facts["log_ratio"][rows]
        return np.stack(columns, axis=1).astype(np.float32)


def lesson_set(folder: Path, args: SchoolArgs, seed: int, images: int) -> LessonSet:
    """Read a set, making what is missing of it.

    Args:
        folder: where it is kept; made where missing.
        args: what is drawn.
        seed: names the endless set.
        images: how many patterns; rounded up to whole blocks.

    Raises:
        ValueError: the folder holds a set of other arguments.
    """
    blocks = -(-images // BLOCK)
    folder.mkdir(parents=True, exist_ok=True)
    _check(folder, {"args": asdict(args), "seed": seed, "blocks": blocks})
    maps = _opened(folder / "maps.npy", (blocks * BLOCK, ROWS, COLUMNS, len(CHANNELS)), np.float16)
    numbers = _opened(folder / "numbers.npy", (blocks * BLOCK, len(NUMBERS)), np.float32)
    facts = _opened(folder / "facts.npy", (blocks * BLOCK, len(ROWS_OF_FACTS)), np.float64)
    done = folder / "done.txt"
    first = int(done.read_text("utf-8")) if done.exists() else 0
    for index in tqdm(range(first, blocks), desc=f"patterns of seed {seed}", disable=first == blocks, mininterval=5):
        rows = slice(index * BLOCK, (index + 1) * BLOCK)
        maps[rows], numbers[rows], facts[rows] = _block(args, seed, index)
        if index % 20 == 19 or index == blocks - 1:
            for each in (maps, numbers, facts):
                each.flush()
            done.write_text(str(index + 1), "utf-8")
    columns = {name: np.array(facts[:, k]) for k, name in enumerate(ROWS_OF_FACTS)}
    return LessonSet(maps, np.array(numbers), columns)


def _block(args: SchoolArgs, seed: int, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    taught = lesson(args, seed, index)
    patterns = taught.patterns
    facts = (
        taught.number,
        taught.verdict,
        taught.log_ratio,
        patterns.radius_px,
        patterns.photons,
        patterns.overlap,
        np.full(BLOCK, patterns.particle == "sphere"),
        patterns.beam_stop_px,
    )
    return taught.features.maps.astype(np.float16), taught.features.numbers, np.stack(facts, axis=1).astype(float)


def _check(folder: Path, told: Mapping[str, object]) -> None:
    file, text = folder / "set.json", json.dumps(told, indent=1)
    if file.exists() and file.read_text("utf-8") != text:
        raise ValueError("the folder holds a set of other arguments; name another folder, or remove it")
    file.write_text(text, "utf-8")


def _opened(file: Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
    mode = "r+" if file.exists() else "w+"
    return np.lib.format.open_memmap(file, mode, dtype, shape)
