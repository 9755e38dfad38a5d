"""`python -m training.polarization <command>`: every step from D3's files to a published model."""

from __future__ import annotations

import typer

from training.polarization.commands import (
    complexities_command,
    evaluate_command,
    keep_command,
    parts_command,
    rank_command,
    train_command,
)
from training.polarization.data import data_command
from training.polarization.publish import publish_command

cli = typer.Typer(no_args_is_help=True, help="Polarization: data, training, evaluation, publishing.")


@cli.callback()
def main() -> None:
    """Keep sub-command names even while there is one command only."""


cli.command("data")(data_command)
cli.command("train")(train_command)
cli.command("evaluate")(evaluate_command)
cli.command("parts")(parts_command)
cli.command("keep")(keep_command)
cli.command("rank")(rank_command)
cli.command("complexities")(complexities_command)
cli.command("publish")(publish_command)

if __name__ == "__main__":
    cli()
