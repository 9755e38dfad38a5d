"""A loaded version as named arrays, whether a network answers or plain arrays do."""

from __future__ import annotations

import numpy as np
import pytest

from app.errors import ModelUnavailable
from app.model_registry.manifest import CARD_FILE, ModelDraft, PlainForm
from app.model_registry.plain import About, plain_bytes
from app.model_registry.registry import LoadedModel, Registry
from app.model_registry.store import ModelStore
from tests.model_registry.conftest import Publish

LINE = plain_bytes(
    About(score="linear", link="identity", n_features=2),
    {"coefficient": np.array([[2.0, 3.0]]), "intercept": np.array([1.0])},
)
SIDES = plain_bytes(
    About(score="linear", link="sigmoid", n_features=2, classes=("left", "right")),
    {"coefficient": np.array([[1.0, 0.0]]), "intercept": np.array([0.0])},
)
CURVE = plain_bytes(
    About(score="interpolation", link="identity", n_features=1), {"x": np.array([0.0, 1.0]), "y": np.array([0.0, 1.0])}
)
FOREST = plain_bytes(
    About(score="forest", link="identity", n_features=2),
    {
        "tree_nodes": np.array([3, 1]),
        "left": np.array([1, 0, 0, 0]),
        "feature": np.array([0, 0, 0, 0]),
        "number": np.array([0.5, 0.0, 0.0, 0.0]),
        "value": np.array([[0.0, 0.0], [1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]),
    },
)
"""Below and above 0.5 in the first column, and a tree that always says 3 and 30."""
RECORD = PlainForm(source="LinearRegression", library_version="1", parity_max_abs=0.0, golden_rows=1)


def loaded(store: ModelStore, **files: bytes) -> LoadedModel:
    draft = ModelDraft(
        name="plain",
        family="test/plain",
        description="Plain arrays.",
        scalers={role: f"{role}.npz" for role in files},
        plain=dict.fromkeys(files, RECORD),
    )
    store.publish(draft, {CARD_FILE: b"", **{f"{role}.npz": content for role, content in files.items()}})
    registry = Registry(store)
    registry.refresh()
    return registry.resolve("plain")


def test_a_network_answers_by_the_manifests_names(store: ModelStore, publish_sum: Publish) -> None:
    publish_sum()
    registry = Registry(store)
    registry.refresh()
    tensors = registry.resolve("sum").tensors
    assert [(spec.name, spec.shape) for spec in (*tensors.inputs, *tensors.outputs)] == [
        ("x", (None, 2)),
        ("y", (None, 1)),
    ]
    assert tensors.form == "litert"
    assert 0.0 < tensors.row_s <= tensors.call_s < 60.0
    assert tensors.expected_s(100) > tensors.expected_s(1)
    np.testing.assert_allclose(tensors.run({"x": np.array([[1, 2]], np.float32)})["y"], [[3.0]])


def test_plain_estimators_share_one_input_and_answer_by_role(store: ModelStore) -> None:
    tensors = loaded(store, line=LINE, side=SIDES).tensors
    assert [(spec.name, spec.shape, spec.dtype) for spec in (*tensors.inputs, *tensors.outputs)] == [
        ("features", (None, 2), "float64"),
        ("line", (None,), "float64"),
        ("side", (None, 2), "float64"),
    ]
    assert tensors.classes == {"side": ("left", "right")}
    answer = tensors.run({"features": np.array([[0.0, 1.0], [1.0, 0.0]])})
    np.testing.assert_allclose(answer["line"], [4.0, 3.0])
    np.testing.assert_allclose(answer["side"][:, 1], [0.5, 1.0 / (1.0 + np.exp(-1.0))])


def test_a_forest_of_several_outputs_answers_the_mean_of_its_trees(store: ModelStore) -> None:
    tensors = loaded(store, cell=FOREST).tensors
    assert [(spec.name, spec.shape) for spec in tensors.outputs] == [("cell", (None, 2))]
    found = tensors.run({"features": np.array([[0.0, 0.0], [1.0, 0.0]])})["cell"]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [[2.0, 20.0], [2.5, 25.0]])


@pytest.mark.parametrize("files", [{}, {"line": LINE, "curve": CURVE}], ids=["none", "different columns"])
def test_what_needs_the_code_of_its_domain_has_no_tensors(files: dict[str, bytes], store: ModelStore) -> None:
    tensors = loaded(store, **files).tensors
    assert tensors.inputs == tensors.outputs == ()
    with pytest.raises(ModelUnavailable, match="endpoint"):
        tensors.run({})
