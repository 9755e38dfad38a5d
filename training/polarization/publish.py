"""Fit the anchored decay model on all experiments of a material and publish it with its evidence."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from app.model_registry.manifest import Feature, Manifest, ModelDraft, Training
from app.model_registry.store import ModelStore
from app.polarization.experiment import Experiment, Material
from app.polarization.features import NUMBERS, static_features
from app.polarization.models import ANCHORED_FAMILY, parameters_to_json
from training.polarization import card
from training.polarization.anchored import AnchoredArgs, AnchoredMethod, fit_anchored
from training.polarization.catalogue import HoldOut
from training.polarization.commands import (
    RUNS,
    DatasetOption,
    MaterialOption,
    RunsOption,
    SeedOption,
    experiments_of,
    material_of,
    results_folder,
)
from training.polarization.data import DEFAULT_OUT, dataset_fingerprint
from training.polarization.evaluate import ranking, stored_outcomes
from training.polarization.scores import Scores
from training.publish import publish

LIBRARIES: Final = ("keras", "numpy", "scipy", "scikit-learn", "tensorflow", "tensorflow-cpu")
"""Their versions stand in the manifest; TensorFlow is installed under one of two names."""
_UNITS: Final[Mapping[str, str]] = {"_s": "s", "_bar": "bar"}

Evidence = Mapping[str, Mapping[str, Scores]]
"""What was held out -> method -> its scores."""


def publish_command(
    material: MaterialOption,
    dataset: DatasetOption = DEFAULT_OUT,
    runs: RunsOption = RUNS,
    store: Annotated[Path, typer.Option(help="the model store")] = Path("model_store"),
    seed: SeedOption = 0,
    promote: Annotated[bool, typer.Option(help="move the alias `stable` to the new version")] = False,
) -> None:
    """Train the anchored decay model on all experiments and publish it. `evaluate` it on the same data set before."""
    kind = material_of(material)
    experiments = experiments_of(dataset, kind)
    evidence = evidence_of(runs, kind, experiments)
    if AnchoredMethod().name not in evidence.get(HoldOut.installation.value, {}):
        typer.echo("the model was not evaluated on this data set: run `evaluate --methods anchored-decay`", err=True)
        raise typer.Exit(1)
    fingerprint = dataset_fingerprint(dataset)
    manifest = train_and_publish(
        ModelStore(store), kind, experiments, evidence, fingerprint, seed=seed, promote=promote
    )
    typer.echo(f"published {manifest.name} version {manifest.version}")


def evidence_of(runs: Path, material: Material, experiments: Sequence[Experiment]) -> Evidence:
    """Read the scores of every method that was evaluated on exactly these experiments."""
    found = {how.value: stored_outcomes(results_folder(runs, material, how), experiments) for how in HoldOut}
    return {how: {row.method: row.scores for row in ranking(results)} for how, results in found.items() if results}


def train_and_publish(
    store: ModelStore,
    material: Material,
    experiments: Sequence[Experiment],
    evidence: Evidence,
    data_fingerprint: str,
    *,
    seed: int,
    promote: bool,
) -> Manifest:
    """Fit, train, calibrate and publish one material's model."""
    args = AnchoredArgs(seed=seed)
    parameters, network = fit_anchored(experiments, args)
    draft = ModelDraft(
        name=f"polarization-{material}",
        family=ANCHORED_FAMILY,
        description=f"Decay of the neutron polarization between two calibrations, {material} set-up of D3.",
        features=training_ranges(experiments),
        parameters=json.loads(json.dumps({**parameters_to_json(parameters), "arguments": asdict(args)})),
        training=Training(
            command=" ".join(["python -m training.polarization", *sys.argv[1:]]),
            seed=seed,
            data_fingerprint=data_fingerprint,
            libraries=_installed(LIBRARIES),
        ),
        metrics={how: {method: asdict(scores) for method, scores in rows.items()} for how, rows in evidence.items()},
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        network.save(file)
        text = card.text(draft, parameters, args, experiments, evidence)
        return publish(store, draft, card=text, network=file, promote=("stable",) if promote else ())


def training_ranges(experiments: Sequence[Experiment]) -> tuple[Feature, ...]:
    """Give the range of every number that a question holds, as it was in training."""
    names = [name for name in NUMBERS if experiments[0].analyser is not None or not name.startswith("analyser")]
    names = [name for name in names if name not in ("initial_time_s", "polarizer_pressure_bar")]
    table = np.array([static_features(e.query(), names).values for e in experiments])
    return tuple(
        Feature(name=name, unit=_unit(name), min=float(low), max=float(high))
        for name, low, high in zip(names, table.min(axis=0), table.max(axis=0), strict=True)
    )


def _unit(name: str) -> str:
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "1")


def _installed(names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
