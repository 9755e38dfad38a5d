"""Publish an index assignment network with its evidence. None is in the project's store: see decision 0019."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from app.errors import InvalidInput
from app.indexing.learned.indices import FAMILY, INPUT
from app.model_registry.manifest import Feature, Manifest, ModelDraft, TensorSpec, Training
from app.model_registry.store import ModelStore
from training.indexing.indices.networks import finished_levels, read_plain
from training.publish import publish

SCORES_FILE: Final = "scores.json"
LIBRARIES: Final = ("keras", "numpy")


def model_name(system: str, level: str) -> str:
    """Name in the store."""
    return f"indexing-indices-{system}-{level.replace('.', '')}"


def publish_level(store: ModelStore, folder: Path, level: str, command: str) -> Manifest:
    """Publish the network of one level of a run; its scores go with it where it was evaluated.

    Raises:
        InvalidInput: the run has no such network.
        ModelRefused: the compiled form answers differently.
    """
    if level not in finished_levels(folder):
        known = ", ".join(finished_levels(folder)) or "none"
        raise InvalidInput(f"The run has no finished network of the level {level!r}; finished: {known}.")
    record = json.loads((folder / f"{level}.json").read_text("utf-8"))
    scores = json.loads((folder / SCORES_FILE).read_text("utf-8")) if (folder / SCORES_FILE).is_file() else {}
    plain, hkl, _, epsilon = read_plain(folder / f"{level}.npz")
    system, n_peaks = record["args"]["system"], plain.heads.shape[0]
    draft = ModelDraft(
        name=model_name(system, level),
        family=FAMILY,
        description=f"Indices of the first {n_peaks} lines of a {system} cell with errors of the size {level}.",
        features=(Feature(name=INPUT, unit="1", min=0.0, max=1.0),),
        parameters={"system": system, "level": level, "hkl": hkl.tolist(), "epsilon": epsilon, "n_peaks": n_peaks},
        training=Training(
            command=command, seed=record["args"]["seed"], libraries={name: version(name) for name in LIBRARIES}
        ),
        metrics={method: one for method, one in scores.items() if method.startswith(f"{level} ")},
    )
    return publish(
        store,
        draft,
        card=card(draft, record),
        network=folder / f"{level}.keras",
        inputs=(TensorSpec(name=INPUT, shape=(None, n_peaks, len(hkl))),),
    )


def card(draft: ModelDraft, record: dict[str, Any]) -> str:
    """Text of the model card."""
    figures: dict[str, Any] = draft.metrics
    trained, held = record["patterns"]
    rows = [
        f"| {name} | {one['accuracy']:.3f} | {one['log_loss']:.2f} | {one['calibration_error']:.3f} |"
        for name, one in figures.items()
    ]
    return "\n".join(
        [
            f"# {draft.name}",
            "",
            f"{draft.description} Trained on {trained} patterns, {held} held out.",
            "",
            "The softmax says how probable each reference reflection is for each line, and none of them (last class).",
            "It gains the solver's walk nothing at equal time: decision 0019.",
            "",
            "| level and method | accuracy | log loss | calibration error |",
            "|---|---|---|---|",
            *rows,
            "",
            "Training: see `docs/training-indexing-indices.md`.",
            "",
        ]
    )
