"""How often each generator of candidates proposes the true cell, and what that costs, by Bravais lattice.

    python -m benchmarks.indexing.generators ../shared/data/indexing/simulated.json --perturb impurities=2 --level 0
    ... --store model_store                                         and the generators of the learned parts in a store

Each generator is asked for the true Bravais lattice only. The cell counts where one of the proposals agrees with it
within 1.5% and 1.5 deg: as it is (proposed) or after growth to all lines among the 20 of most evidence (grown).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.crystallography.lattice import LATTICES
from app.crystallography.metric import constants_from_x
from app.indexing.learned.models import Learned
from app.indexing.search.cells import Limits
from app.indexing.search.exhaustive import Exhaustive
from app.indexing.search.generator import Effort, Generator
from app.indexing.search.hypotheses import grown_and_weighed
from app.indexing.search.low_order import LowOrder
from app.indexing.search.observed import observed_from
from app.indexing.search.volume import ByVolume
from app.indexing.search.zones import Zones
from benchmarks.indexing.cases import Case, read_cases
from benchmarks.indexing.criterion import niggli_of, same_lattice
from benchmarks.indexing.perturb import parse_perturbation, perturb
from benchmarks.indexing.variants import parts_of

LIMITS = Limits(2.0, 50.0, 8.0, 3000.0)
GENERATORS: tuple[Generator, ...] = (LowOrder(), Exhaustive(), Zones(), ByVolume())


@dataclass(frozen=True)
class Column:
    """A generator as it is measured: with a name of its own, and what it is helped by."""

    name: str
    generator: Generator
    helped_by: Learned | None = None

    def effort(self, plain: Effort) -> Effort:
        """Give the effort with the learned part that helps."""
        return plain if self.helped_by is None else replace(plain, templates=self.helped_by.templates)


def columns(learned: Learned) -> list[Column]:
    """Give the generators that need nothing learned, and those of the learned parts at hand."""
    made = [Column(one.name, one) for one in GENERATORS]
    if learned.templates is not None:
        made.append(Column("low_order, ordered", LowOrder(), learned))
    if learned.regression is not None:
        from app.indexing.learned.from_networks import FromNetworks

        made.append(Column("networks", FromNetworks(learned.regression)))
    return made


@dataclass(frozen=True)
class Result:
    """One generator on one case; CPU seconds."""

    bravais: str
    proposed: bool
    grown: bool
    complete: bool
    n_proposed: int
    cpu_s: float


def measure(generator: Generator, cases: Iterable[Case], effort: Effort) -> Iterator[Result]:
    """Ask a generator for the cell of each case whose lattice it serves."""
    for case in cases:
        if case.bravais not in generator.lattices:
            continue
        observed = observed_from(case.peaks, max_peaks=40)
        generator.propose(case.bravais, observed, LIMITS, Effort(stop=_soon()))  # compiles, and fills tables
        start = time.process_time()
        proposal = generator.propose(case.bravais, observed, LIMITS, effort)
        cpu_s = time.process_time() - start
        grown = grown_and_weighed(case.bravais, proposal.x, observed, LIMITS, generator=generator.name)
        found = [_has_cell(case, x) for x in (proposal.x, grown.x)]
        yield Result(case.bravais, *found, proposal.complete, len(proposal.x), cpu_s)


def _soon():  # noqa: ANN202
    answers = iter((False, False))
    return lambda: next(answers, True)


def _has_cell(case: Case, x: np.ndarray) -> bool:
    lattice = LATTICES[case.bravais]
    cells = (tuple(constants) for constants in constants_from_x(lattice, x) if np.all(np.isfinite(constants)))
    return any(same_lattice(niggli_of(cell, lattice.centring.symbol), case.niggli) for cell in cells)


def _table(name: str, results: list[Result]) -> Iterator[str]:
    yield f"{name:20}lattice  cases  proposed  grown  complete  candidates  CPU ms median / max"
    for bravais in LATTICES:
        rows = [result for result in results if result.bravais == bravais]
        if rows:
            cpu_ms = np.array([1e3 * row.cpu_s for row in rows])
            sums = [sum(getattr(row, field) for row in rows) for field in ("proposed", "grown", "complete")]
            many = np.median([row.n_proposed for row in rows])
            yield (
                f"{'':20}{bravais:7}{len(rows):7}{sums[0]:10}{sums[1]:7}{sums[2]:10}{many:12.0f}"
                f"{np.median(cpu_ms):12.1f} / {cpu_ms.max():.1f}"
            )


def main() -> None:
    """Print a table for each generator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, nargs="+")
    parser.add_argument("--perturb", default="none")
    parser.add_argument("--level", type=int, default=0)
    parser.add_argument("--impurities", type=int, default=0, help="unexplained lines that the search allows")
    parser.add_argument("--generator", help="the one of this name alone")
    parser.add_argument("--store", type=Path, help="folder of published models, for the generators that need them")
    parser.add_argument("--lattices", default=",".join(LATTICES))
    parser.add_argument("--most", type=int, default=1000, help="cases of each lattice")
    options = parser.parse_args()
    how = parse_perturbation(options.perturb)
    cases: list[Case] = []
    for case in (case for path in options.cases for case in read_cases(path)):
        n_before = sum(one.bravais == case.bravais for one in cases)
        if case.bravais in options.lattices.split(",") and n_before < options.most:
            cases.append(perturb(case, how))
    effort = Effort(level=options.level, max_impurities=options.impurities)
    learned, skipped = parts_of(options.store) if options.store else (Learned(), ())
    print("\n".join(skipped), end="\n" if skipped else "")
    for column in columns(learned):
        if options.generator in (None, column.name):
            results = list(measure(column.generator, cases, column.effort(effort)))
            print("\n".join(_table(column.name, results)), flush=True)


if __name__ == "__main__":
    main()
