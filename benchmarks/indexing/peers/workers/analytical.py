"""Run inside mlindex's environment: one pattern from the input, the cells of `mlindex.run_analytical` as JSON."""

import contextlib
import io
import json
import resource
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Call the program's own entry point on a file, as its documentation says."""
    # Imported first: after numba and scipy, the extension modules of cctbx crash in some environments.
    import cctbx.crystal  # pyright: ignore[reportMissingImports]
    import cctbx.sgtbx.lattice_symmetry  # noqa: F401  # pyright: ignore[reportMissingImports]
    import numpy as np
    from mlindex.command_line import run_analytical  # pyright: ignore[reportMissingImports]

    question = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        peaks, answer = Path(folder) / "peaks.npy", Path(folder) / "answer.json"
        np.save(peaks, np.array(question["q2"]))
        sys.argv = ["mlindex.run_analytical", "--peak-file", str(peaks), "--peak-units", "q2"]
        sys.argv += ["--nproc", str(question["processes"]), "--output-file", str(answer)]
        sys.argv += ["--bravais-lattices", ",".join(question["lattices"])]
        start, cpu = time.perf_counter(), _cpu()
        with contextlib.redirect_stdout(io.StringIO()):
            run_analytical.main()
        wall, cpu = time.perf_counter() - start, _cpu() - cpu
        cells = _cells(json.loads(answer.read_text()))
    print(json.dumps({"cells": cells, "wall_s": wall, "cpu_s": cpu}))


def _cells(columns: dict) -> list:
    constants = ("a", "b", "c", "alpha", "beta", "gamma")
    # A figure of merit that could not be worked out is null.
    whole = [row for row in columns["M20"] if None not in [columns[name][row] for name in ("M20", *constants)]]
    rows = sorted(whole, key=lambda row: -columns["M20"][row])[:20]
    return [
        {
            "bravais": columns["bravais_lattice"][row],
            "cell": [columns[name][row] for name in constants],
            "m20": columns["M20"][row],
        }
        for row in rows
    ]


def _cpu() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


if __name__ == "__main__":
    main()
