"""`python -m training.indexing <command>`: simulated cases and tables for powder indexing."""

from __future__ import annotations

import typer

from training.indexing.commands import assignments_command, cases_command, coverage_command
from training.indexing.data_commands import augment_command, data_command
from training.indexing.index_commands import indices_cli
from training.indexing.odds_commands import (
    odds_doubt_command,
    odds_steps_command,
    odds_train_command,
    publish_odds_command,
)
from training.indexing.outcome_commands import outcomes_command
from training.indexing.probability_commands import (
    probability_command,
    probability_details_command,
    publish_probability_command,
)
from training.indexing.regression_commands import cli as regression_cli
from training.indexing.special_commands import special_metrics_command
from training.indexing.template_commands import templates_cli

cli = typer.Typer(no_args_is_help=True, help="Powder indexing: simulated cases and the table of low-order assignments.")


cli.command("cases")(cases_command)
cli.command("assignments")(assignments_command)
cli.command("coverage")(coverage_command)
cli.command("data")(data_command)
cli.command("augment")(augment_command)
cli.command("outcomes")(outcomes_command)
cli.command("probability")(probability_command)
cli.command("probability-details")(probability_details_command)
cli.command("publish-probability")(publish_probability_command)
cli.command("special-metrics")(special_metrics_command)
cli.add_typer(indices_cli, name="indices")
cli.add_typer(regression_cli, name="regression")
cli.add_typer(templates_cli, name="templates")
cli.command("odds-train")(odds_train_command)
cli.command("odds-steps")(odds_steps_command)
cli.command("odds-doubt")(odds_doubt_command)
cli.command("publish-odds")(publish_odds_command)

if __name__ == "__main__":
    cli()
