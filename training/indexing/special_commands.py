"""`python -m training.indexing special-metrics`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.indexing.commands import read_ids
from training.indexing.special_metrics import counted, distinct_cells

COUNTED = ("oP", "oC", "mC", "mP")
"""Lattices with more free terms than an orthogonal relative, and structures enough to count."""


def special_metrics_command(
    db: Annotated[Path, typer.Option(help="amcsd_cif1.db, from the PyPI package larixite.")],
    reserved: Annotated[Path | None, typer.Option(help="Text file of amcsd ids, one a line, to leave out.")] = None,
    lattice: Annotated[list[str] | None, typer.Option("--lattice", help="Bravais symbol; may be repeated.")] = None,
) -> None:
    """Count the lattices that have the metric of a more symmetric relative, a prior of the solver."""
    cells = distinct_cells(db, read_ids(reserved))
    for bravais in lattice or COUNTED:
        typer.echo(f"{bravais}: {len(cells.get(bravais, []))} lattices")
        kinds = counted(cells.get(bravais, []), bravais).items()
        for kind, count in sorted(kinds, key=lambda item: (item[0].relative, item[0].volume_ratio)):
            typer.echo(f"    {kind.relative} with {kind.volume_ratio:.3f} times the volume: {count}")
