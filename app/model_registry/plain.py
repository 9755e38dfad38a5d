"""Estimators as plain arrays: what a fitted boosting, logistic or isotonic estimator of scikit-learn is stored as.

The file is a `.npz` archive of a few numeric arrays and `about.json`. Nothing in it can name code, every array has the
dtype and the number of axes that the table here gives it, and no memory is taken before the bytes are there.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import numpy as np
from jaxtyping import Float, Shaped
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt

from app.errors import InvalidInput, ModelRefused, TooLarge
from app.model_registry.boosting import trees_from_arrays
from app.model_registry.forest import Forest, forest_from_arrays
from app.model_registry.pickled_arrays import refuse

MAX_PLAIN_BYTES: Final = 64 * 2**20
"""Largest file, and largest content after decompression: about four million nodes."""
ABOUT_MEMBER: Final = "about.json"

Score = Callable[[Float[np.ndarray, "row feature"]], Float[np.ndarray, "row output"]]
ScoreKind = Literal["trees", "linear", "interpolation", "forest"]
LinkKind = Literal["identity", "exp", "sigmoid", "softmax"]
Label = StrictBool | StrictInt | StrictFloat | Annotated[str, Field(max_length=256)]


class About(BaseModel):
    """What the arrays of a file are.

    Attributes:
        score: how a row becomes scores.
        link: how scores become a prediction, or the probabilities of the classes.
        n_features: columns of a row.
        classes: the labels, ascending; none for a regression.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    score: ScoreKind
    link: LinkKind
    n_features: int = Field(ge=1, le=10**6)
    classes: tuple[Label, ...] | None = Field(default=None, min_length=2)


@dataclass(frozen=True)
class PlainRegressor:
    """A regression; named as scikit-learn names them, so that either can stand in a model's scalers."""

    n_features_in_: int
    score: Score
    link: Callable[[np.ndarray], np.ndarray]

    def predict(self, x: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row"]:
        """The predictions, ``float64``.

        Raises:
            InvalidInput: the rows have another number of columns, or NaN where the estimator takes none.
        """
        return self.link(self.score(_rows(x, self.n_features_in_)))[:, 0]


@dataclass(frozen=True)
class PlainClassifier:
    """A classification; named as scikit-learn names them."""

    n_features_in_: int
    classes_: Shaped[np.ndarray, "class"]
    score: Score
    link: Callable[[np.ndarray], np.ndarray]

    def predict_proba(self, x: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row class"]:
        """The probability of each class, in the order of ``classes_``.

        Raises:
            InvalidInput: the rows have another number of columns, or NaN where the estimator takes none.
        """
        return self.link(self.score(_rows(x, self.n_features_in_)))

    def predict(self, x: Float[np.ndarray, "row feature"]) -> Shaped[np.ndarray, "row"]:
        """The label of the most probable class; raises as ``predict_proba``."""
        return self.classes_[np.argmax(self.predict_proba(x), axis=1)]


@dataclass(frozen=True)
class PlainForest:
    """A random forest for regression, of one or several outputs; ``predict`` is named as in scikit-learn."""

    n_features_in_: int
    forest: Forest

    def predict(self, x: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row *output"]:
        """The mean of the trees, without an axis for a single output; raises as ``by_tree``."""
        mean = self.by_tree(x).mean(axis=1)
        return mean[:, 0] if mean.shape[1] == 1 else mean

    def by_tree(self, x: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row tree output"]:
        """What each tree says.

        Raises:
            InvalidInput: the rows have another number of columns, or numbers that are not finite.
        """
        return self.forest.by_tree(_known(_rows(x, self.n_features_in_)))


PlainEstimator = PlainRegressor | PlainClassifier | PlainForest


def load_plain(data: bytes) -> PlainEstimator:
    """The estimator in a file of plain arrays.

    Raises:
        TooLarge: the file, or what it says it unpacks to, is larger than ``MAX_PLAIN_BYTES``.
        ModelRefused: damaged, with other members than the kind of estimator has, or with arrays that do not fit.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _members(archive, len(data))
        about = About.model_validate_json(members.pop(ABOUT_MEMBER))
        return _estimator(about, _arrays(members, _SCORES[about.score].arrays))
    except (ModelRefused, TooLarge):
        raise
    except Exception as error:  # a hostile file can fail in any way, and no way may pass the edge
        raise refuse(f"The file of plain arrays is damaged ({type(error).__name__}).") from error


def plain_bytes(about: About, arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file of plain arrays that ``load_plain`` reads; the same arrays give the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        _write(archive, ABOUT_MEMBER, json.dumps(about.model_dump()).encode())
        for name, (dtype, _) in _SCORES[about.score].arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name], dtype=dtype), version=(1, 0))
            _write(archive, f"{name}.npy", member.getvalue())
    return stream.getvalue()


def check_plain(estimator: PlainEstimator) -> None:
    """Let an estimator answer once for zeros and for ones.

    Raises:
        ModelRefused: it does not give finite numbers.
    """
    answer = estimator.predict_proba if isinstance(estimator, PlainClassifier) else estimator.predict
    rows = np.repeat([[0.0], [1.0]], estimator.n_features_in_, axis=1)
    with np.errstate(all="ignore"):  # what overflows is found below
        finite = np.isfinite(answer(rows)).all()
    if not finite:
        raise refuse("The estimator gives numbers that are not finite.")


# Scores and links


@dataclass(frozen=True)
class _ScoreForm:
    """The arrays of a score, name -> (dtype, axes), and what builds it from them and the number of features."""

    arrays: Mapping[str, tuple[str, int]]
    build: Callable[[Mapping[str, np.ndarray], int], Score | Forest]
    outputs: str


def _linear(arrays: Mapping[str, np.ndarray], n_features: int) -> Score:
    coefficient, intercept = arrays["coefficient"], arrays["intercept"]
    if coefficient.shape != (len(intercept), n_features):
        raise refuse("The coefficients do not fit the number of features.")
    if not (np.isfinite(coefficient).all() and np.isfinite(intercept).all()):
        raise refuse("The coefficients are not finite.")
    return lambda x: _known(x) @ coefficient.T + intercept


def _interpolation(arrays: Mapping[str, np.ndarray], n_features: int) -> Score:
    """Straight lines between points, constant beyond the first and the last."""
    x, y = arrays["x"], arrays["y"]
    if n_features != 1 or not 0 < len(x) == len(y) or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise refuse("The points of the interpolation are not sound.")
    if np.any(np.diff(x) <= 0):
        raise refuse("The points of the interpolation do not ascend.")
    return lambda asked: np.interp(_known(asked), x, y)


def _known(x: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row feature"]:
    if not np.isfinite(x).all():
        raise InvalidInput("A feature is missing or not finite, and this estimator takes finite numbers only.")
    return x


_SCORES: Final[dict[ScoreKind, _ScoreForm]] = {
    "trees": _ScoreForm(
        arrays={
            "tree_nodes": ("<i4", 1),
            "left": ("<i4", 1),
            "feature": ("<i4", 1),
            "number": ("<f8", 1),
            "missing_right": ("|u1", 1),
            "offset": ("<f8", 1),
        },
        build=trees_from_arrays,
        outputs="offset",
    ),
    "forest": _ScoreForm(
        arrays={
            "tree_nodes": ("<i4", 1),
            "left": ("<i4", 1),
            "feature": ("<i4", 1),
            "number": ("<f8", 1),
            "value": ("<f4", 2),
        },
        build=forest_from_arrays,
        outputs="",
    ),
    "linear": _ScoreForm({"coefficient": ("<f8", 2), "intercept": ("<f8", 1)}, _linear, "intercept"),
    "interpolation": _ScoreForm({"x": ("<f8", 1), "y": ("<f8", 1)}, _interpolation, ""),
}


def _sigmoid(score: Float[np.ndarray, "row 1"]) -> Float[np.ndarray, "row 2"]:
    return np.exp(-np.logaddexp(0.0, np.hstack([score, -score])))


def _softmax(score: Float[np.ndarray, "row class"]) -> Float[np.ndarray, "row class"]:
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


_LINKS: Final[dict[LinkKind, Callable[[np.ndarray], np.ndarray]]] = {
    "identity": lambda score: score,
    "exp": np.exp,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
}


def _estimator(about: About, arrays: Mapping[str, np.ndarray]) -> PlainEstimator:
    form = _SCORES[about.score]
    outputs = len(arrays[form.outputs]) if form.outputs else 1
    score, link = form.build(arrays, about.n_features), _LINKS[about.link]
    expected = {"sigmoid": (1, 2), "softmax": (outputs, outputs)}.get(about.link, (1, 0))
    if (outputs, len(about.classes or ())) != expected:
        raise refuse(f"An estimator with the link {about.link} has another number of outputs or classes.")
    if isinstance(score, Forest):
        return PlainForest(about.n_features, score)
    if about.classes is None:
        return PlainRegressor(about.n_features, score, link)
    return PlainClassifier(about.n_features, np.array(about.classes), score, link)


def _rows(x: Any, n_features: int) -> Float[np.ndarray, "row feature"]:
    rows = np.ascontiguousarray(x, dtype=np.float64)
    if rows.ndim == 1 and n_features == 1:
        rows = rows[:, None]
    if rows.ndim != 2 or rows.shape[1] != n_features:
        raise InvalidInput(f"Rows of {n_features} features were expected, an array of shape {rows.shape} was found.")
    return rows


# The archive


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # a fixed date: equal content, equal digest


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, bytes]:
    entries = archive.infolist()
    if max(size, sum(entry.file_size for entry in entries)) > MAX_PLAIN_BYTES:
        raise TooLarge(f"A file of plain arrays may unpack to {MAX_PLAIN_BYTES} bytes; this one is larger.")
    if len(entries) > 16 or any(e.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for e in entries):
        raise refuse("The archive is not one of plain arrays.")
    # At most the declared size is unpacked; more or less fails the checksum.
    members = {entry.filename: archive.read(entry) for entry in entries}
    if len(members) != len(entries) or ABOUT_MEMBER not in members:
        raise refuse("The archive is not one of plain arrays.")
    return members


def _arrays(members: Mapping[str, bytes], expected: Mapping[str, tuple[str, int]]) -> dict[str, np.ndarray]:
    if set(members) != {f"{name}.npy" for name in expected}:
        raise refuse(f"The arrays {', '.join(expected)} were expected, others were found.")
    return {name: _array(members[f"{name}.npy"], *form) for name, form in expected.items()}


def _array(data: bytes, dtype: str, axes: int) -> np.ndarray:
    """An array of a `.npy` member whose dtype and axes are known, made from the bytes that are there."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise refuse("An array is in a version of the format that is not admitted.")
    shape, is_fortran, found = np.lib.format.read_array_header_1_0(stream)
    body = data[stream.tell() :]
    fits = found == np.dtype(dtype) and len(shape) == axes and min(shape) >= 0 and not is_fortran
    if not fits or len(body) != math.prod(shape) * found.itemsize:
        raise refuse("An array has another dtype or shape than its bytes and its role allow.")
    return np.frombuffer(body, dtype).reshape(shape).astype(found.newbyteorder("="))
