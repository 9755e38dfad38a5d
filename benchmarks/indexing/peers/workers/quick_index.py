"""Run by Debian's Python with pyobjcryst: one pattern from the input, the cells of `quick_index` as JSON."""

import json
import math
import resource
import sys
import time
from typing import Any

FAMILY = {
    "TRICLINIC": "a",
    "MONOCLINIC": "m",
    "ORTHOROMBIC": "o",
    "TETRAGONAL": "t",
    "RHOMBOEDRAL": "r",
    "HEXAGONAL": "h",
    "CUBIC": "c",
}


def main() -> None:
    """Call `quick_index` with its defaults, or with every centring tried."""
    from pyobjcryst.indexing import PeakList, quick_index  # pyright: ignore[reportMissingImports]

    question = json.load(sys.stdin)
    peaks = PeakList()
    peaks.set_dobs_list([math.sqrt(q2) for q2 in question["q2"]])
    start, cpu = time.perf_counter(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    explorer = quick_index(peaks, verbose=False, try_centered_lattice=not question["every_centring"])
    wall, cpu = time.perf_counter() - start, sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - cpu
    solutions = sorted(explorer.GetSolutions(), key=lambda solution: -solution[1])[:20]
    cells = [_cell(reciprocal, score) for reciprocal, score in solutions]
    print(json.dumps({"cells": cells, "wall_s": wall, "cpu_s": cpu}))


def _cell(reciprocal: Any, score: float) -> dict:
    a, b, c, alpha, beta, gamma, _ = reciprocal.DirectUnitCell()
    system, centring = reciprocal.mlattice.name, reciprocal.mCentering.name[-1]
    constants = [a, b, c, *(math.degrees(angle) for angle in (alpha, beta, gamma))]
    return {"bravais": FAMILY[system] + centring, "cell": constants, "m20": score}


if __name__ == "__main__":
    main()
