"""Read a pickled scaler or forest without running anything that the file chooses.

A pickle is a program. This reader admits the opcodes that data needs, resolves names by an exact table, and rebuilds
dtypes, arrays and trees itself, each checked before memory is taken or native code sees it. It reads plain pickles and
joblib's format, in which the bytes of each array follow its header outside of the pickle frames.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import sklearn
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor
from sklearn.tree._tree import Tree

from app.errors import ModelRefused, TooLarge
from app.model_registry.pickled_arrays import (
    ArrayHeader,
    DtypeSpec,
    array_from_buffer,
    array_set_state,
    bytes_from_text,
    empty_array,
    read_array,
    refuse,
    scalar_from_bytes,
)

MAX_PICKLE_BYTES: Final = 256 * 2**20
MAX_NESTING: Final = 4
"""Object arrays in joblib's format are pickles inside the pickle; label arrays need one level."""

SCALERS: Final[tuple[type, ...]] = (MinMaxScaler, StandardScaler, RobustScaler, MaxAbsScaler)
FORESTS: Final[tuple[type, ...]] = (
    RandomForestRegressor,
    RandomForestClassifier,
    ExtraTreesRegressor,
    ExtraTreesClassifier,
    DecisionTreeRegressor,
    DecisionTreeClassifier,
    ExtraTreeRegressor,
    ExtraTreeClassifier,
)
ESTIMATORS: Final[tuple[type, ...]] = SCALERS + FORESTS


@dataclass(frozen=True)
class Unpickled:
    """What a file held.

    Attributes:
        value: the scaler or forest.
        notes: what a reader of the model card should know, e.g. that another scikit-learn version wrote the file.
    """

    value: Any
    notes: tuple[str, ...]


def load_estimator(data: bytes, *, max_bytes: int = MAX_PICKLE_BYTES) -> Unpickled:
    """The scikit-learn scaler or forest in a pickle or joblib file, loaded by allow-list.

    Args:
        data: the file's content, not compressed.
        max_bytes: largest content that is looked at.

    Raises:
        TooLarge: the content is larger than ``max_bytes``.
        ModelRefused: compressed, damaged, or holding anything but a scaler or a forest of scikit-learn.
    """
    if len(data) > max_bytes:
        raise TooLarge(f"A pickled file of {len(data)} bytes was found; at most {max_bytes} are read.")
    if data[:1] != pickle.PROTO:
        raise refuse(
            "The file is not an uncompressed pickle of protocol 2 or later. "
            "Save it again with joblib.dump(value, path, compress=0)."
        )
    stream = io.BytesIO(data)
    notes: dict[str, None] = {}
    value = _guarded_load(stream, notes)
    if stream.read(1):
        raise refuse("Bytes follow the end of the pickle.")
    if type(value) not in ESTIMATORS:
        raise refuse(f"A scikit-learn scaler or forest was expected, a {type(value).__name__} was found.")
    return Unpickled(value=value, notes=tuple(notes))


def _guarded_load(stream: io.BytesIO, notes: dict[str, None]) -> Any:
    try:
        return AllowListUnpickler(stream, notes).load()
    except ModelRefused:
        raise
    except Exception as error:  # a hostile stream can fail in any way, and no way may pass the edge
        raise refuse(f"The pickle is damaged or hostile ({type(error).__name__}).") from error


def _tree(n_features: int, n_classes: np.ndarray, n_outputs: int) -> Tree:
    """A checked stand-in for ``Tree(...)``, whose native constructor reads ``n_classes`` without a bound."""
    sound = isinstance(n_classes, np.ndarray) and n_classes.dtype == np.intp and n_classes.shape == (n_outputs,)
    if not (sound and 0 < n_features < 2**31 and 0 < n_outputs < 2**31 and np.all(n_classes > 0)):
        raise refuse("A decision tree's header is not sound.")
    return Tree(n_features, n_classes, n_outputs)


def _tree_set_state(tree: Tree, state: Mapping[str, Any]) -> None:
    """Check that every child index points forward and inside the tree: native prediction follows them unchecked."""
    nodes = state["nodes"]
    count = len(nodes)
    if count != state["node_count"] or len(state["values"]) != count or count < 1:
        raise refuse("A decision tree's arrays differ in length.")
    left, right = nodes["left_child"], nodes["right_child"]
    inner = left != -1
    below = np.arange(count) < np.minimum(left, right)
    inside = (np.maximum(left, right) < count) & (nodes["feature"] >= 0) & (nodes["feature"] < tree.n_features)
    if np.any(inner & ~(below & inside)) or np.any(~inner & (right != -1)):
        raise refuse("A decision tree's nodes point out of the tree.")
    tree.__setstate__(dict(state))


def _estimator_names() -> dict[tuple[str, str], Callable[..., Any]]:
    return {(estimator.__module__, estimator.__name__): estimator for estimator in ESTIMATORS}


_ALLOWED: Final[dict[tuple[str, str], Any]] = {
    **_estimator_names(),
    ("sklearn.tree._tree", "Tree"): _tree,
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): ArrayHeader,
    ("numpy", "dtype"): DtypeSpec,
    ("_codecs", "encode"): bytes_from_text,
    # Names that the two above carry as an argument; never called, hence no callable.
    ("numpy", "ndarray"): "ndarray",
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", empty_array),
            ("multiarray", "scalar", scalar_from_bytes),
            ("numeric", "_frombuffer", array_from_buffer),
        )
    },
}
"""(module, name) in a pickle -> what stands for it here. Only estimators' classes are the real thing."""

_OPCODE_NAMES: Final = """
PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
BINUNICODE SHORT_BINUNICODE BINBYTES SHORT_BINBYTES BINBYTES8 BINUNICODE8 SHORT_BINSTRING BINSTRING
EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
BINPUT LONG_BINPUT BINGET LONG_BINGET MEMOIZE GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD
"""
_OPCODES: Final = tuple(getattr(pickle, name)[0] for name in _OPCODE_NAMES.split())


_PurePythonUnpickler: Any = pickle._Unpickler
"""The compiled one does not let an opcode be refused, nor is it known to type checkers under this name."""


class AllowListUnpickler(_PurePythonUnpickler):
    """``pickle.Unpickler`` with a table of names, a table of opcodes, and joblib's array format."""

    def __init__(self, stream: io.BytesIO, notes: dict[str, None], *, nesting: int = 0) -> None:
        super().__init__(stream)
        self._stream = stream
        self._notes = notes
        self._nesting = nesting

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a global, or refusal."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise refuse(f"The pickle asks for {module[:80]}.{name[:80]}, which is not admitted.") from None

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._set_items(items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        keys = items[::2]
        if type(target) is not dict or any(type(key) not in (str, int) for key in keys):
            raise refuse("The pickle fills something other than a dictionary with text or integer keys.")
        target.update(zip(keys, items[1::2], strict=True))

    def load_appends(self) -> None:
        self._append(self.pop_mark())

    def load_append(self) -> None:
        self._append([self.stack.pop()])

    def _append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise refuse("The pickle appends to something other than a list.")
        self.stack[-1].extend(items)

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, ArrayHeader):
            self.stack[-1] = self._array(target, state)
            return
        setter = _SET_STATE.get(type(target))
        if setter is None:
            raise refuse(f"The pickle sets the state of a {type(target).__name__}, which is not admitted.")
        setter(self, target, state)

    def _array(self, header: ArrayHeader, state: Any) -> np.ndarray:
        header.set_state(state)
        if not header.dtype.hasobject:
            return read_array(header, self._stream)
        if self._nesting >= MAX_NESTING:
            raise refuse("Arrays of objects are nested too deeply.")
        nested = AllowListUnpickler(self._stream, self._notes, nesting=self._nesting + 1).load()
        if not isinstance(nested, np.ndarray) or nested.dtype != object or nested.shape != header.shape:
            raise refuse("An array of objects differs from its header.")
        return nested

    def estimator_set_state(self, target: Any, state: Any) -> None:
        """Set the attributes, and note another scikit-learn version instead of warning of it."""
        if type(state) is not dict:
            raise refuse(f"The state of a {type(target).__name__} is not a dictionary.")
        found = state.get("_sklearn_version", "unknown")
        if found != sklearn.__version__:
            name = type(target).__name__
            self._notes[f"{name} was saved by scikit-learn {found!s:.20} and is read by {sklearn.__version__}."] = None
        target.__setstate__({**state, "_sklearn_version": sklearn.__version__})

    def load_bytearray8(self) -> None:
        # pickle's own allocates the declared length before it looks whether the bytes are there
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    def load_refused(self) -> None:
        raise refuse("The pickle holds an opcode that plain scalers and forests do not need.")

    dispatch = {  # noqa: RUF012  pickle's own attribute
        **dict.fromkeys(_PurePythonUnpickler.dispatch, load_refused),
        **{code: _PurePythonUnpickler.dispatch[code] for code in _OPCODES},
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.BUILD[0]: load_build,
    }


_SET_STATE: Final[dict[type, Callable[[AllowListUnpickler, Any, Any], None]]] = {
    **dict.fromkeys(ESTIMATORS, AllowListUnpickler.estimator_set_state),
    DtypeSpec: lambda _, target, state: target.set_state(state),
    np.ndarray: lambda _, target, state: array_set_state(target, state),
    Tree: lambda _, target, state: _tree_set_state(target, state),
}


def finite_scaler(scaler: Any, *, n_features: int) -> None:
    """Check that a scaler takes ``n_features`` columns and maps finite numbers to finite numbers and back.

    Raises:
        ModelRefused: it is no scaler, it takes another number of columns, or it answers with NaN or an infinity.
    """
    if not isinstance(scaler, SCALERS):
        raise refuse(f"A scaler was expected, a {type(scaler).__name__} was found.")
    if getattr(scaler, "n_features_in_", None) != n_features:
        raise refuse(f"A scaler of {n_features} columns was expected.")
    try:
        there = np.asarray(scaler.transform(np.ones((1, n_features))))
        back = np.asarray(scaler.inverse_transform(there))
    except Exception as error:  # hostile attributes can fail in any way
        raise refuse(f"The scaler does not work ({type(error).__name__}).") from error
    if there.shape != (1, n_features) or not (np.isfinite(there).all() and np.isfinite(back).all()):
        raise refuse("The scaler gives numbers that are not finite.")
