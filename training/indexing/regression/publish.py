"""Publish the regression models of a lattice with their evidence."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from app.crystallography.lattice import LATTICES
from app.indexing.learned.regression import FAMILY, INPUT
from app.model_registry.manifest import Feature, Manifest, ModelDraft, TensorSpec, Training
from app.model_registry.store import ModelStore
from training.indexing.regression.evaluate import SCORES_FILE
from training.indexing.regression.train import SavedRun, read_run
from training.publish import publish

LIBRARIES: Final = ("keras", "numpy", "scikit-learn")


def model_name(bravais: str) -> str:
    """Name in the store."""
    return f"indexing-regression-{bravais.lower()}"


def publish_run(store: ModelStore, folder: Path, command: str, *, promote: bool = False) -> Manifest:
    """Publish what lies in a run's folder; its scores go with it where it was evaluated.

    Raises:
        InvalidInput: no finished run lies there.
        ModelRefused: the compiled form or the plain arrays answer differently.
    """
    run = read_run(folder)
    scores = json.loads((folder / SCORES_FILE).read_text("utf-8")) if (folder / SCORES_FILE).is_file() else {}
    draft = draft_of(run, scores, command)
    features = run.scaling.input_mean.size
    return publish(
        store,
        draft,
        card=card(run, scores),
        network=run.network,
        inputs=(TensorSpec(name=INPUT, shape=(None, features)),),
        scalers={f"forest_{number}": forest for number, forest in enumerate(run.forests)},
        promote=("stable",) if promote else (),
    )


def draft_of(run: SavedRun, scores: dict[str, Any], command: str) -> ModelDraft:
    """All that the manifest says but for the files."""
    record = run.record
    return ModelDraft(
        name=model_name(run.bravais),
        family=FAMILY,
        description=f"Cell constants of the Bravais lattice {run.bravais} from the first lines of a powder pattern.",
        features=(Feature(name="q2", unit="1/Angstrom^2"),),
        parameters={
            "bravais": run.bravais,
            "groups": record["groups"],
            "scaling": record["scaling"],
            "density": record["args"]["density"],
        },
        training=Training(
            command=command,
            seed=record["args"]["network"]["seed"],
            libraries={name: version(name) for name in LIBRARIES},
        ),
        metrics=scores,
    )


def card(run: SavedRun, scores: dict[str, Any]) -> str:
    """Text of the model card."""
    lattice, record = LATTICES[run.bravais], run.record
    lines = [
        f"# {model_name(run.bravais)}",
        "",
        f"Draws cells of the Bravais lattice {run.bravais} ({lattice.convention}) from the first {run.scaling.n_lines} "
        f"lines: a {record['args']['density']} network and a random forest for each group, "
        f"groups: {', '.join(record['groups'])} ({', '.join(str(n) for n in record['n_rows'])} patterns).",
        "",
        "For the solver's generator `networks`; the numbers are starts of a search, not answers.",
        "",
        "## Held-out patterns",
        "",
        "Median relative error of a length, NLL in ln(length) and radians, coverage of the central 50% and 90%, share "
        "of the draws within 5% of the true cell, share of 30 draws that a walk of 40 steps takes there, and of the "
        "patterns with one that does.",
        "",
        "| patterns | predictor | n | NLL | length error | 50% | 90% | close | refined | any of 30 refined |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for condition, rows in scores.items():
        for name, one in rows.items():
            shares = (*one["coverage"], one["close"], one["refined"], one["any_refined"])
            shown = " | ".join(f"{share:.1%}" for share in (one["length_error"], *shares))
            lines.append(f"| {condition} | {name} | {one['patterns']} | {one['nll']:.2f} | {shown} |")
    return "\n".join([*lines, "", "Training: see `docs/training-indexing-regression.md`.", ""])
