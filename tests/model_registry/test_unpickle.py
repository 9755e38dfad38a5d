"""The reader of pickles gives back what scikit-learn wrote, and runs nothing that a hostile file asks for."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from app.errors import ModelRefused, TooLarge
from app.model_registry.unpickle import finite_scaler, load_estimator

RNG = np.random.default_rng(1)
X = RNG.normal(size=(60, 3))
Y = RNG.normal(size=60)
LABELS = np.where(Y > 0, "cubic", "triclinic")


def with_joblib(value: Any, protocol: int) -> bytes:
    stream = io.BytesIO()
    joblib.dump(value, stream, protocol=protocol)
    return stream.getvalue()


WRITERS: dict[str, Callable[[Any, int], bytes]] = {"joblib": with_joblib, "pickle": lambda v, p: pickle.dumps(v, p)}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [MinMaxScaler, StandardScaler, RobustScaler, MaxAbsScaler])
def test_a_scaler_maps_as_before(kind: type, protocol: int, writer: str) -> None:
    fitted = kind().fit(X)
    read = load_estimator(WRITERS[writer](fitted, protocol))
    np.testing.assert_array_equal(read.value.transform(X), fitted.transform(X))
    assert read.notes == ()


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "forest",
    [
        RandomForestRegressor(3, random_state=0).fit(X, Y),
        RandomForestClassifier(3, random_state=0).fit(X, LABELS),
        ExtraTreesClassifier(3, random_state=0).fit(X, LABELS.astype(object)),
    ],
    ids=["regressor", "text labels", "object labels"],
)
def test_a_forest_predicts_as_before(forest: Any, protocol: int, writer: str) -> None:
    read = load_estimator(WRITERS[writer](forest, protocol)).value
    np.testing.assert_array_equal(read.predict(X), forest.predict(X))


def test_the_scalers_of_the_d3_networks_are_read_and_their_old_version_is_noted(shared_data: Path) -> None:
    files = sorted((shared_data / "polarization" / "upstream_models").rglob("*.pkl"))
    assert len(files) == 60
    for file in files:
        read = load_estimator(file.read_bytes())
        assert isinstance(read.value, MinMaxScaler)
        finite_scaler(read.value, n_features=read.value.n_features_in_)
        assert len(read.notes) == 1
        assert "1.7.2" in read.notes[0]


# --- hostile files ----------------------------------------------------------------------------------------------------


class Calls:
    """Pickles to a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._call


def touching(marker: Path) -> str:
    return f"touch {marker}"


def named(module: str, name: str, *arguments: Any) -> bytes:
    """A protocol 4 pickle that calls ``module.name(*arguments)``, whether or not that can be pickled here."""
    body = pickle.dumps(arguments, 4)[2:-1]
    unframed = body[9:] if body[:1] == pickle.FRAME else body
    texts = b"".join(b"\x8c" + struct.pack("<B", len(text)) + text.encode() for text in (module, name))
    return b"\x80\x04" + texts + b"\x93" + unframed + b"R."


CALLS: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda m: pickle.dumps(Calls(os.system, touching(m))),
    "os.system by joblib": lambda m: with_joblib(Calls(os.system, touching(m)), 4),
    "posix.system": lambda m: named("posix", "system", touching(m)),
    "subprocess": lambda m: pickle.dumps(Calls(subprocess.run, ["touch", str(m)])),
    "eval": lambda m: pickle.dumps(Calls(eval, f"open({str(m)!r}, 'w')")),
    "exec": lambda m: pickle.dumps(Calls(exec, f"open({str(m)!r}, 'w')")),
    "open": lambda m: pickle.dumps(Calls(open, str(m), "w")),
    "getattr": lambda _: named("builtins", "getattr", "x", "upper"),
    "__import__": lambda _: named("builtins", "__import__", "antigravity"),
    "numpy.load": lambda m: named("numpy", "load", str(m)),
    "numpy runstring": lambda m: named("numpy.testing._private.utils", "runstring", f"open({str(m)!r}, 'w')", {}),
    "numpy.fromfile": lambda m: named("numpy", "fromfile", str(m)),
    "numpy save": lambda m: named("numpy", "save", str(m), 1),
    "numpy dotted": lambda _: named("numpy", "dtype.type", 1),
    "sklearn fetch": lambda _: named("sklearn.datasets", "fetch_openml", "iris"),
    "sklearn load_files": lambda m: named("sklearn.datasets", "load_files", str(m.parent)),
    "sklearn FunctionTransformer": lambda _: named(
        "sklearn.preprocessing._function_transformer", "FunctionTransformer"
    ),
    "sklearn dotted": lambda _: named("sklearn.preprocessing._data", "MinMaxScaler.fit.__globals__"),
    "joblib.load": lambda m: named("joblib.numpy_pickle", "load", str(m)),
    "joblib Parallel": lambda _: named("joblib.parallel", "Parallel", 2),
    "in an object array, joblib": lambda m: with_joblib(np.array([Calls(os.system, touching(m))], dtype=object), 4),
    "in an object array, pickle": lambda m: pickle.dumps(np.array([Calls(os.system, touching(m))], dtype=object), 4),
    "in a scaler": lambda m: with_joblib(_scaler_with(Calls(os.system, touching(m))), 4),
    "in an object array in a scaler": lambda m: with_joblib(
        _scaler_with(np.array([np.array([Calls(os.system, touching(m))], dtype=object), 1], dtype=object)), 4
    ),
}


def _scaler_with(attribute: Any) -> MinMaxScaler:
    scaler = MinMaxScaler().fit(X)
    scaler.extra = attribute  # type: ignore[attr-defined]
    return scaler


@pytest.mark.parametrize("attack", CALLS)
def test_a_pickle_that_calls_something_is_refused_and_nothing_runs(attack: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    with pytest.raises(ModelRefused):
        load_estimator(CALLS[attack](marker))
    assert not marker.exists()


def test_the_attacks_are_real(tmp_path: Path) -> None:
    for number, attack in enumerate(("os.system", "os.system by joblib", "in an object array, joblib", "posix.system")):
        marker = tmp_path / str(number)
        joblib.load(io.BytesIO(CALLS[attack](marker)))
        assert marker.exists()


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("method", COMPRESSORS)
def test_compressed_payloads_are_refused(method: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    with pytest.raises(ModelRefused, match="compress=0"):
        load_estimator(COMPRESSORS[method](CALLS["os.system"](marker)))
    assert not marker.exists()


def test_a_class_cannot_be_changed_for_the_whole_process() -> None:
    body = b"\x80\x04\x8c\x1bsklearn.preprocessing._data\x8c\x0cMinMaxScaler\x93N}\x8c\x09transformK\x01s\x86b."
    with pytest.raises(ModelRefused, match="state of a"):
        load_estimator(body)
    assert callable(MinMaxScaler.transform)


def _forged_shape(n: int) -> bytes:
    whole = with_joblib(MinMaxScaler().fit(X), 4)
    at = whole.index(b"shape\x94K\x03\x85") + len(b"shape\x94")
    # K 3 (one-byte integer) becomes J n (four-byte integer): three bytes longer, so the frame is dropped.
    return whole[:2] + whole[11:at] + b"J" + struct.pack("<i", n) + whole[at + 2 :]


def test_an_array_larger_than_the_file_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(ModelRefused, match="more bytes than the file holds"):
        load_estimator(_forged_shape(2_000_000_000))


def test_a_huge_bytearray_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(ModelRefused):
        load_estimator(b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.")


class _Restated:
    """Pickles as a decision tree's core with another state."""

    def __init__(self, reduced: Any, state: Any) -> None:
        self._reduced = (*reduced[:2], state)

    def __reduce__(self) -> Any:
        return self._reduced


@pytest.mark.parametrize(("field", "value"), [("left_child", 10**6), ("right_child", 0), ("feature", 99)])
def test_a_tree_whose_nodes_point_out_of_it_is_refused(field: str, value: int) -> None:
    forest = RandomForestRegressor(1, random_state=0).fit(X, Y)
    tree = forest.estimators_[0].tree_
    reduced = tree.__reduce__()
    state = dict(reduced[2])
    state["nodes"] = state["nodes"].copy()
    state["nodes"][field][0] = value
    forest.estimators_[0].tree_ = _Restated(reduced, state)
    with pytest.raises(ModelRefused, match="out of the tree"):
        load_estimator(pickle.dumps(forest, 4))


@pytest.mark.parametrize("value", [np.ones(3), {"a": 1}, [1, 2], "text", None])
def test_data_that_is_no_estimator_is_refused(value: Any) -> None:
    with pytest.raises(ModelRefused, match="was expected"):
        load_estimator(with_joblib(value, 4))


def test_every_truncation_is_refused() -> None:
    whole = with_joblib(MinMaxScaler().fit(X), 4)
    for length in range(len(whole)):
        with pytest.raises(ModelRefused):
            load_estimator(whole[:length])


def test_every_flipped_byte_is_read_or_refused() -> None:
    whole = with_joblib(RandomForestRegressor(1, max_depth=2, random_state=0).fit(X, Y), 4)
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(whole), 400):
        damaged = bytearray(whole)
        damaged[at] ^= int(rng.integers(1, 256))
        try:
            load_estimator(bytes(damaged))
        except ModelRefused:
            continue


def test_trailing_bytes_and_large_files_are_refused() -> None:
    whole = with_joblib(MinMaxScaler().fit(X), 4)
    with pytest.raises(ModelRefused, match="follow"):
        load_estimator(whole + b"x")
    with pytest.raises(TooLarge):
        load_estimator(whole, max_bytes=len(whole) - 1)


@pytest.mark.parametrize(("attribute", "value"), [("scale_", np.full(3, np.nan)), ("scale_", "text"), ("min_", None)])
def test_a_scaler_that_does_not_work_is_refused(attribute: str, value: Any) -> None:
    scaler = MinMaxScaler().fit(X)
    setattr(scaler, attribute, value)
    with pytest.raises(ModelRefused):
        finite_scaler(load_estimator(with_joblib(scaler, 4)).value, n_features=3)
