"""The solver with learned parts off, each alone, and all, on the same cases in turn.

Each case is solved by every variant before the next case comes, and the order of the variants moves on by one with each
case, so that whatever else the machine does meanwhile falls on all of them alike.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from app.indexing.problem import PeakList, Progress, SolveOptions, SolveResult
from benchmarks.indexing.cases import Case
from benchmarks.indexing.criterion import same_lattice
from benchmarks.indexing.outcome import Outcome
from benchmarks.indexing.perturb import Perturbation
from benchmarks.indexing.run import solve_case
from benchmarks.indexing.variants import Variant

Solve = Callable[..., SolveResult]

SCENARIOS: dict[str, Perturbation] = {
    "clean": Perturbation(),
    "noisy, 0.03 deg": Perturbation(sigma=0.03),
    "2 impurities": Perturbation(impurities=2),
    "5 impurities": Perturbation(impurities=5),
    "shift 0.05 deg": Perturbation(zero_shift=0.05),
    "shift 0.1 deg": Perturbation(zero_shift=0.1),
}
"""What simulated cases go through; measured ones are taken as they are."""


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


@dataclass(frozen=True)
class Trial:
    """One case solved by one variant.

    Attributes:
        scenario: where the case comes from and what was done to it.
        variant: name of the variant.
        outcome: see `Outcome`.
        true_wall_s, true_cpu_s: until the true cell first led; None where the answer is another one.
    """

    scenario: str
    variant: str
    outcome: Outcome
    true_wall_s: float | None
    true_cpu_s: float | None

    @property
    def right(self) -> bool:
        """The first answer is the true cell."""
        return self.outcome.rank == 1


@dataclass
class Watch:
    """Keeps each new leader of a running solve with the time it took; pass it as ``on_progress``.

    Its clocks read nothing but this process, so that they cost nothing beside a solve of 0.1 s.
    """

    started: tuple[float, float] = field(default_factory=_clocks)
    leaders: list[tuple[tuple[float, ...], float, float]] = field(default_factory=list)

    def __call__(self, progress: Progress) -> None:
        if progress.best is None:
            return
        cell = tuple(float(value) for value in progress.best.niggli.constants)
        if not self.leaders or self.leaders[-1][0] != cell:
            self.leaders.append((cell, *self.elapsed()))

    def elapsed(self) -> tuple[float, float]:
        """Wall and processor seconds since the start."""
        wall, cpu = _clocks()
        return wall - self.started[0], cpu - self.started[1]


def run_matrix(
    sets: dict[str, Sequence[Case]], variants: Sequence[Variant], solve: Solve, options: SolveOptions
) -> Iterator[Trial]:
    """Solve every case of every scenario by every variant in turn.

    The scenarios take turns, each with its cases in an order that mixes the lattices: a run that is stopped early
    has seen something of all.

    Args:
        sets: cases by scenario.
        variants: columns.
        solve: `app.indexing.solve.solve`.
        options: for all.
    """
    mixed = [[(name, case) for case in sorted(cases, key=_mixed)] for name, cases in sets.items()]
    in_turn = [one for turn in zip_longest(*mixed) for one in turn if one is not None]
    for number, (scenario, case) in enumerate(in_turn):
        turn = number % len(variants)
        for variant in (*variants[turn:], *variants[:turn]):
            yield tried(scenario, case, variant, solve, options)


def _mixed(case: Case) -> int:
    return zlib.crc32(case.id.encode())


def tried(scenario: str, case: Case, variant: Variant, solve: Solve, options: SolveOptions) -> Trial:
    """Solve one case by one variant."""
    watch, spent = Watch(), (0.0, 0.0)

    def timed(peaks: PeakList, chosen: SolveOptions) -> SolveResult:
        nonlocal spent
        watch.started = _clocks()
        try:
            return solve(peaks, chosen, watch, learned=variant.learned)
        finally:
            spent = watch.elapsed()

    outcome = solve_case(case, timed, options)
    outcome = replace(outcome, wall_s=spent[0], cpu_s=spent[1])
    if outcome.rank != 1:
        return Trial(scenario, variant.name, outcome, None, None)
    led = ((wall, cpu) for cell, wall, cpu in watch.leaders if same_lattice(cell, case.niggli))
    return Trial(scenario, variant.name, outcome, *next(led, spent))


def without_first(trial: Trial) -> Trial:
    """Drop the answered cell, which no table shows."""
    return replace(trial, outcome=replace(trial.outcome, first=None))
