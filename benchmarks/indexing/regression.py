"""Cells from variance networks and forests beside the other generators, by Bravais lattice.

    python -m benchmarks.indexing.regression held_out.json --store runs/indexing/store --perturb impurities=5

Each generator is asked for the true Bravais lattice only, all in turn for each case, so that what else the machine does
hits all alike. Proposed and grown as in `benchmarks.indexing.generators`. `networks-N` draws N cells from the networks
of the lattice and 30 trees of each forest; `volume` starts from random cells; the same walk follows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from app.crystallography.lattice import LATTICES
from app.errors import NotFound
from app.indexing.learned.from_networks import FromNetworks
from app.indexing.learned.regression import Regression, from_model, joined
from app.indexing.search.exhaustive import Exhaustive
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


def generators(regression: Regression, draws: Sequence[int], volume_starts: Sequence[int]) -> list[Generator]:
    """All that are compared."""
    learned = [FromNetworks(regression, n_network=n, name=f"networks-{n}") for n in draws]
    by_volume = [ByVolume((n, n), name=f"volume-{n}") for n in volume_starts]
    return [LowOrder(), Exhaustive(), Zones(), *by_volume, *learned]


def table(results: dict[tuple[str, str], list[Result]], names: Sequence[str]) -> Iterator[str]:
    """One line for each lattice and generator."""
    yield f"{'lattice':9}{'generator':16}{'cases':>6}{'proposed':>10}{'grown':>7}   CPU ms median / mean / max"
    for bravais in LATTICES:
        for name in names:
            rows = results.get((bravais, name))
            if rows:
                cpu_ms = np.array([1e3 * row.cpu_s for row in rows])
                shares = [np.mean([getattr(row, field) for row in rows]) for field in ("proposed", "grown")]
                yield (
                    f"{bravais:9}{name:16}{len(rows):6}{shares[0]:10.0%}{shares[1]:7.0%}"
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
    parser.add_argument("--level", type=int, default=0)
    parser.add_argument("--draws", type=int, nargs="*", default=[30, 300])
    parser.add_argument("--volume", type=int, nargs="*", default=[40], help="starts of `volume`, each term and shell")
    parser.add_argument("--lattices", default=",".join(LATTICES))
    parser.add_argument("--most", type=int, default=1000, help="cases of each lattice")
    options = parser.parse_args()
    how, effort = parse_perturbation(options.perturb), Effort(level=options.level)
    asked = generators(regression_from(options.store), options.draws, options.volume)
    results: dict[tuple[str, str], list[Result]] = {}
    for case in chosen_cases(options.cases, options.lattices.split(","), options.most):
        for generator in asked:
            for result in measure(generator, [perturb(case, how)], effort):
                results.setdefault((case.bravais, generator.name), []).append(result)
    print("\n".join(table(results, [one.name for one in asked])))


if __name__ == "__main__":
    main()
