"""Cells from variance networks and forests beside the other generators, by Bravais lattice.

    python -m benchmarks.indexing.regression held_out.json --store runs/indexing/store --perturb impurities=5

Each generator is asked for the true Bravais lattice only, all in turn for each case, so that what else the machine does
hits all alike. Proposed and grown as in `benchmarks.indexing.generators`. `networks-N` draws N cells from the networks
of the lattice and 30 trees of each forest; `volume` starts from random cells; the same walk follows. `rescued` are the
cases that a generator grows and neither the whole table of `low_order` nor `zones` does: what a last resort is for.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.crystallography.lattice import LATTICES
from app.errors import NotFound
from app.indexing.learned.from_networks import FromNetworks
from app.indexing.learned.regression import Regression, from_model, joined
from app.indexing.search.generator import Effort, Generator
from app.indexing.search.low_order import LowOrder
from app.indexing.search.volume import ByVolume
from app.indexing.search.zones import Zones
from app.model_registry.registry import Registry
from app.model_registry.store import ModelStore
from benchmarks.indexing.cases import Case, read_cases
from benchmarks.indexing.generators import Result, measure
from benchmarks.indexing.perturb import parse_perturbation, perturb


def regression_from(store: Path) -> Regression:
    """Load every lattice that the store holds."""
    registry = Registry(ModelStore(store))
    registry.refresh()
    parts = []
    for bravais in LATTICES:
        try:
            parts.append(from_model(registry.resolve(f"indexing-regression-{bravais.lower()}")))
        except NotFound:
            continue
    return joined(parts)


@dataclass(frozen=True)
class Entry:
    """A generator with its level of effort."""

    name: str
    generator: Generator
    level: int = 0


FIRST: tuple[Entry, ...] = (
    Entry("low_order", LowOrder()),
    Entry("low_order-all", LowOrder(), 1),
    Entry("zones", Zones()),
)
"""What the solver tries before its last resort."""


def entries(regression: Regression, draws: Sequence[int], volume_starts: Sequence[int]) -> tuple[Entry, ...]:
    """All that are compared."""
    learned = [Entry(f"networks-{n}", FromNetworks(regression, n_network=n)) for n in draws]
    by_volume = [Entry(f"volume-{n}", ByVolume((n, n))) for n in volume_starts]
    return (*FIRST, *by_volume, *learned)


Results = dict[str, dict[str, Result]]
"""Case -> entry -> result."""


def table(results: Results, names: Sequence[str]) -> Iterator[str]:
    """One line for each lattice and generator."""
    yield f"{'lattice':9}{'generator':16} cases  proposed  grown  rescued   CPU ms median / mean / max"
    first = {entry.name for entry in FIRST}
    for bravais in LATTICES:
        for name in names:
            cases = [case for case in results.values() if name in case and case[name].bravais == bravais]
            if not cases:
                continue
            rows, cpu_ms = [case[name] for case in cases], np.array([1e3 * case[name].cpu_s for case in cases])
            missed = [not any(case[one].grown for one in first & case.keys()) for case in cases]
            rescued = sum(row.grown and alone for row, alone in zip(rows, missed, strict=True))
            yield (
                f"{bravais:9}{name:16}{len(rows):6}{sum(row.proposed for row in rows):10}"
                f"{sum(row.grown for row in rows):7}{rescued:9}"
                f"{np.median(cpu_ms):14.1f} / {cpu_ms.mean():.1f} / {cpu_ms.max():.1f}"
            )


def chosen_cases(paths: Sequence[Path], lattices: Sequence[str], most: int) -> list[Case]:
    """The first cases of each lattice."""
    cases: list[Case] = []
    for case in (case for path in paths for case in read_cases(path)):
        if case.bravais in lattices and sum(one.bravais == case.bravais for one in cases) < most:
            cases.append(case)
    return cases


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, nargs="+")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--perturb", default="none")
    parser.add_argument("--draws", type=int, nargs="*", default=[30, 300])
    parser.add_argument("--volume", type=int, nargs="*", default=[40], help="starts of `volume`, each term and shell")
    parser.add_argument("--lattices", default=",".join(LATTICES))
    parser.add_argument("--most", type=int, default=1000, help="cases of each lattice")
    options = parser.parse_args()
    how = parse_perturbation(options.perturb)
    asked = entries(regression_from(options.store), options.draws, options.volume)
    results: Results = {}
    for case in chosen_cases(options.cases, options.lattices.split(","), options.most):
        for entry in asked:
            for result in measure(entry.generator, [perturb(case, how)], Effort(level=entry.level)):
                results.setdefault(case.id, {})[entry.name] = result
    print("\n".join(table(results, [entry.name for entry in asked])))


if __name__ == "__main__":
    main()
