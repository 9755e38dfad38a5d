"""`--learned`: every learned part of the solver alone and all together, beside the solver without them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from app.indexing.problem import SolveOptions
from benchmarks.indexing.cases import Case, chosen
from benchmarks.indexing.matrix import SCENARIOS, Solve, Trial, run_matrix, without_first
from benchmarks.indexing.matrix_report import draw_matrix, lattice_table, matrix_record, pair_table, scenario_table
from benchmarks.indexing.perturb import perturb
from benchmarks.indexing.run import load_solver, warm_up
from benchmarks.indexing.variants import NAMES, variants


def add_matrix_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the matrix to the benchmark's command line."""
    add = parser.add_argument
    add("--learned", type=_names, default=(), metavar="NAME,...", help=f"of {', '.join(NAMES)}: learned parts in turn")
    add("--store", type=Path, default=Path("model_store"), help="folder of the published models")
    add("--minutes", type=float, default=float("inf"), help="begin no case of the matrix after so long")
    add("--matrix-picture", type=Path, help="PNG or SVG of the matrix")
    add("--lattices-too", action="store_true", help="a table by Bravais lattice for every scenario")


def run_matrix_command(asked: argparse.Namespace, options: SolveOptions, *, machine: str) -> None:
    """Run the matrix, print its tables and write the JSON.."""
    columns, skipped = variants(asked.learned, asked.store)
    print("\n".join(skipped), flush=True)
    solve: Solve = load_solver(asked.solver)
    for column in columns:
        warm_up(lambda peaks, chosen, learned=column.learned: solve(peaks, chosen, learned=learned), options)
    sets = matrix_sets(asked)
    trials = _within(
        asked.minutes, run_matrix(sets, columns, solve, options), len(columns), sum(map(len, sets.values()))
    )
    print(f"\n{scenario_table(trials)}\n\n{lattice_table(trials)}\n\n{pair_table(trials)}")
    if asked.lattices_too:
        for scenario in sets:
            print(f"\n{scenario}\n\n{lattice_table(trials, scenario)}")
    if asked.matrix_picture is not None:
        draw_matrix(trials, asked.matrix_picture)
    written = {"machine": machine, "options": asdict(options), "skipped": skipped}
    written |= matrix_record([without_first(trial) for trial in trials])
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(written) + "\n")
    print(f"written: {asked.out}")


def matrix_sets(asked: argparse.Namespace) -> dict[str, Sequence[Case]]:
    """Give the cases by scenario: simulated ones through all of `SCENARIOS` or ``--perturb``, measured ones as are."""
    sets: dict[str, Sequence[Case]] = {}
    for path in asked.cases:
        cases = chosen(path, asked.only, asked.limit)
        scenarios = {how.name: how for how in asked.perturb} if asked.perturb else SCENARIOS
        if any(case.sigma_deg == 0.0 for case in cases):
            sets[path.stem] = cases
            continue
        sets |= {f"{path.stem}, {name}": [perturb(case, how) for case in cases] for name, how in scenarios.items()}
    return sets


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _within(minutes: float, trials: Iterator[Trial], n_columns: int, n_cases: int) -> list[Trial]:
    """Take whole cases, each with all its variants, until time is up."""
    started, taken = time.monotonic(), []
    while part := list(islice(trials, n_columns)):
        taken += part
        if sys.stderr.isatty():
            print(f"\r{len(taken) // n_columns}/{n_cases} cases", end="\r", file=sys.stderr, flush=True)
        if time.monotonic() - started > 60.0 * minutes:
            print(f"stopped after {minutes:g} minutes: {len(taken) // n_columns} of {n_cases} cases", flush=True)
            break
    return taken
