"""`outcomes`: run the solver on patterns of known lattices and keep what it answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from app.errors import AppError
from app.indexing.solve import compile_all
from training.indexing.data.commands import DB, RESERVED, read_ids
from training.indexing.outcomes.answers import (
    Outcome,
    Solver,
    case_name,
    drawn_cases,
    evaluation_cases,
    read_outcomes,
    run_cases,
)
from training.indexing.outcomes.sources import (
    Known,
    make_catalogue,
    read_catalogue,
    read_evaluation,
    write_catalogue,
)

RUN: Final = Path("runs/indexing/outcomes")
REPORT_EVERY: Final = 20
_OUT = typer.Option(help="Folder that the answers are appended to; what it holds is not solved again.")
_STORE = typer.Option(help="Model store whose learned parts take part, as in the service; none without.")
_CASES = typer.Option(help="Solve the cases of these files instead. May be repeated.")


def outcomes_command(
    out: Annotated[Path, _OUT] = RUN / "drawn",
    db: Annotated[Path | None, DB] = None,
    reserved: Annotated[Path | None, RESERVED] = None,
    count: Annotated[int, typer.Option(min=1, help="Patterns to draw.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the patterns.")] = 1,
    cases: Annotated[list[Path] | None, _CASES] = None,
    impurities: Annotated[int, typer.Option(min=0, help="Foreign lines to add to each case of a file.")] = 0,
    zero_shift: Annotated[float, typer.Option(help="Zero shift to add to each case of a file, degrees.")] = 0.0,
    store: Annotated[Path | None, _STORE] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    cpu_minutes: Annotated[float, typer.Option(help="End after the solver has used as much processor time.")] = 1e9,
) -> None:
    """Solve many patterns of known lattices; go on with what an earlier run left."""
    try:
        compile_all()
        done = {outcome.case.name for outcome in read_outcomes(out)}
        if cases:
            wanted = [case for path in cases for case in read_evaluation(path)]
            made = evaluation_cases(wanted, impurities=impurities, zero_shift_deg=zero_shift, seed=seed)
        else:
            left = [number for number in range(count) if case_name(seed, number) not in done]
            made = drawn_cases(left, seed, catalogue_of(out.parent / "catalogue.json", db, reserved), db)
        _run(
            run_cases((case for case in made if case.name not in done), out, solver=Solver(store), jobs=jobs),
            cpu_minutes,
        )
    except AppError as error:
        typer.echo(f"{error.title}: {error.message}", err=True)
        raise typer.Exit(1) from None


def catalogue_of(path: Path, db: Path | None, reserved: Path | None) -> list[Known]:
    """Read the list of structures, which takes long to make, or make it."""
    if db is None:
        return []
    if not path.exists():
        write_catalogue(path, make_catalogue(db, read_ids(reserved)))
    return read_catalogue(path)


def _run(outcomes: Iterator[Outcome], cpu_minutes: float) -> None:
    count = right = listed = 0
    spent = 0.0
    for outcome in outcomes:
        count, spent = count + 1, spent + outcome.cpu_s
        right += bool(outcome.right and outcome.right[0])
        listed += any(outcome.right)
        if count % REPORT_EVERY == 0:
            typer.echo(f"{count}: first right {right / count:.3f}, listed {listed / count:.3f}, {spent:.0f} CPU s")
        if spent > 60.0 * cpu_minutes:
            break
    typer.echo(json.dumps({"count": count, "first_right": right, "listed": listed, "cpu_s": round(spent, 1)}))
