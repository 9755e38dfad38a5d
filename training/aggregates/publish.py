"""Publish the count network of a run with what its evaluation found."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

import numpy as np
import typer

from app.aggregates.features import NUMBERS
from app.aggregates.models import NETWORK_FAMILY
from app.errors import AppError
from app.model_registry.manifest import Feature, Manifest, ModelDraft, Training
from app.model_registry.store import ModelStore
from training.aggregates import card
from training.aggregates.commands import RUNS, STORE, RunsOption, StoreOption
from training.aggregates.count_commands import COUNT_RUN
from training.aggregates.evaluate import REFERENCE, Result, comparable, stored
from training.aggregates.methods import method_key
from training.aggregates.published import NAME, OWN_SCHOOL, PublishedMethod, identity, run_files
from training.aggregates.train import library_versions
from training.publish import publish

DESCRIPTION: Final = "Number of particles, 1 to 5, in an aggregate from its X-ray diffraction pattern."
UNITS: Final = MappingProxyType({"radius": "5 object px", "stop": "cycles", "reach": "cycles"})
"""Of `NUMBERS`; the others are pure numbers."""
TAUGHT: Final = Path("lessons-train")


def publish_command(
    folder: Annotated[Path, typer.Option(help="the run's folder, as `count-network` leaves it")] = COUNT_RUN,
    runs: RunsOption = RUNS,
    store: StoreOption = STORE,
    promote: Annotated[bool, typer.Option(help="move the alias `stable` to the new version")] = False,
) -> None:
    """Publish a run of `count-network`. `evaluate --methods run:FOLDER` it before."""
    try:
        results = evidence(folder, runs / "results")
        if not any(r.method == NAME and r.case == REFERENCE for r in results):
            typer.echo(f"this run was not evaluated on {REFERENCE}: `evaluate --methods run:{folder}` first", err=True)
            raise typer.Exit(1)
        manifest = publish_run(ModelStore(store), folder, results, promote=promote)
    except AppError as error:
        typer.echo(f"{error.title}: {error.message}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"published {manifest.name} version {manifest.version}")


def evidence(folder: Path, results: Path) -> list[Result]:
    """Read what was found of a run and of what it is compared with.

    Returns:
        This run's results on every case; of the others those on the setting that they were trained on, and those
        trained on the reference on every other case.

    Raises:
        NotFound: the folder holds no finished run.
    """
    own = method_key(PublishedMethod(run_identity(folder), results, 0))
    mine = stored(results, key=lambda name: name == own)
    return [*mine, *comparable(r for r in stored(results) if r.training != OWN_SCHOOL)]


def run_identity(folder: Path) -> str:
    """Digest of a run's weights and parameters, as `PublishedMethod` has it."""
    network, parameters = run_files(folder)
    return identity(hashlib.sha256(network.read_bytes()).hexdigest(), parameters)


def publish_run(store: ModelStore, folder: Path, results: Sequence[Result], *, promote: bool) -> Manifest:
    """Publish a run's network with its card and metrics.

    Raises:
        NotFound: the folder holds no finished run.
        ModelRefused: the network cannot be compiled.
    """
    network, parameters = run_files(folder)
    draft = ModelDraft(
        name=NAME,
        family=NETWORK_FAMILY,
        description=DESCRIPTION,
        features=training_ranges([*taught_before(parameters), folder]),
        parameters=parameters,
        training=Training(
            command=" ".join(["python -m training.aggregates", *sys.argv[1:]]),
            seed=parameters["arguments"]["seed"],
            data_fingerprint=fingerprint([*taught_before(parameters), folder]),
            libraries=library_versions(),
        ),
        metrics=metrics_of(results),
    )
    return publish(
        store,
        draft,
        card=card.text(draft, results, [run_files(before)[1]["arguments"] for before in taught_before(parameters)]),
        network=network,
        promote=("stable",) if promote else (),
    )


def training_ranges(folders: Sequence[Path]) -> tuple[Feature, ...]:
    """Give the range in training, over all runs, of each of the numbers that the network sees beside the pattern."""
    tables = [np.load(folder / TAUGHT / "numbers.npy", mmap_mode="r") for folder in folders]
    least, most = np.min([t.min(axis=0) for t in tables], axis=0), np.max([t.max(axis=0) for t in tables], axis=0)
    return tuple(
        Feature(name=name, unit=UNITS.get(name, "1"), min=float(low), max=float(high))
        for name, low, high in zip(NUMBERS, least, most, strict=True)
    )


def taught_before(parameters: Mapping[str, Any]) -> list[Path]:
    """Give the folders of the runs that a run went on from, the first one first."""
    start = parameters["arguments"].get("start")
    if not start:
        return []
    return [*taught_before(run_files(Path(start))[1]), Path(start)]


def fingerprint(folders: Sequence[Path]) -> str:
    """SHA-256 of numbers and truth of the training patterns of all runs; both follow from every pattern."""
    digest = hashlib.sha256()
    for folder, name in product(folders, ("numbers.npy", "facts.npy")):
        digest.update((folder / TAUGHT / name).read_bytes())
    return digest.hexdigest()


def metrics_of(results: Sequence[Result]) -> dict[str, Any]:
    """Give scores by case and method."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for result in results:
        found.setdefault(result.case, {})[result.method] = asdict(result.scores)
    return dict(found)
