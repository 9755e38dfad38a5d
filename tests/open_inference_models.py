"""A store of small models of plain arrays, and requests of the open inference protocol for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi.testclient import TestClient

from app.api.open_inference import HEADER_LENGTH
from app.main import create_app
from app.model_registry.manifest import CARD_FILE, ModelDraft, PlainForm
from app.model_registry.plain import About, plain_bytes
from app.model_registry.store import ModelStore
from app.settings import Settings

KEY = "a-key-for-these-tests"
ADMIN = {"Authorization": f"Apikey {KEY}"}
MAX_ROWS = 300
LINE = plain_bytes(
    About(score="linear", link="identity", n_features=2),
    {"coefficient": np.array([[2.0, 3.0]]), "intercept": np.array([1.0])},
)
SIDES = plain_bytes(
    About(score="linear", link="sigmoid", n_features=2, classes=("left", "right")),
    {"coefficient": np.array([[1.0, 0.0]]), "intercept": np.array([0.0])},
)
STUMP = plain_bytes(
    About(score="trees", link="identity", n_features=1),
    {
        "tree_nodes": np.array([3]),
        "left": np.array([1, 0, 0]),
        "feature": np.array([0, 0, 0]),
        "number": np.array([0.0, 10.0, 20.0]),
        "missing_right": np.array([1, 0, 0]),
        "offset": np.array([0.0]),
    },
)
RECORD = PlainForm(source="LinearRegression", library_version="1", parity_max_abs=0.0, golden_rows=1)


def publish(store: ModelStore, name: str, **files: bytes) -> None:
    draft = ModelDraft(
        name=name,
        family="test/plain",
        description="Plain arrays.",
        scalers={role: f"{role}.npz" for role in files},
        plain=dict.fromkeys(files, RECORD),
    )
    store.publish(draft, {CARD_FILE: b"", **{f"{role}.npz": content for role, content in files.items()}})


def published(root: Path) -> ModelStore:
    """Three models of plain arrays; of one there are three versions, and ``latest`` names the last."""
    made = ModelStore(root)
    for _ in range(3):
        publish(made, "line", line=LINE, side=SIDES)
    publish(made, "stump", value=STUMP)
    publish(made, "card")
    return made


@contextmanager
def client_of(store: ModelStore) -> Iterator[TestClient]:
    settings = Settings.model_validate(
        {"model_store": store.root, "admin_key": KEY, "max_rows": MAX_ROWS, "max_upload_bytes": 100_000}
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as opened:
        yield opened


def tensor(array: Any, name: str = "features", datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    numbers = np.asarray(array)
    return {"name": name, "shape": list(numbers.shape), "datatype": datatype, **more}


def in_json(array: Any, **more: Any) -> dict[str, Any]:
    return {"inputs": [tensor(array, data=np.asarray(array).ravel().tolist())], **more}


def in_binary(array: np.ndarray, datatype: str = "FP64", **more: Any) -> tuple[bytes, dict[str, str]]:
    parameters = {"binary_data_size": array.nbytes}
    head = json.dumps({"inputs": [tensor(array, datatype=datatype, parameters=parameters)], **more}).encode()
    return head + array.tobytes(), {HEADER_LENGTH: str(len(head))}


def outputs(answer: httpx.Response) -> dict[str, list[float]]:
    assert answer.status_code == 200, answer.text
    return {output["name"]: output["data"] for output in answer.json()["outputs"]}


INFER = "/v2/models/line/infer"
ROWS = [[0.0, 1.0], [1.0, 0.0]]
