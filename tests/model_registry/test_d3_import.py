"""Model folders of the D3 notebooks: all real ones come in and answer as plain Keras does; damaged ones do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler

from app.errors import InvalidInput
from app.model_registry.d3_import import STATIC_FEATURES, ImportOutcome, derived_name, import_d3
from app.model_registry.registry import Registry
from app.model_registry.store import ModelStore
from tests.model_registry.conftest import Networks, dumped

ROWS = 40

PLAIN_KERAS = """
import sys, keras, numpy as np
from pathlib import Path
asked = np.load(sys.argv[1])
answers = {}
for path in sorted(Path(sys.argv[2]).rglob("*.keras")):
    model = keras.models.load_model(path, compile=False)
    width = next(i.shape[1] for i in model.inputs if i.name == "static_input")
    material = "amorphous" if width == 13 else "crystalline"
    by_name = {"static_input": asked[material], "time_input": asked["time"]}
    answers[path.stem] = np.asarray(model([by_name[i.name] for i in model.inputs]))
np.savez(sys.argv[3], **answers)
"""


def _inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    static = {m: rng.uniform(size=(ROWS, len(names))).astype(np.float32) for m, names in STATIC_FEATURES.items()}
    return static | {"time": rng.uniform(size=(ROWS, 1, 1)).astype(np.float32)}


def _plain_keras(folder: Path, scratch: Path, asked: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    np.savez(scratch / "asked.npz", **asked)  # type: ignore[arg-type]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-c", PLAIN_KERAS, str(scratch / "asked.npz"), str(folder), str(scratch / "answers.npz")]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    with np.load(scratch / "answers.npz") as answers:
        return dict(answers)


def _combined(outputs: list[np.ndarray], scalers: list[MinMaxScaler]) -> np.ndarray:
    """The inverse-variance mean of all networks, as a polarization."""
    pairs = [(output.astype(float), scaler) for output, scaler in zip(outputs, scalers, strict=True)]
    mean = np.array([(output[:, 0] - scaler.min_[0]) / scaler.scale_[0] for output, scaler in pairs])
    weight = np.array([np.exp(-output[:, 1]) * scaler.scale_[0] ** 2 for output, scaler in pairs])
    return (weight * mean).sum(axis=0) / weight.sum(axis=0)


def test_all_upstream_networks_come_in_and_agree_with_plain_keras(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "polarization" / "upstream_models"
    store = ModelStore(tmp_path / "model_store")
    outcomes = import_d3(store, folder)
    assert len(outcomes) == 20
    assert [outcome.reason for outcome in outcomes] == [""] * 20

    asked = _inputs()
    expected = _plain_keras(folder, tmp_path, asked)
    registry = Registry(store)
    registry.refresh()
    for material in STATIC_FEATURES:
        found, plain, scalers = [], [], []
        for outcome in outcomes:
            assert outcome.manifest is not None
            model = registry.resolve(outcome.manifest.name)
            if model.parameters["material"] == material:
                answer = model.run({"static_input": asked[material], "time_input": asked["time"]})
                found.append(answer[model.manifest.outputs[0].name])
                plain.append(expected[outcome.folder])
                scalers.append(model.scalers["y"])
                np.testing.assert_allclose(found[-1], plain[-1], atol=1e-5)
        assert len(found) == 10
        np.testing.assert_allclose(_combined(found, scalers), _combined(plain, scalers), atol=1e-6)

    repeated = import_d3(store, folder / "AmorphousModels" / "Model_Naif_11")
    assert [(o.manifest and o.manifest.version, o.reason) for o in repeated] == [(1, "already in the store")]


def test_the_ranges_are_those_of_the_upstream_training_data(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "polarization" / "upstream_models" / "CrystallineModels" / "Model_Naif16532_6"
    (outcome,) = import_d3(ModelStore(tmp_path / "model_store"), folder)
    assert outcome.manifest is not None
    assert outcome.manifest.name == "d3-crystalline-naif16532-6"
    ranges = {feature.name: (feature.min, feature.max, feature.unit) for feature in outcome.manifest.features}
    assert ranges["pressure_bar"] == (pytest.approx(2.27), pytest.approx(3.15), "bar")
    assert ranges["lab_time_s"] == (-14142, -165, "s")
    assert ranges["final_time_s"] == (2365, 334670, "s")
    assert [name for name in ranges if name.startswith("cell=")] == ["cell=ge18004", "cell=ge18006", "cell=ge18012"]


# --- folders that are not sound ---------------------------------------------------------------------------------------


def _scaler(columns: int) -> MinMaxScaler:
    return MinMaxScaler().fit(np.array([np.zeros(columns), np.ones(columns)]))


def _folder(root: Path, network: bytes, name: str = "Model_Made_1", **scalers: bytes) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / f"{name}.keras").write_bytes(network)
    sound = {"static": dumped(_scaler(10)), "time": dumped(_scaler(1)), "y": dumped(_scaler(1))}
    for role, content in (sound | scalers).items():
        (folder / f"scaler_{role}_Made_1_PolarizationD3.pkl").write_bytes(content)
    return folder


def _refused(store: ModelStore, folder: Path) -> str:
    outcomes: list[ImportOutcome] = import_d3(store, folder)
    assert [outcome.manifest for outcome in outcomes] == [None] * len(outcomes)
    assert store.names() == ()
    return " ".join(outcome.reason for outcome in outcomes)


def test_a_folder_with_a_hostile_or_unfit_scaler_is_refused(store: ModelStore, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class System:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {marker}",)

    assert "system" in _refused(store, _folder(tmp_path / "a", b"", y=dumped(System())))
    assert not marker.exists()
    assert "compress=0" in _refused(store, _folder(tmp_path / "b", b"", time=dumped(_scaler(1), compress=3)))
    assert "11 columns" in _refused(store, _folder(tmp_path / "c", b"", static=dumped(_scaler(11))))
    assert "1 columns" in _refused(store, _folder(tmp_path / "d", b"", time=dumped(_scaler(2))))


def test_a_folder_with_a_missing_or_doubled_file_or_a_link_is_refused(store: ModelStore, tmp_path: Path) -> None:
    missing = _folder(tmp_path / "a", b"")
    (missing / "scaler_time_Made_1_PolarizationD3.pkl").unlink()
    assert "0 were found" in _refused(store, missing)
    doubled = _folder(tmp_path / "b", b"")
    (doubled / "scaler_y_other.pkl").write_bytes(b"")
    assert "2 were found" in _refused(store, doubled)
    linked = _folder(tmp_path / "c", b"")
    (linked / "scaler_y_Made_1_PolarizationD3.pkl").unlink()
    (linked / "scaler_y_Made_1_PolarizationD3.pkl").symlink_to(doubled / "scaler_y_Made_1_PolarizationD3.pkl")
    assert "link" in _refused(store, linked)


def test_a_network_with_a_lambda_layer_is_refused(store: ModelStore, networks: Networks, tmp_path: Path) -> None:
    assert "Lambda" in _refused(store, _folder(tmp_path, networks.with_lambda))


def test_a_folder_without_networks_is_named_as_such(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        import_d3(store, tmp_path)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Model_Naif16532_6", "d3-crystalline-naif16532-6"),
        ("model_A b..c", "d3-crystalline-a-b-c"),
        ("Own", "d3-crystalline-own"),
    ],
)
def test_names_are_derived_from_folders(label: str, name: str) -> None:
    assert derived_name(label, "crystalline") == name
