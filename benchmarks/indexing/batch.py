"""How many patterns a second are indexed in a batch on an accelerator, and how many rightly, beside one at a time.

    python -m benchmarks.indexing.batch --cases ../shared/data/indexing/simulated.json --device gpu --batch 64
    ... --repeat 10             the cases ten times over, for a longer measurement
    ... --no-follow-up          the quick search alone: what it leaves in doubt stays so
    ... --device cpu            the same calls where there is no GPU: the solver, one pattern at a time
    ... --force --limit 8       the accelerator's code where there is no GPU: slow, to see that it runs

Compiling, the start of the processes that finish patterns, and reading the cases are not measured. The CPU's solver
runs one pattern at a time in this process, on the same cases, unless `--device-only`. `--profile` shows how long the
device's part takes by itself. Without TensorFlow, Keras runs on JAX.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import InvalidInput
from app.indexing.batch import Answer, Finishers, device_search, solve_many
from app.indexing.cores import usable_cores
from app.indexing.problem import BRAVAIS, SolveOptions, SolveResult
from app.indexing.walk.kernels import choose_back_end
from benchmarks.indexing.cases import Case, read_cases
from benchmarks.indexing.outcome import Outcome, judge
from benchmarks.indexing.report import by_lattice
from benchmarks.indexing.run import PLAIN, found_in, load_solver, solve_all, warm_up

if TYPE_CHECKING:
    from app.indexing.search.device_search import DeviceSearch

OUT = Path(__file__).resolve().parents[2] / "runs" / "indexing" / "batch.json"


@dataclass(frozen=True)
class Run:
    """All cases through one way of solving them; ``judged`` where that ends in cells."""

    name: str
    seconds: float
    outcomes: list[Outcome]
    judged: bool = True

    @property
    def per_second(self) -> float:
        """Patterns solved in a second of wall time."""
        return len(self.outcomes) / self.seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for, print the table and write the JSON."""
    asked = _parser().parse_args(arguments)
    cases = [case for path in asked.cases for case in read_cases(path)][: asked.limit]
    options = SolveOptions(device=asked.device, max_seconds=asked.max_seconds, max_solutions=asked.max_solutions)
    search = _search(asked)
    print(
        f"{_machine(search)}; {len(cases)} cases, {asked.repeat} times; {asked.processes} processes finish", flush=True
    )
    runs = [_in_batches(cases, options, search, asked)]
    if asked.profile and search is not None:
        runs.append(_device_alone(cases, options, search))
    if not asked.device_only:
        runs.append(_one_by_one(cases, replace(options, device="cpu")))
    print(_table(runs))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(_record(runs, search, asked), indent=1) + "\n")
    print(f"written: {asked.out}")


def _search(asked: argparse.Namespace) -> DeviceSearch | None:
    if not asked.force:
        return _measured(asked)
    choose_back_end()
    from app.indexing.search.device_search import DeviceOptions, DeviceSearch

    return DeviceSearch(DeviceOptions(most_patterns=asked.batch))


def _measured(asked: argparse.Namespace) -> DeviceSearch | None:
    """The search on the device that is there, with as many patterns at once as asked."""
    try:
        found = device_search(asked.device)
    except InvalidInput as error:
        raise SystemExit(f"{error} --force runs the accelerator's code on the CPU.") from None
    return type(found)(replace(found.options, most_patterns=asked.batch)) if found is not None else None


def _in_batches(
    cases: list[Case], options: SolveOptions, search: DeviceSearch | None, asked: argparse.Namespace
) -> Run:
    many = cases * asked.repeat
    with Finishers(asked.processes) if asked.processes > 1 else nullcontext() as finishers:
        print("one batch to compile and to load, not measured ...", flush=True)
        if finishers is not None:
            finishers.warm_up()
        # The sizes that will occur: full batches, and what is left over.
        for size in {min(asked.batch, len(many)), len(many) % asked.batch or asked.batch}:
            _solved(many[:size], replace(options, max_seconds=5.0), False, finishers, search)
        start = time.perf_counter()
        answers = _solved(many, options, asked.follow_up, finishers, search)
        seconds = time.perf_counter() - start
    return Run(f"batches of {asked.batch}, {options.device}", seconds, [*map(_outcome, many, answers)])


def _solved(
    cases: list[Case],
    options: SolveOptions,
    follow_up: bool,
    finishers: Finishers | None,
    search: DeviceSearch | None,
) -> tuple[Answer, ...]:
    peaks = [case.peaks for case in cases]
    return solve_many(peaks, options, follow_up=follow_up, finishers=finishers, search=search)


def _device_alone(cases: list[Case], options: SolveOptions, search: DeviceSearch) -> Run:
    """The device's part by itself; nothing is finished, so that nothing is found."""
    from app.indexing.search.dense import Task
    from app.indexing.solve import search_bounds

    tasks = [Task(*search_bounds(case.peaks, options)) for case in cases]
    size = search.options.most_patterns
    start = time.perf_counter()
    for at in range(0, len(tasks), size):
        for bravais in options.lattices:
            search.propose(bravais, tasks[at : at + size])
    seconds = time.perf_counter() - start
    return Run("the device's part alone", seconds, [Outcome(case.id, case.bravais) for case in cases], judged=False)


def _one_by_one(cases: list[Case], options: SolveOptions) -> Run:
    warm_up(load_solver(PLAIN), options)
    start = time.perf_counter()
    outcomes = list(solve_all(cases, options, solver=PLAIN))
    return Run("one at a time, CPU", time.perf_counter() - start, outcomes)


def _outcome(case: Case, answer: Answer) -> Outcome:
    if not isinstance(answer, SolveResult):
        return Outcome(case.id, case.bravais, problem=f"{type(answer).__name__}: {answer}")
    judged = judge(case, [found_in(solution) for solution in answer.solutions])
    return replace(judged, wall_s=answer.seconds, stopped=answer.stopped, confidence=answer.confidence)


def _table(runs: list[Run]) -> str:
    head = f"{'':<28}{'n':>6}{'per second':>12}{'first':>8}{'top 20':>8}{'sure':>7}{'errors':>8}   worst lattice"
    return "\n".join([head, *map(_row, runs)])


def _row(run: Run) -> str:
    n = len(run.outcomes)
    speed = f"{run.name:<28}{n:>6}{run.per_second:>12.1f}"
    if not run.judged:
        return speed
    first, shown = (sum(1 <= one.rank <= place for one in run.outcomes) for place in (1, 20))
    sure = sum(one.stopped == "certain" for one in run.outcomes)
    errors = sum(bool(one.problem) for one in run.outcomes)
    shares = {name: group.first / group.n for name, group in by_lattice(run.outcomes).items() if name in BRAVAIS}
    worst = min(shares, key=lambda name: shares[name])
    found = f"{first / n:>8.1%}{shown / n:>8.1%}{sure / n:>7.0%}{errors:>8}"
    return f"{speed}{found}   {worst} {shares[worst]:.0%}"


def _record(runs: list[Run], search: DeviceSearch | None, asked: argparse.Namespace) -> dict:
    asked_for = {key: value for key, value in vars(asked).items() if key not in ("cases", "out")}
    return {
        "machine": _machine(search),
        "asked": {**asked_for, "cases": [path.name for path in asked.cases]},
        "runs": [
            {
                "name": run.name,
                "seconds": run.seconds,
                "patterns_per_second": run.per_second,
                "first": sum(one.rank == 1 for one in run.outcomes),
                "top_20": sum(one.rank > 0 for one in run.outcomes),
                "ranks": {one.case_id: one.rank for one in run.outcomes},
            }
            for run in runs
        ],
    }


def _machine(search: DeviceSearch | None) -> str:
    if search is None:
        return f"{platform.processor() or platform.machine()}, no accelerator"
    import keras

    from app.indexing.search.dense_keras import accelerator

    return f"{accelerator() or 'no accelerator, its code on the CPU'}, Keras on {keras.backend.backend()}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.indexing.batch", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--cases", type=Path, nargs="+", required=True, help="JSON files of cases with known cells")
    add("--limit", type=int, help="the first so many cases")
    add("--repeat", type=int, default=1, help="solve the cases so many times over")
    add("--batch", type=int, default=64, help="patterns on the device at once")
    add("--device", default="gpu", choices=("auto", "cpu", "gpu"))
    add("--force", action="store_true", help="run the accelerator's code on whatever Keras finds")
    add("--processes", type=int, default=usable_cores(), help="that finish patterns; 1 does it here")
    add("--follow-up", action=argparse.BooleanOptionalAction, default=True, help="further rounds where in doubt")
    add("--max-seconds", type=float, default=10.0, help="of the CPU's part of each pattern")
    add("--max-solutions", type=int, default=20)
    add("--device-only", action="store_true", help="leave out the comparison with one pattern at a time")
    add("--profile", action="store_true", help="measure the device's part by itself, too")
    add("--out", type=Path, default=OUT, help="JSON file to write")
    return parser


if __name__ == "__main__":
    main()
