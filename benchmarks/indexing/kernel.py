"""How fast the refinement step is, and from how far it reaches the true cell.

    python -m benchmarks.indexing.kernel --cases ../shared/data/indexing/simulated.json -- speed
    ... -- basin
    ... -- options

`speed` walks 4,096 candidates beside 20 lines and 500 reflections with each kernel, and prints microseconds of CPU and
of wall time for one candidate and one step. `basin` starts candidates around the true cell of every case, the axes off
by a normal deviate of so many per cent and the cosines of free angles by as much, and prints the share that ends within
2% of the true metric (the same lattice in another basis does not count). `options` does so with options of the walk
changed one at a time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from app.crystallography.bragg import dq2_d_two_theta, q2_from_two_theta
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import CONSTANTS, LATTICES, BravaisLattice
from app.crystallography.metric import x_from_cell, x_from_constants
from app.indexing.problem import Candidates
from app.indexing.walk.kernel_numba import NumbaKernel
from app.indexing.walk.kernel_numpy import NumpyKernel
from app.indexing.walk.mcmc import Bounds, Kernel, McmcOptions, Problem, lattice_problem, one_pattern, refine

N_LINES = 20
SIGMA_DEG = 0.015
N_STARTS = 128
SPREADS = (0.01, 0.02, 0.05, 0.1)
CLOSE = 0.02
"""Of the metric terms: half of it in a length."""
N_SPEED = 4096
SPEED_STEPS = 20
SPEED_ROUNDS = 3
STUDENT = {"source_density": False, "temperature": 1.0}
VARIANTS: dict[str, dict[str, float | bool]] = {
    "default": {},
    "summed over reflections within 5 sigma": {"summed": True},
    "summed within 100 sigma": {"summed": True, "window_sigmas": 100.0},
    "Student's t, nearest reflection": STUDENT,
    "Student's t, summed within 5 sigma": {**STUDENT, "summed": True},
    "Student's t, summed within 100 sigma": {**STUDENT, "summed": True, "window_sigmas": 100.0},
    "nearest index only": {"resample": 0.0},
    "temperature 1": {"temperature": 1.0},
    "temperature 1000": {"temperature": 1000.0},
    "all lines in each refit": {"lines_per_parameter": np.inf},
    "150 steps": {"n_steps": 150},
}


@dataclass(frozen=True)
class Start:
    """One case: its problem, its true metric terms, and how to perturb them."""

    lattice: BravaisLattice
    problem: Problem
    cell: UnitCell

    @property
    def true_x(self) -> Float[np.ndarray, "param"]:
        """Metric terms of the true cell."""
        return x_from_cell(self.lattice, self.cell)


def read_starts(paths: Iterable[Path], lattices: set[str], impurities: int = 0) -> list[Start]:
    """Read the cases of these lattices, the lines up to the 20th, with so many foreign lines added."""
    entries = [entry for path in paths for entry in json.loads(path.read_text())]
    return [_start(entry, impurities) for entry in entries if entry["bravais"] in lattices]


def _start(entry: dict, impurities: int) -> Start:
    lattice, two_theta = LATTICES[entry["bravais"]], np.sort(entry["two_theta"])[:N_LINES]
    foreign = np.random.default_rng(len(entry["id"])).uniform(two_theta[0], two_theta[-1], impurities)
    two_theta = np.sort(np.concatenate([two_theta, foreign]))
    q2 = q2_from_two_theta(two_theta_deg=two_theta, wavelength_ang=entry["wavelength"])
    slope = dq2_d_two_theta(q2_inv_ang2=q2, wavelength_ang=entry["wavelength"])
    problem = lattice_problem(lattice, one_pattern(q2, SIGMA_DEG * slope, slope), Bounds(lattice.terms))
    return Start(lattice, problem, UnitCell(*entry["cell"]))


def perturbed(start: Start, spread: float, n: int, seed: int = 0) -> Float[np.ndarray, "cell param"]:
    """Perturb the lengths relatively, and the cosines of free angles absolutely, by normal deviates."""
    generator = np.random.default_rng(seed)
    constants = np.tile(np.array(start.cell.constants), (n, 1))
    deviates = spread * generator.standard_normal((n, 6))
    moved = constants.copy()
    moved[:, :3] *= 1 + deviates[:, :3]
    moved[:, 3:] = np.degrees(np.arccos(np.clip(np.cos(np.radians(constants[:, 3:])) + deviates[:, 3:], -0.95, 0.95)))
    for column, source in enumerate(start.lattice.form.setting):
        if isinstance(source, str):
            constants[:, column] = moved[:, CONSTANTS.index(source)]
    return x_from_constants(start.lattice, constants)


def reached(start: Start, x: Float[np.ndarray, "cell param"]) -> Bool[np.ndarray, "cell"]:
    """Tell which metrics agree with the true one in every coefficient, cross terms relative to their axes."""
    form, true = x @ start.lattice.terms, start.true_x @ start.lattice.terms
    g = true[:3]
    scale = np.concatenate([g, np.sqrt(g[[1, 0, 0]] * g[[2, 2, 1]])])
    return np.all(np.abs(form - true) < CLOSE * scale, axis=1)


def success(starts: list[Start], spread: float, options: McmcOptions, kernel: Kernel) -> float:
    """Share of the candidates that reach the true cell, in per cent, averaged over the cases."""
    shares = []
    for start in starts:
        x = perturbed(start, spread, N_STARTS)
        x = x[np.all(np.isfinite(x), axis=1)]
        found = refine(Candidates(x), start.problem, options, 0, kernel)
        shares.append(reached(start, found.x).mean())
    return 100 * float(np.mean(shares))


def basin(paths: list[Path]) -> None:
    """Print success by lattice, start and number of steps."""
    print("| lattice | steps | " + " | ".join(f"{100 * s:.0f}%" for s in SPREADS) + " |")
    print("|---" * (len(SPREADS) + 2) + "|")
    for symbol in LATTICES:
        starts = read_starts(paths, {symbol})
        for n_steps in (0, 20, 50, 200):
            options = McmcOptions(n_steps=n_steps)
            shares = (success(starts, spread, options, NumbaKernel()) for spread in SPREADS)
            print(f"| {symbol} | {n_steps} | " + " | ".join(f"{share:.0f}" for share in shares) + " |", flush=True)


def compare_options(paths: list[Path]) -> None:
    """Print success with options changed one at a time, without and with foreign lines."""
    groups = ("oP", "mP", "aP")
    print("| options | us/step | " + " | ".join(f"{g} 2% / 5% / 10%, 5% + 5 impurities" for g in groups) + " |")
    clean, dirty = ([read_starts(paths, {g}, n) for g in groups] for n in (0, 5))
    for name, changes in VARIANTS.items():
        options = replace(McmcOptions(), **changes)
        before = time.process_time()
        cells = []
        for with_none, with_five in zip(clean, dirty, strict=True):
            shares = [success(with_none, spread, options, NumbaKernel(1)) for spread in (0.02, 0.05, 0.1)]
            shares.append(success(with_five, 0.05, options, NumbaKernel(1)))
            cells.append(" / ".join(f"{share:.0f}" for share in shares[:3]) + f", {shares[3]:.0f}")
        n_steps = 4 * N_STARTS * sum(map(len, clean)) * (options.n_steps + options.n_polish + 2)
        print(
            f"| {name} | {1e6 * (time.process_time() - before) / n_steps:.1f} | " + " | ".join(cells) + " |", flush=True
        )


def _kernels() -> dict[str, Callable[[], Kernel]]:
    def keras() -> Kernel:
        from app.indexing.walk.kernel_keras import KerasKernel

        return KerasKernel("float32")

    return {
        "numba, 1 thread": lambda: NumbaKernel(1),
        "numba, all cores": NumbaKernel,
        "keras.ops, float32": keras,
        "numpy": NumpyKernel,
    }


def speed(paths: list[Path]) -> None:
    """Print the cost of one candidate and step for each kernel."""
    print("| kernel | lattice | CPU us | wall us |\n|---|---|---|---|")
    for name, make in _kernels().items():
        kernel = make()
        n_cells, n_steps = (64, 2) if isinstance(kernel, NumpyKernel) else (N_SPEED, SPEED_STEPS)
        for symbol in ("tP", "oP", "mP", "aP"):
            start = max(read_starts(paths, {symbol}), key=lambda one: one.problem.lines.count[0])
            cpu, wall = _cost(kernel, start, n_cells, n_steps)
            print(f"| {name} | {symbol} | {cpu:.2f} | {wall:.2f} |", flush=True)


def _cost(kernel: Kernel, start: Start, n_cells: int, n_steps: int) -> tuple[float, float]:
    x, options = perturbed(start, 0.05, n_cells), McmcOptions()
    state = kernel.start(x, np.arange(n_cells), np.zeros(n_cells, int), start.problem, options)
    kernel.advance(state, start.problem, options, 0, range(1))
    rounds = []
    for _ in range(SPEED_ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        kernel.advance(state, start.problem, options, 0, range(n_steps))
        rounds.append((time.process_time() - cpu, time.perf_counter() - wall))
    return tuple(1e6 / (n_cells * n_steps) * np.min(rounds, axis=0))


_COMMANDS = {"speed": speed, "basin": basin, "options": compare_options}


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, nargs="+", required=True, help="JSON files of cases with known cells")
    parser.add_argument("what", choices=_COMMANDS)
    asked = parser.parse_args()
    _COMMANDS[asked.what](asked.cases)


if __name__ == "__main__":
    main()
