"""How often and how fast the solver finds known cells, beside other programs on the same cases.

    python -m benchmarks.indexing --cases ../shared/data/indexing/simulated.json ../shared/data/indexing/measured.json
    ... --perturb none --perturb impurities=2 --perturb zero-shift=0.05      each scenario in turn
    ... --budgets 0.1,0.3,1,3,10,60                                          success against time budget, with a picture
    ... --peer fox --peer mlindex                                            the same cases, the same criterion
    ... --learned off,odds,templates,regression,indices,probability,all      learned parts side by side, see `matrix`

A cell counts as found when its Niggli-reduced form agrees with the true one within 1.5% in the lengths and 1.5 deg in
the angles; where Niggli cells jump between bases, any basis of the found lattice may agree. The solver has the learned
parts of `model_store/`, its default options, all 14 lattices and one pattern at a time, in a process that has solved
one other pattern before; `--solver app.indexing.solve:solve` leaves the learned parts out.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from app.indexing.problem import SolveOptions
from benchmarks.indexing.cases import Case, chosen
from benchmarks.indexing.curve import budget_table, draw_budgets
from benchmarks.indexing.matrix_command import add_matrix_arguments, run_matrix_command
from benchmarks.indexing.measure import peak_memory_mb
from benchmarks.indexing.outcome import RULES, Outcome
from benchmarks.indexing.peers import base, fox, mlindex
from benchmarks.indexing.perturb import Perturbation, parse_perturbation, perturb
from benchmarks.indexing.report import Summary, misses, notes, record, summarise, table
from benchmarks.indexing.run import PLAIN, SHIPPED, load_solver, solve_all, warm_up

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURE = REPOSITORY / "docs" / "images" / "indexing-budget.png"
OUT = REPOSITORY / "runs" / "indexing" / "benchmark.json"


@dataclass(frozen=True)
class Set:
    """The cases of one file under one scenario."""

    name: str
    scenario: Perturbation
    cases: list[Case]

    @property
    def title(self) -> str:
        """File and scenario."""
        return self.name if self.scenario.name == "none" else f"{self.name}, {self.scenario.name}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for, print the tables and write the JSON."""
    asked = _parser().parse_args(arguments)
    # The matrix brings the learned parts itself.
    asked.solver = asked.solver or (PLAIN if asked.learned else SHIPPED)
    options = SolveOptions(device=asked.device, seed=asked.seed)
    if asked.max_seconds is not None:
        options = replace(options, max_seconds=asked.max_seconds)
    print(_machine(), flush=True)
    if asked.learned:
        run_matrix_command(asked, options, machine=_machine())
        return
    sets = _sets(asked)
    if not asked.peers_only and asked.jobs == 1:
        print("one warm-up solve, not measured ...", flush=True)
        warm_up(load_solver(asked.solver), options)
    results = []
    for one in sets:
        results += _measure(one, options, asked)
    written = {"machine": _machine(), "options": asdict(options), "rank": asked.rank, "results": results}
    if asked.budgets:
        written["budgets"] = _budgets(sets, options, asked)
    written["peak_memory_mb"] = peak_memory_mb()
    print(f"peak memory of this process {written['peak_memory_mb']:.0f} MB")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(written, indent=1) + "\n")
    print(f"written: {asked.out}")


def _measure(one: Set, options: SolveOptions, asked: argparse.Namespace) -> list[dict]:
    results = []
    if not asked.peers_only:
        solved = solve_all(one.cases, options, rule=asked.rank, jobs=asked.jobs, solver=asked.solver)
        results.append(_told("this solver", one, _collected(solved, one), asked))
    for name in asked.peer:
        peer = _PEERS[name](asked)
        answers = (base.ask(peer, case, max_seconds=asked.peer_seconds) for case in one.cases)
        result = _told(peer.name, one, _collected(answers, one), asked)
        result["lattices"] = list(peer.lattices)
        within = [case["case_id"] for case in result["cases"] if case["bravais"] in peer.lattices]
        first = sum(case["rank"] == 1 for case in result["cases"])
        print(f"{peer.name} as run here searches {' '.join(peer.lattices)}: {first} of {len(within)} such cases first")
        if results:
            _compare(results[0], result)
        results.append(result)
    return results


def _told(program: str, one: Set, outcomes: list[Outcome], asked: argparse.Namespace) -> dict:
    print(f"\n{program}: {one.title}\n{table(outcomes)}")
    print("\n".join(notes(outcomes)), flush=True)
    if asked.misses:
        print("\n".join(misses(outcomes)))
    return {"program": program, "cases_file": one.name, "scenario": asdict(one.scenario), **record(outcomes)}


def _compare(ours: dict, theirs: dict) -> None:
    mine, other = ours["by_lattice"]["all"], theirs["by_lattice"]["all"]
    wall, cpu = (other[key] / max(mine[key], 1e-9) for key in ("wall_median_s", "cpu_median_s"))
    print(
        f"against {theirs['program']}: first {mine['first']} : {other['first']}, top 20 {mine['top_20']} : "
        f"{other['top_20']} of {mine['n']}; its median takes {wall:.2f} times the wall and {cpu:.2f} times the CPU"
    )


def _budgets(sets: list[Set], options: SolveOptions, asked: argparse.Namespace) -> dict:
    curves: dict[str, dict[float, Summary]] = {}
    for one in sets:
        curves[one.title] = {}
        for budget in asked.budgets:
            limited = replace(options, max_seconds=budget)
            solved = solve_all(one.cases, limited, rule=asked.rank, jobs=asked.jobs, solver=asked.solver)
            curves[one.title][budget] = summarise(_collected(solved, one))
        print(f"\n{one.title}\n{budget_table(curves[one.title])}", flush=True)
    draw_budgets(curves, asked.picture)
    print(f"written: {asked.picture}")
    return {
        title: {f"{budget:g}": asdict(summary) for budget, summary in curve.items()} for title, curve in curves.items()
    }


def _collected(outcomes: object, one: Set) -> list[Outcome]:
    """Show on a terminal how far the run is."""
    kept = []
    for outcome in outcomes:  # pyright: ignore[reportGeneralTypeIssues]
        kept.append(outcome)
        if sys.stderr.isatty():
            print(f"\r{len(kept)}/{len(one.cases)} {outcome.case_id:<40.40}", end="\r", file=sys.stderr, flush=True)
    return kept


def _sets(asked: argparse.Namespace) -> list[Set]:
    sets = []
    for path in asked.cases:
        cases = chosen(path, asked.only, asked.limit)
        sets += [
            Set(path.stem, how, [perturb(case, how) for case in cases]) for how in asked.perturb or [Perturbation()]
        ]
    return sets


def _machine() -> str:
    names = re.findall(r"model name\s*:\s*(.*)", _text(Path("/proc/cpuinfo")))
    load = _text(Path("/proc/loadavg")).split()[:1]
    return f"{names[0] if names else platform.processor()}, {len(names)} cores, load {load[0] if load else '?'}"


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.indexing", description="Find known cells, and time it.")
    add = parser.add_argument
    add("--cases", type=Path, nargs="+", required=True, help="JSON files of cases with known cells")
    add("--only", default="", help="regular expression on the case ids")
    add("--limit", type=int, help="the first so many cases of each file")
    add("--perturb", type=parse_perturbation, action="append", metavar="HOW", help=_PERTURB_HELP)
    add("--rank", choices=sorted(RULES), default="ours", help="order of the answered cells")
    add("--max-seconds", type=float, help="deadline of each solve; the solver's default otherwise")
    add("--budgets", type=_numbers, default=[], metavar="S,S,...", help="also run with each of these deadlines")
    add("--picture", type=Path, default=PICTURE, help="of the budgets")
    add("--jobs", type=int, default=1, help="patterns at a time; times mean something with 1 only")
    add("--device", default="auto", choices=("auto", "cpu", "gpu"))
    add("--seed", type=int, default=0, help="of the solver")
    add("--misses", action="store_true", help="print each case whose first answer is wrong")
    add("--out", type=Path, default=OUT, help="JSON file to write")
    add("--solver", metavar="MODULE:FUNCTION", help="another solver of the same signature")
    add("--peer", choices=sorted(_PEERS), action="append", default=[], help="another program; may be repeated")
    add("--peers-only", action="store_true", help="leave this solver out")
    add("--peer-seconds", type=float, default=300.0, help="a program is stopped after so long on one pattern")
    add("--mlindex-every-lattice", action="store_true", help="its own default: with mC, mP, aP, minutes a pattern")
    add("--fox-primitive-only", action="store_true", help="its own default: centred lattices are left out")
    add_matrix_arguments(parser)
    return parser


_PERTURB_HELP = (
    "none, or drop=, n-lines=, sigma=, impurities=, zero-shift=, seed= joined by commas; repeat for several scenarios"
)
_PEERS: dict[str, Callable[[argparse.Namespace], base.Peer]] = {
    "fox": lambda asked: fox.set_up(every_centring=not asked.fox_primitive_only),
    "mlindex": lambda asked: mlindex.set_up(every_lattice=asked.mlindex_every_lattice),
}

if __name__ == "__main__":
    main()
