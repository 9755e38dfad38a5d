"""`python -m training.waveform <command>`: every step from the simulator to a published model."""

from __future__ import annotations

import typer

from training.waveform.commands import (
    curves_command,
    evaluate_command,
    grid_command,
    train_command,
    train_posterior_command,
)
from training.waveform.publish import publish_command

cli = typer.Typer(no_args_is_help=True, help="Waveforms: training, search, evaluation, publishing.")


@cli.callback()
def main() -> None:
    """Keep sub-command names even while there is one command only."""


cli.command("train")(train_command)
cli.command("train-posterior")(train_posterior_command)
cli.command("grid")(grid_command)
cli.command("evaluate")(evaluate_command)
cli.command("curves")(curves_command)
cli.command("publish")(publish_command)

if __name__ == "__main__":
    cli()
