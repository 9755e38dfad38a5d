"""The command that trains the count network and sets when it abstains."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from app.aggregates.models import Rules, rules_to_json
from training.aggregates.calibration import CalibrationArgs, calibrate
from training.aggregates.count_network import CountNetworkArgs, lesson_heads, train
from training.aggregates.lessons import lesson_set
from training.aggregates.school import SCHOOLS

COUNT_RUN: Final = Path("runs") / "aggregates" / "count-network"
PARAMETERS_FILE: Final = "parameters.json"


def count_network_command(
    folder: Annotated[Path, typer.Option(help="the run's folder; an interrupted run goes on")] = COUNT_RUN,
    images: Annotated[int, typer.Option(min=1, help="patterns to train on")] = CountNetworkArgs.images,
    epochs: Annotated[int, typer.Option(min=1, help="passes over all patterns")] = CountNetworkArgs.epochs,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="at the start")] = CountNetworkArgs.learning_rate,
    seed: Annotated[int, typer.Option(min=0, max=999_999, help="of everything that is drawn")] = CountNetworkArgs.seed,
    school: Annotated[str, typer.Option(help=f"what the patterns are: {', '.join(SCHOOLS)}")] = "broad",
    start: Annotated[Path | None, typer.Option(help="folder of a run whose network is trained further")] = None,
) -> None:
    """Train the count network on simulated patterns of many settings, and calibrate it."""
    if school not in SCHOOLS:
        raise typer.BadParameter(f"no school {school!r}: give one of {', '.join(SCHOOLS)}")
    args = CountNetworkArgs(
        images=images,
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        school=SCHOOLS[school],
        start=None if start is None else str(start),
    )
    rules = trained_rules(folder, args, CalibrationArgs())
    typer.echo(f"{folder}: {json.dumps(rules_to_json(rules))}")


def trained_rules(folder: Path, args: CountNetworkArgs, calibration: CalibrationArgs) -> Rules:
    """Train and calibrate; leaves ``model.keras``, ``record.json`` and ``parameters.json`` in the folder.

    Raises:
        ValueError: the folder holds a run of other arguments.
    """
    network = train(folder, args)
    asked = lesson_set(folder / "lessons-validation", args.school, args.seed + 1, args.validation_images)
    rules = calibrate(lesson_heads(network, asked), asked, args.school, calibration)
    told = {**rules_to_json(rules), "arguments": asdict(args), "calibration": asdict(calibration)}
    (folder / PARAMETERS_FILE).write_text(json.dumps(told, indent=1), "utf-8")
    return rules
