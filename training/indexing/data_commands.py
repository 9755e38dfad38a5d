"""The commands that make sets of patterns and copies of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from jaxtyping import Float

from app.crystallography.lattice import LATTICES
from app.errors import AppError
from app.indexing.problem import BRAVAIS
from training.indexing.commands import read_ids

DATA = Path("runs/indexing/data")
_AUGMENT = 103


def data_command(
    db: Annotated[Path, typer.Option(help="amcsd_cif1.db, from the PyPI package larixite.")],
    out: Annotated[Path, typer.Option(help="Folder of the set; one that was begun goes on.")] = DATA,
    reserved: Annotated[Path | None, typer.Option(help="AMCSD's numbers that must not be in it, one a line.")] = None,
    without: Annotated[
        list[Path] | None, typer.Option(help="Cases of evaluation that none may resemble. Repeatable.")
    ] = None,
    per_lattice: Annotated[int, typer.Option(min=1, help="Synthetic crystals of each Bravais lattice.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 1,
    part: Annotated[int, typer.Option(min=1, help="Crystals in one part, the unit of work.")] = 250,
    processes: Annotated[int, typer.Option(min=1, help="That make parts side by side; the result is the same.")] = 1,
) -> None:
    """Make patterns with known cells, of published structures and of synthetic crystals, and their card."""
    from training.indexing.build import BuildArgs, build
    from training.indexing.data_card import write_card

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
    cases = [case for path in paths for case in json.loads(path.read_text())]
    return np.array([case.get("niggli") or case["niggli_cell"] for case in cases], dtype=float).reshape(-1, 6)


def augment_command(
    data: Annotated[Path, typer.Option("--in", help="A finished set of patterns.")] = DATA,
    out: Annotated[Path, typer.Option(help="Folder for the copies.")] = DATA / "augmented",
    wanted: Annotated[int, typer.Option(min=1, help="Patterns of each symbol and side, originals included.")] = 100,
    method: Annotated[str | None, typer.Option(help="random, covariance or svd; default: by the lattice.")] = None,
    real: Annotated[bool, typer.Option(help="Copy the real structures alone.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 1,
) -> None:
    """Copy patterns of rare space groups with other cells and lines, at most ten times each."""
    from training.indexing.augment import METHODS, augmented
    from training.indexing.build import SCALING_FILE
    from training.indexing.data import read_patterns, write_patterns
    from training.indexing.data_card import read_acceptances
    from training.indexing.scaling import scalings_from_json

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
