"""Publish a trained posterior network with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from app.model_registry.manifest import Manifest
from app.model_registry.store import ModelStore
from training.publish import publish
from training.waveform import card
from training.waveform.args import DataArgs
from training.waveform.commands import (
    RUNS,
    SHARED_DATA,
    Folders,
    RunsOption,
    SharedOption,
    StoreOption,
    or_exit,
    plan_of,
)
from training.waveform.draft import draft_from_run, network_of, record_of
from training.waveform.evaluate import Result, evaluate
from training.waveform.sets import TestArgs


def publish_command(
    run: Annotated[Path, typer.Option(help="folder of the training run")] = RUNS / "posterior",
    runs: RunsOption = RUNS,
    store: StoreOption = Path("model_store"),
    shared_data: SharedOption = SHARED_DATA,
    promote: Annotated[bool, typer.Option(help="move the alias `stable` to the new version")] = False,
) -> None:
    """Publish a trained posterior network. Evaluations that were not done yet are done before."""

    def work() -> Manifest:
        record_of(run)
        plan = plan_of(None, str(run), Folders(runs, store, shared_data), DataArgs(), TestArgs())
        return publish_run(ModelStore(store), run, evaluate(plan), promote=promote)

    manifest = or_exit(work)
    typer.echo(f"published {manifest.name} version {manifest.version}")


def publish_run(store: ModelStore, run: Path, results: Sequence[Result], *, promote: bool = False) -> Manifest:
    """Publish the network of a run.

    Args:
        store: where to.
        run: folder of the run.
        results: of the network, and of what it is compared with.
        promote: let it answer.

    Raises:
        InvalidInput: the folder holds no finished run.
        ModelRefused: the compiled form answers differently.
    """
    draft = draft_from_run(run, metrics_of(results))
    text = card.text(draft, record_of(run)["args"], results)
    return publish(store, draft, card=text, network=network_of(run), promote=("stable",) if promote else ())


def metrics_of(results: Sequence[Result]) -> dict[str, JsonValue]:
    """Give the main figures: setting -> method -> name -> value; errors in units of 8 us."""
    found: dict[str, dict[str, JsonValue]] = {}
    for result in results:
        found.setdefault(result.questions.setting, {})[result.method] = _figures(result)
    return {setting: dict(rows) for setting, rows in found.items()}


def _figures(result: Result) -> dict[str, JsonValue]:
    separation, two = result.scores.separation, result.scores.two
    figures: dict[str, JsonValue] = {}
    if separation:
        figures |= {"events": separation.events, "mse": separation.mse, "mae": separation.mae}
        figures |= {"rounded_accuracy": separation.accuracy, "coverage": list(separation.coverage)}
    if two:
        figures |= {"auc": two.auc, "efficiency_at_5_percent": two.efficiency, "brier": two.brier}
    return figures
