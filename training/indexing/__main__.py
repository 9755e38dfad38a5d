"""`python -m training.indexing <command>`: simulated cases and tables for powder indexing."""

from __future__ import annotations

import typer

from training.indexing.assignments.commands import assignments_command, coverage_command
from training.indexing.data.commands import augment_command, cases_command, data_command, special_metrics_command
from training.indexing.indices.commands import indices_cli
from training.indexing.odds.commands import (
    odds_doubt_command,
    odds_steps_command,
    odds_train_command,
    publish_odds_command,
)
from training.indexing.outcomes.commands import outcomes_command
from training.indexing.probability.commands import (
    probability_command,
    probability_details_command,
    publish_probability_command,
)
from training.indexing.regression.commands import cli as regression_cli
from training.indexing.templates.commands import templates_cli

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
