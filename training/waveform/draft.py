"""From the folder of a training run to what the registry wants to know of a version."""

from __future__ import annotations

import contextlib
import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from app.errors import InvalidInput
from app.model_registry.manifest import Feature, ModelDraft, TensorSpec, Training
from app.waveform.features import NUMBERS, SHAPE_BINS
from app.waveform.models import FAMILY
from training.waveform.posterior_network import CELLS, MODEL_FILE, RECORD_FILE, SEPARATION_MAX_US

NAME: Final = "waveform-s2"
LIBRARIES: Final = ("keras", "numpy", "tensorflow", "tensorflow-cpu")
"""Their versions stand in the manifest; TensorFlow is installed under one of two names."""
INPUTS: Final = (
    TensorSpec(name="shape", shape=(None, SHAPE_BINS)),
    TensorSpec(name="numbers", shape=(None, len(NUMBERS))),
)
_UNITS: Final = (("_us2", "us2"), ("_us", "us"))

__all__ = ["INPUTS", "MODEL_FILE", "NAME", "RECORD_FILE", "draft_from_run", "network_of", "record_of"]


def record_of(folder: Path) -> dict[str, Any]:
    """Read the record of a run.

    Raises:
        InvalidInput: the folder holds no finished run, or one of other features.
    """
    file = folder / RECORD_FILE
    if not file.is_file():
        raise InvalidInput(f"no finished training run: {RECORD_FILE} is missing; run `train-posterior` to its end")
    record = json.loads(file.read_text("utf-8"))
    if len(record["lowest"]) != len(NUMBERS):
        raise InvalidInput(
            f"the run learned from {len(record['lowest'])} numbers, and features are {len(NUMBERS)} by now: train again"
        )
    return record


def network_of(folder: Path) -> Path:
    """Give the network's file in a run's folder."""
    return folder / MODEL_FILE


def draft_from_run(folder: Path, metrics: dict[str, JsonValue] | None = None) -> ModelDraft:
    """Describe the network of a run.

    Raises:
        InvalidInput: the folder holds no finished run.
    """
    record = record_of(folder)
    return ModelDraft(
        name=NAME,
        family=FAMILY,
        description="Number of scatters in an S2 pulse of a dual-phase xenon detector, and their separation in time.",
        features=_features(record),
        parameters={"separation_max_us": SEPARATION_MAX_US, "cells": CELLS, "arguments": record["args"]},
        training=Training(
            command=" ".join(["python -m training.waveform", *sys.argv[1:]]),
            seed=record["args"]["seed"],
            libraries=installed_libraries(),
        ),
        metrics=metrics or {},
    )


def _features(record: dict[str, Any]) -> tuple[Feature, ...]:
    columns = zip(NUMBERS, record["lowest"], record["highest"], strict=True)
    return tuple(Feature(name=name, unit=_unit(name), min=low, max=high) for name, low, high in columns)


def _unit(name: str) -> str:
    return next((unit for ending, unit in _UNITS if name.endswith(ending)), "1")


def installed_libraries() -> dict[str, str]:
    """Give the versions of what a trained network depends on."""
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
