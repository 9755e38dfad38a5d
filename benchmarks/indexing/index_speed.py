"""What a forward pass of an index network costs for a batch of cells: plain NumPy, LiteRT, Keras; and its gradient.

    OMP_NUM_THREADS=1 python -m benchmarks.indexing.index_speed --run runs/indexing/indices/triclinic --level 0.05

Prints microseconds of CPU for one cell of 20 lines, and where they go; the forms take turns, the least of the rounds
counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from app.indexing.learned.index_walk import CHUNK
from app.indexing.learned.indices import INPUT, OUTPUT, closeness, probabilities_from_logits
from app.model_registry.convert import KerasNetwork, convert
from app.model_registry.runtime import LiteRTModel
from training.indexing.indices.networks import read_plain

ROUNDS = 5


def _chunked(work: Callable[[np.ndarray], object], given: np.ndarray) -> Callable[[], None]:
    def all_of_it() -> None:
        for first in range(0, len(given), CHUNK):
            work(given[first : first + CHUNK])

    return all_of_it


def measure(works: Mapping[str, Callable[[], object]], n_cells: int) -> dict[str, float]:
    """Microseconds of CPU for one cell."""
    best = dict.fromkeys(works, np.inf)
    for work in works.values():
        work()
    for _ in range(ROUNDS):
        for name, work in works.items():
            began = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - began)
    return {name: 1e6 * seconds / n_cells for name, seconds in best.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of one lattice system's run")
    parser.add_argument("--level", default="0.05")
    parser.add_argument("--cells", type=int, default=1024)
    asked = parser.parse_args()
    plain, hkl, _, epsilon = read_plain(asked.run / f"{asked.level}.npz")
    shape = (asked.cells, plain.heads.shape[0], len(hkl))
    difference = np.random.default_rng(0).normal(0.0, 0.1, shape).astype(np.float32)
    near = closeness(difference, epsilon)
    found = convert(KerasNetwork((asked.run / f"{asked.level}.keras").read_bytes()))
    compiled = LiteRTModel(found.tflite, found.inputs, found.outputs)
    logits = plain({INPUT: near[:CHUNK]})[OUTPUT]
    print(f"largest difference of a logit: {np.abs(compiled({INPUT: near[:CHUNK]})[OUTPUT] - logits).max():.1e}")
    works = {
        "closeness": _chunked(lambda part: closeness(part, epsilon), difference),
        "plain NumPy": _chunked(lambda part: plain({INPUT: part}), near),
        "plain NumPy, with its gradient": _chunked(lambda part: plain.pulled_back(*plain.traced(part)), near),
        f"LiteRT, {CHUNK} cells at a time": _chunked(lambda part: compiled({INPUT: part}), near),
        "LiteRT, all at once": lambda: compiled({INPUT: near}),
        "softmax": _chunked(lambda part: probabilities_from_logits(part), near),
    }
    print("| what | us of CPU for one cell |\n|---|---|")
    for name, cost in measure(works, asked.cells).items():
        print(f"| {name} | {cost:.0f} |")


if __name__ == "__main__":
    main()
