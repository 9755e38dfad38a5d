"""The project's solver on the cases, one at a time in a warm process."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from app.indexing.learned.models import Learned
from app.indexing.problem import PeakList, Solution, SolveOptions, SolveResult
from app.indexing.solve import solve as solve_with
from benchmarks.indexing.cases import Case
from benchmarks.indexing.measure import now
from benchmarks.indexing.outcome import Found, Outcome, judge
from benchmarks.indexing.variants import parts_of

Solve = Callable[[PeakList, SolveOptions], SolveResult]

SHIPPED, PLAIN = "benchmarks.indexing.run:shipped", "app.indexing.solve:solve"
"""The solver with the learned parts that are shipped, and without."""
MODEL_STORE = Path(__file__).resolve().parents[2] / "model_store"
_WARM_UP_S = 60.0
# A triclinic lattice is found last, so that every lattice's code has run.
_WARM_UP_CELL = (5.12, 6.37, 7.45, 95.3, 102.1, 98.4)


def load_solver(name: str) -> Solve:
    """Return the function that `package.module:function` names."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def shipped(peaks: PeakList, options: SolveOptions) -> SolveResult:
    """The solver with the stable learned parts of `model_store/`, as the service has it."""
    return solve_with(peaks, options, learned=_shipped_parts())


@cache
def _shipped_parts() -> Learned:
    return parts_of(MODEL_STORE)[0]


def warm_up(solve: Solve, options: SolveOptions) -> None:
    """Solve one made-up triclinic pattern, so that compiled code is loaded before anything is measured."""
    from benchmarks.indexing.criterion import basis_of

    reciprocal = np.linalg.inv(basis_of(_WARM_UP_CELL))
    hkl = np.array([(h, k, m) for h in range(4) for k in range(-3, 4) for m in range(-3, 4) if (h, k, m) > (0, 0, 0)])
    q2 = np.sort(np.sum((hkl @ reciprocal.T) ** 2, axis=1))[:20]
    q2 *= 1.0 + np.random.default_rng(0).normal(0.0, 3e-4, q2.size)
    solve(PeakList(q2_inv_ang2=np.sort(q2), wavelength_ang=1.5406), replace(options, max_seconds=_WARM_UP_S))


def solve_case(case: Case, solve: Solve, options: SolveOptions, *, rule: str = "ours") -> Outcome:
    """Solve one case and judge the answer; a solver that fails is an outcome too."""
    start = now()
    try:
        result = solve(case.peaks, options)
    except Exception as error:
        wall, cpu = now().since(start)
        return Outcome(case.id, case.bravais, wall_s=wall, cpu_s=cpu, problem=f"{type(error).__name__}: {error}")
    wall, cpu = now().since(start)
    outcome = judge(case, [found_in(solution) for solution in result.solutions], rule=rule)
    return replace(
        outcome,
        wall_s=wall,
        cpu_s=cpu,
        candidates=result.n_candidates,
        stopped=result.stopped,
        confidence=float(result.confidence),
        found_by=result.solutions[0].found_by if result.solutions else "",
    )


def solve_all(
    cases: Sequence[Case], options: SolveOptions, *, rule: str = "ours", jobs: int = 1, solver: str
) -> Iterator[Outcome]:
    """Yield the outcomes in the order of the cases; with several jobs the times are those of a shared machine."""
    if jobs == 1:
        solve = load_solver(solver)
        for case in cases:
            yield solve_case(case, solve, options, rule=rule)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker, (solver, options)) as pool:
        yield from pool.map(partial(_in_worker, solver=solver, options=options, rule=rule), cases)


def _start_worker(solver: str, options: SolveOptions) -> None:
    warm_up(load_solver(solver), options)


def _in_worker(case: Case, *, solver: str, options: SolveOptions, rule: str) -> Outcome:
    return solve_case(case, load_solver(solver), options, rule=rule)


def found_in(solution: Solution) -> Found:
    """Give what `judge` needs of one of the solver's solutions."""
    return Found(
        bravais=solution.bravais,
        niggli=tuple(float(value) for value in solution.niggli.constants),
        m20=float(solution.m20),
        zero_shift_deg=float(solution.zero_shift_deg),
    )
