"""Conversion and running: the compiled form answers as Keras does, and networks with code of their own never run."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import InvalidInput, ModelRefused
from app.model_registry.convert import MAX_PARITY, KerasNetwork, convert_all
from app.model_registry.keras_archive import check_keras_archive
from app.model_registry.manifest import TensorSpec
from app.model_registry.runtime import KerasModel, LiteRTModel
from tests.model_registry.conftest import Networks

REPOSITORY = Path(__file__).resolve().parents[2]


def two_heads(networks: Networks) -> LiteRTModel:
    found = networks.two_heads_compiled
    return LiteRTModel(found.tflite, found.inputs, found.outputs)


def inputs(batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "static_input": rng.normal(size=(batch, 3)).astype(np.float32),
        "time_input": rng.normal(size=(batch, 1, 1)).astype(np.float32),
    }


def test_outputs_are_found_by_name_and_agree_with_keras(networks: Networks) -> None:
    found = networks.two_heads_compiled
    assert [spec.name for spec in found.outputs] == ["mean", "log_variance"]
    assert found.record.parity_max_abs <= MAX_PARITY
    assert networks.summing_compiled.record.golden_rows == 64


def test_a_sum_is_a_sum(networks: Networks) -> None:
    found = networks.summing_compiled
    run = LiteRTModel(found.tflite, found.inputs, found.outputs)
    np.testing.assert_array_equal(run({"x": np.array([[1.0, 2.0], [3.0, 4.0]])})["y"], [[3.0], [7.0]])


def test_a_batch_equals_its_members(networks: Networks) -> None:
    run, asked = two_heads(networks), inputs(7)
    whole = run(asked)
    for row in range(7):
        one = run({name: value[row : row + 1] for name, value in asked.items()})
        for name in whole:
            np.testing.assert_allclose(one[name][0], whole[name][row], rtol=1e-6, atol=1e-6)


def test_an_empty_batch_gives_an_empty_answer(networks: Networks) -> None:
    answer = two_heads(networks)(inputs(0))
    assert {name: value.shape for name, value in answer.items()} == {"mean": (0, 1), "log_variance": (0, 1)}


def test_answers_do_not_change_when_the_network_runs_again(networks: Networks) -> None:
    run = two_heads(networks)
    first = run(inputs(3, seed=1))["mean"]
    kept = first.copy()
    run(inputs(3, seed=2))
    np.testing.assert_array_equal(first, kept)


def test_threads_do_not_disturb_each_other(networks: Networks) -> None:
    run = two_heads(networks)
    expected = [run(inputs(1 + n, seed=n))["mean"] for n in range(6)]
    wrong: list[int] = []

    def work(n: int) -> None:
        wrong.extend(n for _ in range(200) if not np.array_equal(run(inputs(1 + n, seed=n))["mean"], expected[n]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.pop("time_input"),
        lambda x: x.update(static_input=np.zeros((2, 4), np.float32)),
        lambda x: x.update(static_input=np.zeros((3, 3), np.float32)),
        lambda x: x.update(static_input=np.zeros(2, np.float32)),
    ],
    ids=["missing", "wide", "another batch", "flat"],
)
def test_inputs_that_do_not_fit_are_refused_and_the_next_call_works(
    change: Callable[[dict[str, Any]], object], networks: Networks
) -> None:
    run, asked = two_heads(networks), inputs(2)
    change(asked)
    with pytest.raises(InvalidInput):
        run(asked)
    assert run(inputs(2))["mean"].shape == (2, 1)


def test_a_damaged_flat_buffer_or_other_names_are_refused(networks: Networks) -> None:
    found = networks.two_heads_compiled
    with pytest.raises(ModelRefused):
        LiteRTModel(b"not a network", found.inputs, found.outputs)
    with pytest.raises(ModelRefused):
        LiteRTModel(found.tflite, found.inputs, (TensorSpec(name="other", shape=(None, 1)),))


def test_a_free_axis_can_be_fixed_for_the_compiled_form(networks: Networks) -> None:
    fixed = (TensorSpec(name="static_input", shape=(None, 3)), TensorSpec(name="time_input", shape=(None, 1, 1)))
    outcomes = convert_all(
        [
            KerasNetwork(networks.with_lambda),
            KerasNetwork(networks.two_heads, fixed),
            KerasNetwork(networks.two_heads, (TensorSpec(name="other", shape=(None, 3)),)),
            KerasNetwork(b"not an archive"),
        ]
    )
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "ModelRefused",
        "Conversion",
        "ModelRefused",
        "ModelRefused",
    ]
    assert "Lambda" in str(outcomes[0])
    found = outcomes[1]
    assert not isinstance(found, Exception)
    free = two_heads(networks)(inputs(4))
    again = LiteRTModel(found.tflite, found.inputs, found.outputs)(inputs(4))
    np.testing.assert_allclose(again["mean"], free["mean"], atol=1e-6)


# --- archives ---------------------------------------------------------------------------------------------------------


def _archive(config: Any, **others: bytes) -> bytes:
    stream = io.BytesIO()
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"config.json": text, "metadata.json": b"{}", "model.weights.h5": b"", **others}.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _layer(**layer: Any) -> dict[str, Any]:
    return {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}, "registered_name": None}


ARCHIVES: dict[str, bytes] = {
    "lambda": _archive(_layer(module="keras.layers", class_name="Lambda", config={}, registered_name=None)),
    "os.system": _archive(_layer(module="os", class_name="system", config={}, registered_name=None)),
    "function": _archive(_layer(module="builtins", class_name="function", config="exec", registered_name="function")),
    "saved model": _archive(_layer(module="keras.layers", class_name="TFSMLayer", config={}, registered_name=None)),
    "custom": _archive(_layer(module="keras.layers", class_name="Dense", config={}, registered_name="mine>Dense")),
    "look-alike": _archive(_layer(module="keras_evil.layers", class_name="Dense", config={}, registered_name=None)),
    "extra member": _archive({}, **{"../../x": b"x"}),
    "deep": _archive(b"[" * 200_000),
    "no object": _archive([]),
    "large config": _archive(b" " * (17 * 2**20)),
    "no archive": b"PK\x03\x04",
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_with_anything_but_built_in_objects_is_refused(name: str) -> None:
    with pytest.raises(ModelRefused):
        check_keras_archive(ARCHIVES[name])


def test_a_custom_loss_is_no_obstacle() -> None:
    loss = {"module": "builtins", "class_name": "function", "config": "nll_loss", "registered_name": "function"}
    check_keras_archive(_archive({"module": "keras", "class_name": "Sequential", "compile_config": {"loss": loss}}))


FALLBACK = """
import sys, numpy as np
from pathlib import Path
from app.model_registry.manifest import TensorSpec
from app.model_registry.runtime import KerasModel
specs = (TensorSpec(name="static_input", shape=(None, 3)), TensorSpec(name="time_input", shape=(None, 1, 1)))
run = KerasModel(Path(sys.argv[1]).read_bytes(), specs)
with np.load(sys.argv[2]) as asked:
    np.savez(sys.argv[3], **run(dict(asked)))
"""


def test_the_fallback_answers_as_the_compiled_form(networks: Networks, tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(networks.two_heads)
    np.savez(tmp_path / "asked.npz", **inputs(5))  # type: ignore[arg-type]
    files = [str(tmp_path / name) for name in ("model.keras", "asked.npz", "answers.npz")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([sys.executable, "-c", FALLBACK, *files], check=True, capture_output=True, env=environment)
    expected = two_heads(networks)(inputs(5))
    with np.load(files[2]) as answers:
        assert set(answers) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(answers[name], value, atol=1e-5)


def test_the_fallback_refuses_code_before_tensorflow_is_imported(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    with pytest.raises(ModelRefused):
        KerasModel(networks.with_lambda, ())
    assert "tensorflow" not in sys.modules
