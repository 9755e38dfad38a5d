"""From how far walks with index networks reach the true cell, and at what cost, beside the walk without.

    python -m benchmarks.indexing.index_walks --cases ../shared/data/indexing/simulated.json --runs RUNS
    python -m benchmarks.indexing.index_walks --patterns runs/indexing/data --most 12 --runs runs/indexing/indices

Every method starts from the same cells around the true one (the axes off by a normal deviate of so many per cent, the
cosines of free angles by as much) and ends with the same polishing. Printed are the share that ends within 2% of the
true metric, CPU milliseconds for each start, and how many starts reach the true cell in a CPU second: that is what a
search gains from a method. One thread; the methods take turns case by case.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from app.crystallography.bragg import dq2_d_two_theta
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.indexing.learned.index_descent import DescentOptions, Stage, descend
from app.indexing.learned.index_walk import Assigners, NetworkKernel, NetworkSteps, with_design
from app.indexing.learned.indices import AssignmentNetworks, together
from app.indexing.learned.plain_network import PlainNetwork
from app.indexing.problem import Candidates
from app.indexing.walk.kernel_numba import NumbaKernel
from app.indexing.walk.mcmc import Bounds, McmcOptions, lattice_problem, one_pattern, refine
from app.model_registry.convert import Conversion, KerasNetwork, convert_all
from app.model_registry.manifest import TensorSpec
from app.model_registry.runtime import LiteRTModel
from benchmarks.indexing.kernel import N_LINES, SIGMA_DEG, Start, perturbed, reached, read_starts
from training.indexing.data.pattern_set import read_patterns
from training.indexing.indices.networks import finished_levels, read_network
from training.indexing.indices.table import SeenTable, read_table

SPREADS = (0.02, 0.05, 0.1)
WAVELENGTH_ANG = 1.5406
Walk = Callable[[Start, Float[np.ndarray, "cell param"]], Float[np.ndarray, "cell param"]]


@dataclass
class Tally:
    """Starts, those that reached the true cell, and seconds of CPU."""

    starts: int = 0
    reached: int = 0
    cpu_s: float = 0.0

    @property
    def row(self) -> str:
        share, cost_ms = 100 * self.reached / max(self.starts, 1), 1e3 * self.cpu_s / max(self.starts, 1)
        return f"{share:.0f} | {cost_ms:.2f} | {self.reached / max(self.cpu_s, 1e-9):.0f}"


def walked(**changes: float | bool) -> Walk:
    """The walk as it is, with options changed."""
    options = replace(McmcOptions(), **changes)
    return lambda start, x: refine(Candidates(x), start.problem, options, 0, NumbaKernel(1)).x


def with_networks(networks: Assigners, steps: NetworkSteps, n_steps: int = 50) -> Walk:
    """The walk with its first steps drawn by networks."""

    def walk(start: Start, x: Float[np.ndarray, "cell param"]) -> Float[np.ndarray, "cell param"]:
        bravais = start.lattice.symbol
        problem = with_design(start.problem, networks.network(bravais, steps.levels[0]), bravais)
        kernel = NetworkKernel(NumbaKernel(1), bravais, networks, steps)
        return refine(Candidates(x), problem, McmcOptions(n_steps=n_steps), 0, kernel).x

    return walk


def descended(networks: AssignmentNetworks, level: str, options: DescentOptions, n_steps: int) -> Walk:
    """The descent over all assignments, then so many steps of the walk."""

    def walk(start: Start, x: Float[np.ndarray, "cell param"]) -> Float[np.ndarray, "cell param"]:
        bravais, lines = start.lattice.symbol, start.problem.lines
        network = networks.network(bravais, level)
        if not isinstance(network.run, PlainNetwork):
            raise TypeError("the descent needs the plain form of the network")
        n = min(int(lines.count[0]), network.n_peaks)
        found = descend(network, network.run, bravais, x, lines.q2[0, :n], lines.sigma_q2[0, :n], options)
        return refine(Candidates(found), start.problem, McmcOptions(n_steps=n_steps), 0, NumbaKernel(1)).x

    return walk


def methods_of(networks: AssignmentNetworks, plain: AssignmentNetworks, tables: Assigners) -> dict[str, Walk]:
    """What is compared: the walk with more steps, with networks, with a table instead, and the descent."""
    return {
        "nearest, 50 steps (the default)": walked(),
        "summed within 5 sigma, 50 steps": walked(summed=True),
        "nearest, 150 steps": walked(n_steps=150),
        "nearest, 400 steps": walked(n_steps=400),
        "nearest, 1000 steps": walked(n_steps=1000),
        "network 0.05 in 1 step of 50": with_networks(networks, NetworkSteps(("0.05",))),
        "networks in 3 steps of 50": with_networks(networks, NetworkSteps()),
        "the same, lines at random": with_networks(networks, NetworkSteps(draw_lines=False)),
        "the same, most probable index": with_networks(networks, NetworkSteps(draw_indices=False)),
        "networks in all of 8 steps": with_networks(networks, NetworkSteps(_SCHEDULE), n_steps=8),
        "networks in 8 steps of 50": with_networks(networks, NetworkSteps(_SCHEDULE)),
        "table in 3 steps of 50": with_networks(tables, NetworkSteps()),
        "table in 3 steps of 50, most probable index": with_networks(tables, NetworkSteps(draw_indices=False)),
        "descent, expected": descended(plain, "0.05", DescentOptions("expected"), 0),
        "descent, marginal": descended(plain, "0.05", DescentOptions("marginal"), 0),
        "descent, expected, not widened": descended(plain, "0.05", DescentOptions(stages=(Stage(0.0, 15),)), 0),
        "descent, expected, then 50 steps": descended(plain, "0.05", DescentOptions(), 50),
    }


_SCHEDULE = ("0.10", "0.10", "0.05", "0.05", "0.05", "0.025", "0.025", "0.01")


def starts_of_patterns(folder: Path, symbol: str, most: int) -> list[Start]:
    """Real structures that nothing was trained on, their lines with normal errors."""
    patterns = read_patterns(folder, bravais=symbol, validation=True, real=True)
    rng, lattice, found = np.random.default_rng(0), LATTICES[symbol], []
    for row in rng.permutation(len(patterns))[:most]:
        q2 = patterns.q2[row][np.isfinite(patterns.q2[row])][:N_LINES].astype(float)
        slope = dq2_d_two_theta(q2_inv_ang2=q2, wavelength_ang=WAVELENGTH_ANG)
        q2 = np.sort(q2 + SIGMA_DEG * slope * rng.standard_normal(q2.size))
        if q2.size > lattice.n_params + 3:
            problem = lattice_problem(lattice, one_pattern(q2, SIGMA_DEG * slope, slope), Bounds(lattice.terms))
            found.append(Start(lattice, problem, UnitCell(*map(float, patterns.cell[row]))))
    return found


def compiled(folder: Path, levels: tuple[str, ...]) -> list[LiteRTModel]:
    """The fast forms of a run's networks; converted once, then kept beside them."""
    missing = [level for level in levels if not (folder / f"{level}.tflite").is_file()]
    given = [KerasNetwork((folder / f"{level}.keras").read_bytes()) for level in missing]
    for level, found in zip(missing, convert_all(given) if given else [], strict=True):
        if not isinstance(found, Conversion):
            raise found
        (folder / f"{level}.tflite").write_bytes(found.tflite)
        specs = [[spec.model_dump() for spec in part] for part in (found.inputs, found.outputs)]
        (folder / f"{level}.specs.json").write_text(json.dumps(specs))
    return [_read_compiled(folder, level) for level in levels]


def _read_compiled(folder: Path, level: str) -> LiteRTModel:
    specs = json.loads((folder / f"{level}.specs.json").read_text())
    inputs, outputs = ([TensorSpec(**spec) for spec in part] for part in specs)
    return LiteRTModel((folder / f"{level}.tflite").read_bytes(), inputs, outputs)


def networks_of(folder: Path, system: str) -> tuple[AssignmentNetworks, AssignmentNetworks]:
    """The networks of a run, in the fast and in the plain form."""
    levels = finished_levels(folder)
    plain = [read_network(folder / f"{level}.npz", system) for level in levels]
    fast = [replace(one, run=run) for one, run in zip(plain, compiled(folder, levels), strict=True)]
    return together(fast), together(plain)


@dataclass(frozen=True)
class Tables:
    """The tables of one lattice system by level."""

    by_level: Mapping[str, SeenTable]

    def network(self, bravais: str, level: str) -> SeenTable:
        """Look one up."""
        return self.by_level[level]


def compare(starts: list[Start], methods: Mapping[str, Walk], spread: float, n_starts: int) -> dict[str, Tally]:
    """Let every method start from the same cells of every case."""
    tallies = {name: Tally() for name in methods}
    for number, start in enumerate(starts):
        x = perturbed(start, spread, n_starts, seed=number)
        x = x[np.all(np.isfinite(x), axis=1)]
        for name, walk in methods.items():
            began = time.process_time()
            found = walk(start, x)
            tallies[name].cpu_s += time.process_time() - began
            tallies[name].starts += len(x)
            tallies[name].reached += int(reached(start, found).sum())
    return tallies


def main() -> None:
    """Print a table for each lattice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, nargs="+", help="JSON files of cases with known cells")
    parser.add_argument("--patterns", type=Path, help="folder of patterns; its held-out real structures are taken")
    parser.add_argument("--most", type=int, default=8, help="patterns of each lattice")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the trained networks")
    parser.add_argument("--lattices", default="oP,mP,aP")
    parser.add_argument("--starts", type=int, default=64, help="starts for each case and spread")
    parser.add_argument("--only", default="", help="methods whose name holds one of these words, split by |")
    asked = parser.parse_args()
    for symbol in asked.lattices.split(","):
        system = LATTICES[symbol].system
        fast, plain = networks_of(asked.runs / system, system)
        tables = Tables({level: read_table(asked.runs / system, level) for level in NetworkSteps().levels})
        words = asked.only.split("|")
        methods = {n: walk for n, walk in methods_of(fast, plain, tables).items() if any(word in n for word in words)}
        starts = (
            read_starts(asked.cases, {symbol})
            if asked.cases
            else starts_of_patterns(asked.patterns, symbol, asked.most)
        )
        for walk in methods.values():  # compiles, and loads what is loaded once
            walk(starts[0], perturbed(starts[0], SPREADS[0], 2))
        found = [compare(starts, methods, spread, asked.starts) for spread in SPREADS]
        print(f"\n{symbol}, {len(starts)} structures")
        heads = " | ".join(f"{100 * spread:.0f}%: reached % | ms | reached / s" for spread in SPREADS)
        print(f"| method | {heads} |\n|---" + "|---" * (3 * len(SPREADS)) + "|")
        for name in methods:
            print(f"| {name} | " + " | ".join(table[name].row for table in found) + " |", flush=True)


if __name__ == "__main__":
    main()
