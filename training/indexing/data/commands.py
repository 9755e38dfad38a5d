"""The commands that make cases and sets of patterns from published structures, and count what these are like."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from jaxtyping import Float

from app.crystallography.lattice import LATTICES
from app.errors import AppError
from app.indexing.problem import BRAVAIS

DATA = Path("runs/indexing/data")
_AUGMENT = 103
COUNTED = ("oP", "oC", "mC", "mP")
"""Lattices with more free terms than an orthogonal relative, and structures enough to count."""
DB = typer.Option(help="amcsd_cif1.db, from the PyPI package larixite (see docs/training-indexing.md).")
RESERVED = typer.Option(help="Text file of amcsd ids, one a line, that nothing may come from.")
_TAKEN = typer.Option(help="Case files whose structures and near-duplicates are left out. May be repeated.")


def cases_command(
    db: Annotated[Path, DB],
    out: Annotated[Path, typer.Option(help="The JSON file to write.")],
    reserved: Annotated[Path | None, RESERVED] = None,
    without: Annotated[list[Path] | None, _TAKEN] = None,
    per_lattice: Annotated[int, typer.Option(help="Cases for each Bravais lattice.")] = 20,
    n_lines: Annotated[int, typer.Option(min=6, help="Lines of each case, from the lowest angle.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the choice and of the noise.")] = 1,
) -> None:
    """Simulate powder patterns with known cells from published structures."""
    from training.indexing.data.powder import LineOptions
    from training.indexing.data.structures import CaseOptions, make_cases

    options = CaseOptions(per_lattice=per_lattice, seed=seed, lines=LineOptions(n_lines=n_lines))
    cases = make_cases(db, options, reserved=read_ids(reserved), taken=_read_cases(without or []))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(cases, indent=0) + "\n")
    counts = Counter(case["bravais"] for case in cases)
    typer.echo(", ".join(f"{bravais} {count}" for bravais, count in counts.items()))


def data_command(
    db: Annotated[Path, DB],
    out: Annotated[Path, typer.Option(help="Folder of the set; one that was begun goes on.")] = DATA,
    reserved: Annotated[Path | None, RESERVED] = None,
    without: Annotated[list[Path] | None, _TAKEN] = None,
    per_lattice: Annotated[int, typer.Option(min=1, help="Synthetic crystals of each Bravais lattice.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 1,
    part: Annotated[int, typer.Option(min=1, help="Crystals in one part, the unit of work.")] = 250,
    processes: Annotated[int, typer.Option(min=1, help="That make parts side by side; the result is the same.")] = 1,
) -> None:
    """Make patterns with known cells, of published structures and of synthetic crystals, and their card."""
    from training.indexing.data.build import BuildArgs, build
    from training.indexing.data.card import write_card

    args = BuildArgs(per_lattice, seed, part)
    try:
        cases, ids = case_cells(without or []), read_ids(reserved)
        made = build(db, out, args, reserved=ids, cases=cases, processes=processes, report=typer.echo)
    except AppError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(1) from error
    write_card(out)
    typer.echo(f"{len(made)} patterns, {int(made.validation.sum())} of them held back; see {out / 'DATA.md'}")


def case_cells(paths: Sequence[Path]) -> Float[np.ndarray, "case 6"]:
    """Read the reduced cells of case files."""
    found = _read_cases(paths)
    return np.array([case.get("niggli") or case["niggli_cell"] for case in found], dtype=float).reshape(-1, 6)


def augment_command(
    data: Annotated[Path, typer.Option("--in", help="A finished set of patterns.")] = DATA,
    out: Annotated[Path, typer.Option(help="Folder for the copies.")] = DATA / "augmented",
    wanted: Annotated[int, typer.Option(min=1, help="Patterns of each symbol and side, originals included.")] = 100,
    method: Annotated[str | None, typer.Option(help="random, covariance or svd; default: by the lattice.")] = None,
    real: Annotated[bool, typer.Option(help="Copy the real structures alone.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 1,
) -> None:
    """Copy patterns of rare space groups with other cells and lines, at most ten times each."""
    from training.indexing.data.augment import METHODS, augmented
    from training.indexing.data.build import SCALING_FILE
    from training.indexing.data.card import read_acceptances
    from training.indexing.data.pattern_set import read_patterns, write_patterns
    from training.indexing.data.scaling import scalings_from_json

    if method is not None and method not in METHODS:
        raise typer.BadParameter(f"{method!r} is none of {', '.join(METHODS)}", param_hint="--method")
    scalings = scalings_from_json(json.loads((data / SCALING_FILE).read_text()))
    acceptances = read_acceptances(data)
    for index, bravais in enumerate(BRAVAIS):
        system = LATTICES[bravais].system
        originals = read_patterns(data, bravais=bravais, real=True if real else None)
        if not (~originals.validation).any():
            typer.echo(f"{bravais}: nothing to copy")
            continue
        rng = np.random.default_rng([seed, _AUGMENT, index])
        made = augmented(originals, scalings[system], acceptances[system], rng, wanted=wanted, method=method)
        write_patterns(out, made)
        typer.echo(f"{bravais}: {len(made)} copies of {len(originals)} patterns")


def special_metrics_command(
    db: Annotated[Path, DB],
    reserved: Annotated[Path | None, RESERVED] = None,
    lattice: Annotated[list[str] | None, typer.Option("--lattice", help="Bravais symbol; may be repeated.")] = None,
) -> None:
    """Count the lattices that have the metric of a more symmetric relative, a prior of the solver."""
    from training.indexing.data.special_metrics import counted, distinct_cells

    cells = distinct_cells(db, read_ids(reserved))
    for bravais in lattice or COUNTED:
        typer.echo(f"{bravais}: {len(cells.get(bravais, []))} lattices")
        kinds = counted(cells.get(bravais, []), bravais).items()
        for kind, count in sorted(kinds, key=lambda item: (item[0].relative, item[0].volume_ratio)):
            typer.echo(f"    {kind.relative} with {kind.volume_ratio:.3f} times the volume: {count}")


def _read_cases(paths: Sequence[Path]) -> list[dict[str, Any]]:
    return [case for path in paths for case in json.loads(path.read_text())]


def read_ids(path: Path | None) -> frozenset[int]:
    """Return the ids of a text file, one a line; none without a file."""
    return frozenset(int(line) for line in path.read_text().split()) if path else frozenset()
