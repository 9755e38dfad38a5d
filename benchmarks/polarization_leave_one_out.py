"""The leave-one-out table: the anchored decay model beside its baselines and the D3 pipeline's networks.

    python -m benchmarks.polarization_leave_one_out [--jobs 2] [--quick]

Reads D3's files from $BEAMLINE_SHARED_DATA/polarization/d3_zips (default ../shared/data), keeps every finished fit
under runs/, and prints one table for each material and way of holding out. `--quick` leaves out the D3 pipeline's
networks, which take most of the time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from app.polarization.experiment import Material
from training.polarization.baselines import BASELINES
from training.polarization.catalogue import HoldOut
from training.polarization.commands import evaluate_command, rank_command
from training.polarization.data import DEFAULT_OUT, EXPERIMENTS_FILE, data_command

# Chosen from the pipeline's own models before any was evaluated here; `-raw` is one without the slope correction.
NETWORKS: Final[dict[Material, tuple[str, ...]]] = {
    "crystalline": (
        "NaifTwiceDense824_5",
        "NaifTwiceDense4224_7",
        "Naif16532_6",
        "SimpleNoDropout848_6",
        "Naif16532_6-raw",
    ),
    "amorphous": (
        "SimpleNoDropout1684_5",
        "SimpleNoDropout448_12",
        "Naif854_10",
        "Naif8532_9",
        "Naif854_10-raw",
    ),
}
OURS: Final = ("anchored-decay", *(method.name for method in BASELINES))


def main(
    jobs: Annotated[int, typer.Option(help="fits at the same time")] = 2,
    quick: Annotated[bool, typer.Option(help="without the D3 pipeline's networks")] = False,
) -> None:
    """Read the data once, evaluate what is not evaluated yet, print the tables."""
    if not (DEFAULT_OUT / EXPERIMENTS_FILE).exists():
        shared = Path(os.environ.get("BEAMLINE_SHARED_DATA") or "../shared/data")
        data_command(shared / "polarization" / "d3_zips")
    for material, networks in NETWORKS.items():
        methods = [*OURS, *(() if quick else networks)]
        typer.echo(f"\n{material}, leaving out one installation of a cell")
        evaluate_command(material, methods, jobs=jobs)
        if not quick:
            typer.echo("\nwith the ensemble of the best four networks, combined as the D3 pipeline does")
            rank_command(material)
    typer.echo("\ncrystalline, leaving out a whole beam time")
    evaluate_command("crystalline", list(OURS), jobs=jobs, hold_out=HoldOut.campaign)


if __name__ == "__main__":
    typer.run(main)
