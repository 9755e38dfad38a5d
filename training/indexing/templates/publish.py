"""Publish the network that scores low-order assignments, with its evidence."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from app.errors import InvalidInput
from app.indexing.learned.template_features import N_FEATURES
from app.indexing.learned.templates import FAMILY, INPUT, NAME, lists_digest
from app.model_registry.manifest import Feature, Manifest, ModelDraft, TensorSpec, Training
from app.model_registry.store import ModelStore
from training.indexing.templates.evaluate import PREFIXES
from training.indexing.templates.train import MODEL_FILE, RECORD_FILE
from training.publish import publish

SCORES_FILE: Final = "scores.json"
LIBRARIES: Final = ("keras", "numpy", "tensorflow", "tensorflow-cpu")

_CARD: Final = """\
# indexing-templates

The solver lists, for each lattice, which low-order reflections a few of the first lines may be, best first on average.
This network looks at the lines of one pattern and puts the list into an order of its own, so that fewer rows have to be
tried.

## Use
Input: `template_features` of the first 20 lines (`app/indexing/learned/template_features.py`, the same function in
training and service), free of scale. Output: for each lattice below, a value of every pair (line, reflection) of the
list; the score of a row is the sum of its pairs' values and the logarithm of its place's worth. It sets an order and
decides nothing: every proposed cell is solved, grown to all lines and weighed. Lists of cubic lattices are short and
keep their order. The network belongs to the lists that it was trained on and is refused with others.

## 1. Data sources
Random lattices with extinctions, Wilson-distributed intensities, weak, overlapped and missing lines
(`training/indexing/data/lattice_patterns.py`). Half with 0.25 foreign lines among the first dozen, half with 2.5.
Patterns of each lattice: {patterns}.
No real structure is among them. Errors are drawn anew each time: normal, 0.005 to 0.03 deg, and a zero shift of
0.03 deg (standard deviation). Bias: cells of 2 to 50 Angstrom, copper radiation.

## 2. Training
{epochs} passes, {batch} patterns a step; loss log(1 + 1/(k p)) with k = {k} and p the share of the right rows.

## 3. Validation
Share of unseen random patterns (seed {held_seed}) that the first rows solve: a row counts where its cell predicts 70 %
of the lines. "list" is the fixed order.

{table}

On real structures, and the solver with it and without: `docs/training-indexing-templates.md`.
"""


def publish_run(store: ModelStore, run: Path, command: str, *, promote: bool = False) -> Manifest:
    """Publish the network of a run that was evaluated.

    Raises:
        InvalidInput: the folder holds no finished and evaluated run.
        ModelRefused: the compiled form answers differently.
    """
    missing = [name for name in (MODEL_FILE, RECORD_FILE, SCORES_FILE) if not (run / name).is_file()]
    if missing:
        raise InvalidInput(f"the run lacks {', '.join(missing)}: train and evaluate it first")
    record, scores = (json.loads((run / name).read_text("utf-8")) for name in (RECORD_FILE, SCORES_FILE))
    return publish(
        store,
        draft_of(record, scores, command),
        card=card(record, scores),
        network=run / MODEL_FILE,
        inputs=(TensorSpec(name=INPUT, shape=(None, N_FEATURES)),),
        promote=("stable",) if promote else (),
    )


def draft_of(record: dict[str, Any], scores: dict[str, JsonValue], command: str) -> ModelDraft:
    """All that the manifest says but for the files."""
    return ModelDraft(
        name=NAME,
        family=FAMILY,
        description="Which low-order assignments of the first lines are probable, for the indexing of powder patterns.",
        features=(Feature(name="q2", unit="1/Angstrom^2"),),
        parameters={"lists_sha256": lists_digest(), "arguments": record["args"]},
        training=Training(command=command, seed=record["args"]["seed"], libraries=_libraries()),
        metrics=scores,
    )


def _libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def card(record: dict[str, Any], scores: dict[str, Any]) -> str:
    """Text of the model card."""
    args = record["args"]
    return _CARD.format(
        k=f"{args['k']:g}",
        patterns=", ".join(f"{symbol} {count:,}" for symbol, count in args["patterns"].items()),
        epochs=record["epoch"],
        batch=args["batch"],
        held_seed=scores["seed"],
        table=table(scores),
    )


def table(scores: dict[str, Any]) -> str:
    """Give the shares as a Markdown table."""
    head = " | ".join(f"{prefix:,}" for prefix in PREFIXES)
    lines = [f"| lattice | order | {head} |", "|---|---|" + "---|" * len(PREFIXES)]
    for symbol, orders in scores["solved"].items():
        for order, shares in orders.items():
            lines.append(f"| {symbol} | {order} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    return "\n".join(lines)
