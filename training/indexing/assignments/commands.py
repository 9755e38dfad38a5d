"""The commands that make the table of low-order assignments and tell what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.crystallography.lattice import LATTICES
from training.indexing.assignments.coverage import covered, first_solving
from training.indexing.assignments.table import PREFIXES, Assignments, make_assignments, read_table, write_table

_HEADING = "lattice    rows " + " ".join(f"{prefix:>7}" for prefix in PREFIXES)
_LATTICE = typer.Option("--lattice", help="Bravais symbol; may be repeated. Others are kept as they are in the file.")


def assignments_command(
    out: Annotated[Path, typer.Option(help="The .npz file to write.")] = Path("app/indexing/assignments.npz"),
    patterns: Annotated[
        int, typer.Option(min=10, help="Random patterns to count in; symmetric lattices use fewer.")
    ] = 60_000,
    held_out: Annotated[int, typer.Option(min=1, help="Other patterns for the report of each lattice.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of all patterns; the same file comes from the same seed.")] = 1,
    lattice: Annotated[list[str] | None, _LATTICE] = None,
) -> None:
    """Make the table of low-order assignments and tell which share of unseen patterns its prefixes solve."""
    table = read_table(out) if lattice and out.exists() else {}
    typer.echo(_HEADING)
    for symbol in lattice or LATTICES:
        table[symbol] = make_assignments(symbol, patterns, seed=seed)
        typer.echo(_coverage_line(symbol, table[symbol], held_out, seed))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_table(out, {symbol: table[symbol] for symbol in LATTICES if symbol in table})


def coverage_command(
    file: Annotated[Path, typer.Option("--in", help="A table of assignments.")] = Path("app/indexing/assignments.npz"),
    held_out: Annotated[int, typer.Option(min=1, help="Random patterns for each lattice.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the patterns.")] = 1,
) -> None:
    """Tell which share of random patterns the prefixes of a table solve."""
    typer.echo(_HEADING)
    for symbol, row in read_table(file).items():
        typer.echo(_coverage_line(symbol, row, held_out, seed))


def _coverage_line(symbol: str, row: Assignments, held_out: int, seed: int) -> str:
    shares = covered(first_solving(symbol, row, held_out, seed=seed))
    return f"{symbol:7} {len(row.lines):>7} " + " ".join(f"{share:7.3f}" for share in shares)
