"""The commands of `python -m training.indexing`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from training.indexing.powder import LineOptions
from training.indexing.structures import CaseOptions, make_cases

_DB = typer.Option(help="amcsd_cif1.db, from the PyPI package larixite (see docs/training-indexing.md).")
_RESERVED = typer.Option(help="Text file of amcsd ids, one a line, that no case may come from.")
_TAKEN = typer.Option(help="Case files whose structures and near-duplicates are left out. May be repeated.")


def cases_command(
    db: Annotated[Path, _DB],
    out: Annotated[Path, typer.Option(help="The JSON file to write.")],
    reserved: Annotated[Path | None, _RESERVED] = None,
    without: Annotated[list[Path] | None, _TAKEN] = None,
    per_lattice: Annotated[int, typer.Option(help="Cases for each Bravais lattice.")] = 20,
    n_lines: Annotated[int, typer.Option(min=6, help="Lines of each case, from the lowest angle.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the choice and of the noise.")] = 1,
) -> None:
    """Simulate powder patterns with known cells from published structures."""
    options = CaseOptions(per_lattice=per_lattice, seed=seed, lines=LineOptions(n_lines=n_lines))
    taken = [case for path in without or [] for case in json.loads(path.read_text())]
    cases = make_cases(db, options, reserved=read_ids(reserved), taken=taken)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(cases, indent=0) + "\n")
    counts = Counter(case["bravais"] for case in cases)
    typer.echo(", ".join(f"{bravais} {count}" for bravais, count in counts.items()))


def read_ids(path: Path | None) -> frozenset[int]:
    """Return the ids of a text file, one a line; none without a file."""
    return frozenset(int(line) for line in path.read_text().split()) if path else frozenset()
