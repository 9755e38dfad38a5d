"""`python -m training.indexing <command>`: structures and simulated cases for powder indexing."""

from __future__ import annotations

import typer

from training.indexing.commands import cases_command

cli = typer.Typer(no_args_is_help=True, help="Powder indexing: structures and simulated cases.")


@cli.callback()
def main() -> None:
    """Keep sub-command names even while there is one command only."""


cli.command("cases")(cases_command)

if __name__ == "__main__":
    cli()
