"""Plain arrays answer as the trees they describe, and a file made to hurt is refused before anything follows it."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from app.errors import InvalidInput, ModelRefused, TooLarge
from app.model_registry.boosting import WALKERS, Trees, trees_from_arrays
from app.model_registry.plain import (
    MAX_PLAIN_BYTES,
    About,
    PlainClassifier,
    PlainRegressor,
    check_plain,
    load_plain,
    plain_bytes,
)

FEATURES = 3
REGRESSION = About(score="trees", link="identity", n_features=FEATURES)
Arrays = dict[str, np.ndarray]


def grown(rng: np.random.Generator, *, splits: int = 12) -> Arrays:
    """One random tree: a leaf drawn at random becomes an inner node, ``splits`` times."""
    children: dict[int, int] = {}
    leaves = [0]
    for _ in range(splits):
        parent = leaves.pop(int(rng.integers(len(leaves))))
        children[parent] = 1 + 2 * len(children)
        leaves += [children[parent], children[parent] + 1]
    nodes = 2 * splits + 1
    inner = np.isin(np.arange(nodes), list(children))
    # A new pair lies behind all nodes that are there, hence behind its parent.
    return {
        "tree_nodes": np.array([nodes]),
        "left": np.array([children.get(node, 0) for node in range(nodes)]),
        "feature": np.where(inner, rng.integers(FEATURES, size=nodes), 0),
        "number": rng.normal(size=nodes),
        "missing_right": inner & (rng.random(nodes) < 0.5),
        "offset": np.array([0.25]),
    }


def forest(rng: np.random.Generator, trees: int, outputs: int = 1) -> Arrays:
    parts = [grown(rng) for _ in range(trees)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} | {"offset": np.ones(outputs)}


def one_by_one(arrays: Arrays, row: np.ndarray) -> np.ndarray:
    """The same sums, by following each tree's branches for one row."""
    sums = arrays["offset"].astype(float)
    root = 0
    for tree, nodes in enumerate(arrays["tree_nodes"]):
        node = root
        while arrays["left"][node]:
            value = row[arrays["feature"][node]]
            goes_right = arrays["missing_right"][node] if np.isnan(value) else value > arrays["number"][node]
            node = root + arrays["left"][node] + int(goes_right)
        sums[tree % len(sums)] += arrays["number"][node]
        root += nodes
    return sums


def rows(rng: np.random.Generator, n: int, *, missing: float = 0.0) -> np.ndarray:
    x = rng.normal(size=(n, FEATURES))
    x[rng.random(x.shape) < missing] = np.nan
    return x


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_trees_answer_as_when_their_branches_are_followed_one_by_one(outputs: int, missing: float) -> None:
    rng = np.random.default_rng(outputs)
    arrays = forest(rng, 12, outputs)
    x = rows(rng, 40, missing=missing)
    found = trees_from_arrays({name: np.asarray(a) for name, a in arrays.items()}, FEATURES)(x)
    np.testing.assert_allclose(found, [one_by_one(arrays, row) for row in x], rtol=1e-12)


def test_a_row_is_answered_alike_alone_and_in_a_batch_of_several_blocks() -> None:
    rng = np.random.default_rng(3)
    trees = trees_from_arrays(forest(rng, 100), FEATURES)
    x = rows(rng, 2 * WALKERS // 100 + 1)
    np.testing.assert_array_equal(trees(x), np.concatenate([trees(x[i : i + 1]) for i in range(len(x))]))
    assert trees(x[:0]).shape == (0, 1)


def test_a_tree_of_one_leaf_is_a_constant() -> None:
    leaf = {"tree_nodes": [1], "left": [0], "feature": [0], "number": [0.5], "missing_right": [0], "offset": [1.0]}
    trees = trees_from_arrays({name: np.asarray(a) for name, a in leaf.items()}, FEATURES)
    np.testing.assert_array_equal(trees(np.full((2, FEATURES), np.inf)), [[1.5], [1.5]])


def test_a_file_gives_back_its_estimator_and_equal_arrays_give_equal_bytes() -> None:
    rng = np.random.default_rng(0)
    arrays, x = forest(rng, 5), rows(rng, 9, missing=0.2)
    content = plain_bytes(REGRESSION, arrays)
    assert content == plain_bytes(REGRESSION, arrays)
    read = load_plain(content)
    assert isinstance(read, PlainRegressor)
    np.testing.assert_array_equal(read.predict(x), trees_from_arrays(arrays, FEATURES)(x)[:, 0])


def test_probabilities_sum_to_one_and_the_label_is_the_most_probable() -> None:
    rng = np.random.default_rng(0)
    for outputs, link, classes in ((1, "sigmoid", ("no", "yes")), (4, "softmax", (1, 2, 3, 7))):
        about = About(score="trees", link=link, n_features=FEATURES, classes=classes)  # type: ignore[arg-type]
        read = load_plain(plain_bytes(about, forest(rng, 8, outputs)))
        assert isinstance(read, PlainClassifier)
        probability = read.predict_proba(rows(rng, 50))
        np.testing.assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-12)
        assert set(read.predict(rows(rng, 50))) <= set(classes)
        check_plain(read)


@pytest.mark.parametrize("shape", [(2, FEATURES + 1), (FEATURES,), (1, 1, FEATURES)])
def test_rows_of_another_width_are_the_callers_error(shape: tuple[int, ...]) -> None:
    read = load_plain(plain_bytes(REGRESSION, forest(np.random.default_rng(0), 2)))
    with pytest.raises(InvalidInput, match="3 features"):
        read.predict(np.zeros(shape))


def test_only_trees_take_missing_features() -> None:
    line = About(score="linear", link="identity", n_features=1)
    read = load_plain(plain_bytes(line, {"coefficient": np.array([[2.0]]), "intercept": np.array([1.0])}))
    np.testing.assert_array_equal(read.predict(np.array([[3.0]])), [7.0])
    with pytest.raises(InvalidInput, match="finite"):
        read.predict(np.array([[np.nan]]))


# --- hostile files ----------------------------------------------------------------------------------------------------

ABOUT = REGRESSION.model_dump()


def file(arrays: Mapping[str, np.ndarray], about: Any = ABOUT, **extra: bytes) -> bytes:
    """A file that no check of the writer has seen."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("about.json", json.dumps(about))
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=True)
            archive.writestr(f"{name}.npy", member.getvalue())
        for name, content in extra.items():
            archive.writestr(name.replace("__", "."), content)
    return stream.getvalue()


def sound() -> Arrays:
    """Two trees of three nodes: a root and its two leaves."""
    return {
        "tree_nodes": np.array([3, 3], "<i4"),
        "left": np.array([1, 0, 0, 1, 0, 0], "<i4"),
        "feature": np.array([2, 0, 0, 1, 0, 0], "<i4"),
        "number": np.array([0.0, 1.0, 2.0, 0.5, 3.0, 4.0], "<f8"),
        "missing_right": np.zeros(6, "|u1"),
        "offset": np.zeros(1, "<f8"),
    }


def changed(name: str, at: int, value: float) -> Arrays:
    arrays = sound()
    arrays[name][at] = value
    return arrays


def test_the_sound_file_is_read() -> None:
    np.testing.assert_array_equal(load_plain(file(sound())).predict(np.ones((1, 3))), [6.0])


STRUCTURE = {
    "child far outside": changed("left", 0, 10**6),
    "child in the next tree": changed("left", 0, 2),
    "child before its parent": changed("left", 3, -1),
    "cycle of a node with itself": changed("left", 4, 1),
    "leaf that leads back": changed("left", 2, 1),
    "node without a parent": changed("left", 0, 0),
    "negative number of nodes": changed("tree_nodes", 0, -3),
    "numbers of nodes that overflow": sound() | {"tree_nodes": np.full(4, 2**30 + 1, "<i4")},
    "tree without nodes": sound() | {"tree_nodes": np.array([3, 0, 3], "<i4")},
    "column outside": changed("feature", 0, 3),
    "negative column": changed("feature", 0, -1),
    "column of a leaf outside": changed("feature", 1, 99),
    "threshold NaN": changed("number", 0, np.nan),
    "leaf NaN": changed("number", 1, np.nan),
    "leaf infinite": changed("number", 1, np.inf),
    "offset NaN": changed("offset", 0, np.nan),
    "missing neither left nor right": changed("missing_right", 0, 2),
    "arrays of different length": sound() | {"number": np.zeros(5, "<f8")},
    "trees that do not divide among the outputs": sound() | {"offset": np.zeros(3, "<f8")},
    "no outputs": sound() | {"offset": np.zeros(0, "<f8")},
    "nothing": {name: array[:0] for name, array in sound().items()},
    "another dtype": sound() | {"number": np.zeros(6, "<f4")},
    "bytes swapped": sound() | {"left": sound()["left"].astype(">i4")},
    "objects": sound() | {"number": np.array([1.0] * 6, dtype=object)},
    "record": sound() | {"number": np.zeros(6, [("a", "<f8")])},
    "more axes": sound() | {"number": np.zeros((6, 1), "<f8")},
    "no axes": sound() | {"number": np.float64(1.0)},
    "array missing": {name: array for name, array in sound().items() if name != "left"},
    "array too many": sound() | {"more": np.zeros(1)},
    "array outside of the folder": sound() | {"../left": np.zeros(1)},
}


@pytest.mark.parametrize("case", STRUCTURE)
def test_arrays_that_are_no_trees_are_refused(case: str) -> None:
    with pytest.raises(ModelRefused):
        load_plain(file(STRUCTURE[case]))


def test_a_chain_is_walked_to_its_end() -> None:
    splits = 10
    nodes = 2 * splits + 1
    left = np.where(np.arange(nodes) % 2 == 0, np.arange(nodes) + 1, 0)
    left[-1] = 0
    arrays = {"tree_nodes": np.array([nodes]), "left": left, "feature": np.zeros(nodes), "number": np.arange(nodes)}
    chain = {**arrays, "missing_right": np.zeros(nodes), "offset": np.zeros(1)}
    read = load_plain(plain_bytes(REGRESSION, chain))
    # Node 2 i splits at 2 i; its left child, the leaf 2 i + 1, is worth its own number.
    np.testing.assert_array_equal(read.predict(np.array([[-1.0, 0, 0], [3.0, 0, 0], [99.0, 0, 0]])), [1.0, 5.0, 20.0])


@pytest.mark.parametrize(
    "about",
    [
        {},
        [],
        ABOUT | {"n_features": 10**9},
        ABOUT | {"n_features": 0},
        ABOUT | {"score": "os.system"},
        ABOUT | {"link": "softmax"},
        ABOUT | {"link": "sigmoid", "classes": [1, 2, 3]},
        ABOUT | {"classes": [1, 2]},
        ABOUT | {"link": "sigmoid", "classes": [{}, []]},
        ABOUT | {"format": 2},
        ABOUT | {"more": 1},
    ],
)
def test_a_description_that_does_not_fit_is_refused(about: Any) -> None:
    with pytest.raises(ModelRefused):
        load_plain(file(sound(), about))


def npy(shape: str, body: bytes = b"", descr: str = "'<f8'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


HEADERS = {
    "huge": npy(f"({2**40},)"),
    "overflowing": npy(f"({2**61}, 8)"),
    "negative": npy("(-6,)", bytes(48)),
    "negative twice": npy("(-2, -3)", bytes(48)),
    "code": npy("(__import__('os').getpid(),)", bytes(48)),
    "nested": npy("(" * 5000),
    "objects": npy("(6,)", bytes(48), "'|O'"),
    "cut": npy("(6,)", bytes(47)),
    "longer": npy("(6,)", bytes(49)),
    "empty": b"",
    "later version": b"\x93NUMPY\x03\x00" + npy("(6,)", bytes(48))[8:],
}


@pytest.mark.parametrize("case", HEADERS)
def test_an_array_whose_header_lies_is_refused(case: str) -> None:
    arrays = {name: array for name, array in sound().items() if name != "number"}
    with pytest.raises(ModelRefused):
        load_plain(file(arrays, number__npy=HEADERS[case]))


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(TooLarge):
        load_plain(file(sound(), more=bytes(MAX_PLAIN_BYTES)))


def test_an_archive_that_hides_how_much_it_unpacks_to_is_refused() -> None:
    member = npy("(6,)", bytes(2**22))
    content = file({name: array for name, array in sound().items() if name != "number"}, number__npy=member)
    small = content.replace(struct.pack("<I", len(member)), struct.pack("<I", 200))
    assert small != content
    with pytest.raises(ModelRefused):
        load_plain(small)


def test_a_member_that_is_there_twice_is_refused() -> None:
    stream = io.BytesIO(file(sound()))
    with zipfile.ZipFile(stream, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("left.npy", b"x")
    with pytest.raises(ModelRefused):
        load_plain(stream.getvalue())


def test_lzma_is_refused() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("about.json", json.dumps(ABOUT))
    with pytest.raises(ModelRefused):
        load_plain(stream.getvalue())


def test_every_flipped_byte_is_read_or_refused() -> None:
    content = plain_bytes(REGRESSION, sound())
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        try:
            read = load_plain(bytes(damaged))
        except (ModelRefused, TooLarge):
            continue
        assert np.isfinite(read.predict(np.ones((1, FEATURES)))).all()


def test_every_wrong_number_in_an_index_is_read_or_refused() -> None:
    rng = np.random.default_rng(5)
    arrays = {name: np.asarray(a) for name, a in forest(rng, 3).items()}
    for _ in range(500):
        name = str(rng.choice(["tree_nodes", "left", "feature"]))
        wrong = {**arrays, name: arrays[name].copy()}
        wrong[name][rng.integers(len(wrong[name]))] = rng.integers(-40, 40)
        try:
            trees = trees_from_arrays(wrong, FEATURES)
        except ModelRefused:
            continue
        assert isinstance(trees, Trees)
        assert np.isfinite(trees(rows(rng, 3))).all()


def test_numbers_that_overflow_are_found_by_the_warm_up() -> None:
    arrays = sound() | {"number": np.full(6, 1.7e308)}
    with pytest.raises(ModelRefused, match="not finite"):
        check_plain(load_plain(plain_bytes(REGRESSION, arrays)))
