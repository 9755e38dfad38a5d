"""`python -m training.aggregates <command>`: every step from simulated patterns to a published model."""

from __future__ import annotations

import typer

from training.aggregates.commands import (
    curves_command,
    evaluate_command,
    methods_command,
    rank_command,
    simulate_command,
    train_command,
)
from training.aggregates.count_commands import count_network_command
from training.aggregates.publish import publish_command

cli = typer.Typer(no_args_is_help=True, help="Aggregates: simulation, training, evaluation, publishing.")


@cli.callback()
def main() -> None:
    """Keep sub-command names even while there is one command only."""


cli.command("simulate")(simulate_command)
cli.command("train")(train_command)
cli.command("count-network")(count_network_command)
cli.command("evaluate")(evaluate_command)
cli.command("rank")(rank_command)
cli.command("methods")(methods_command)
cli.command("curves")(curves_command)
cli.command("publish")(publish_command)

if __name__ == "__main__":
    cli()
