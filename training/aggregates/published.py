"""The count network as a method: published, still in the folder of its run, or trained for a learning curve.

What it was trained on is its own affair (`school`): patterns of many settings, not those that the other methods get.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.aggregates.models import NETWORK_FAMILY, AggregateModel, aggregate_model
from app.aggregates.setting import COUNTS
from app.errors import NotFound
from app.model_registry.loading import load_version
from app.model_registry.manifest import Manifest, ModelDraft
from app.model_registry.store import ModelStore
from training.aggregates.calibration import CalibrationArgs
from training.aggregates.count_commands import PARAMETERS_FILE, trained_rules
from training.aggregates.count_network import CountNetworkArgs
from training.aggregates.methods import Answer, Classifier, Question, Sample
from training.publish import NETWORK_FILE, publish

NAME: Final = "aggregates-count"
OWN_SCHOOL: Final = "many-settings"
"""Stands where results tell what a method was trained on."""
ANSWERED_AT_ONCE: Final = 500
PASSES: Final = 100_000
"""Patterns, repeats included, that a network of a learning curve is trained on, within `CURVE_EPOCHS`."""
CURVE_EPOCHS: Final = (3, 30)


@dataclass(frozen=True)
class Published:
    """A model of the service as a classifier."""

    model: AggregateModel

    def predict_proba(self, question: Question) -> Answer:
        """Give what the service would answer, abstentions included."""
        starts = range(0, len(question), ANSWERED_AT_ONCE)
        parts = [self._some(question[first : first + ANSWERED_AT_ONCE]) for first in starts]
        if not parts:
            return Answer(np.empty((0, len(COUNTS))), np.empty(0, dtype=bool))
        probability, answered = zip(*parts, strict=True)
        return Answer(np.concatenate(probability), np.concatenate(answered))

    def _some(self, question: Question) -> Answer:
        found = self.model.classify(question.counts, question.mask, question.centre_px, question.settings)
        return Answer(np.asarray(found.probability, dtype=float), ~np.asarray(found.abstain))


@dataclass(frozen=True)
class PublishedMethod:
    """A trained version; its results are those of the same weights and parameters wherever they lie.

    Attributes:
        identity: digest of weights and parameters.
        store: the model store it is in.
        version: its number.
        name: in the store, and in tables.
    """

    identity: str
    store: Path = field(repr=False, compare=False)
    version: int = field(repr=False, compare=False)
    name: str = NAME
    trained_on: str = OWN_SCHOOL

    def fit(self, train: Sample | None, validation: Sample | None, seed: int) -> Classifier:
        """Load it; nothing is fitted."""
        del train, validation, seed
        return Published(aggregate_model(load_version(ModelStore(self.store).read(self.name, self.version))))


def published(ref: str, store: Path) -> PublishedMethod:
    """Find a version, named `NAME` or `NAME@VERSION`.

    Raises:
        NotFound: no such model or version.
    """
    name, _, asked = ref.partition("@")
    models = ModelStore(store)
    version = models.version_number(name, asked or "latest")
    return PublishedMethod(identity_of(models.manifest(name, version)), store, version, name)


def of_run(folder: Path, staging: Path) -> PublishedMethod:
    """Take the network of a run's folder as the service would: through a model store of its own.

    Args:
        folder: holds ``model.keras`` and ``parameters.json``.
        staging: a model store for models that nobody has evaluated yet.

    Raises:
        NotFound: the folder holds no finished run.
    """
    network, parameters = run_files(folder)
    wanted = identity(hashlib.sha256(network.read_bytes()).hexdigest(), parameters)
    store = ModelStore(staging)
    known = store.model(NAME).versions if NAME in store.names() else ()
    for version in known:
        if identity_of(store.manifest(NAME, version)) == wanted:
            return PublishedMethod(wanted, staging, version)
    draft = ModelDraft(name=NAME, family=NETWORK_FAMILY, description="Not evaluated yet.", parameters=parameters)
    manifest = publish(store, draft, card="Not evaluated yet.\n", network=network)
    return PublishedMethod(wanted, staging, manifest.version)


def run_files(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Give the weights' file and the parameters of a finished run.

    Raises:
        NotFound: a file is missing.
    """
    network, parameters = folder / NETWORK_FILE, folder / PARAMETERS_FILE
    if not (network.exists() and parameters.exists()):
        raise NotFound(f"{folder.name} holds no finished run: run `count-network` first")
    return network, json.loads(parameters.read_text("utf-8"))


def identity_of(manifest: Manifest) -> str:
    """Digest of a version's weights and parameters."""
    weights = manifest.files[manifest.network].sha256 if manifest.network else ""
    return identity(weights, manifest.parameters)


def identity(weights_sha256: str, parameters: Mapping[str, Any]) -> str:
    """Digest of weights and parameters."""
    return hashlib.sha256(f"{weights_sha256} {json.dumps(parameters, sort_keys=True)}".encode()).hexdigest()


@dataclass(frozen=True)
class CountNetworkMethod:
    """The count network trained anew, on as many patterns of its own school as the others get of one setting.

    Attributes:
        runs: folder for the runs and their model store.
        validation_images: patterns that set the temperature and the abstention.
    """

    runs: Path = field(repr=False)
    validation_images: int = 2_500
    name: str = "count-network"

    def fit(self, train: Sample, validation: Sample, seed: int) -> Classifier:
        """Train and calibrate; a finished run is read."""
        del validation
        fewest, most = CURVE_EPOCHS
        epochs = min(max(PASSES // len(train), fewest), most)
        args = replace(
            CountNetworkArgs(),
            images=len(train),
            validation_images=self.validation_images,
            epochs=epochs,
            seed=CountNetworkArgs.seed + 2 * seed,
        )
        folder = self.runs / f"count-network-{len(train)}-seed{seed}"
        trained_rules(folder, args, CalibrationArgs())
        return of_run(folder, self.runs / "staging").fit(None, None, seed)
