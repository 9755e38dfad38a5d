"""An exported estimator answers as scikit-learn does, and is served without scikit-learn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from app.errors import ModelRefused
from app.model_registry.manifest import ModelDraft
from app.model_registry.plain import load_plain
from app.model_registry.registry import Registry
from app.model_registry.store import ModelStore
from training.plain import GOLDEN_ROWS, export
from training.publish import publish

RNG = np.random.default_rng(1)
X = RNG.normal(size=(400, 4))
NUMBER = np.digitize(X[:, 0] + X[:, 1] * X[:, 2], [-1.0, 0.0, 1.0])
PARITY = 1e-6


def holed(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[np.random.default_rng(2).random(x.shape) < 0.2] = np.nan
    return x


def boosted(loss: str, y: np.ndarray, x: np.ndarray = X) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(loss=loss, quantile=0.3, max_iter=15, max_leaf_nodes=8).fit(x, y)


def classified(y: np.ndarray, x: np.ndarray = X) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=12, max_leaf_nodes=8).fit(x, y)


TEXT = np.array(["one", "two", "three", "four"])[NUMBER]
CLASSIFIERS: dict[str, Any] = {
    "two classes": classified((NUMBER > 1).astype(int)),
    "four classes": classified(NUMBER + 1),
    "yes and no": classified(NUMBER > 1),
    "numbers with a point": classified(NUMBER.astype(float)),
    "text": classified(TEXT),
    "text of objects": classified(TEXT.astype(object)),
    "missing in training": classified(NUMBER, holed(X)),
    "logistic, two classes": LogisticRegression().fit(X, (NUMBER > 1).astype(int)),
    "logistic, four classes": LogisticRegression(C=3.0).fit(X, TEXT),
}
REGRESSORS: dict[str, Any] = {
    **{loss: boosted(loss, X[:, 0] ** 2) for loss in ("squared_error", "absolute_error", "quantile")},
    **{loss: boosted(loss, X[:, 0] ** 2 + 0.1) for loss in ("poisson", "gamma")},
    "missing in training": boosted("squared_error", X[:, 0] ** 2, holed(X)),
    "a constant": boosted("squared_error", np.full(len(X), 3.0)),
    "single precision": boosted("squared_error", X[:, 0] ** 2, X.astype(np.float32)),
}


def asked(estimator: Any) -> np.ndarray:
    x = np.random.default_rng(3).normal(scale=2.0, size=(200, 4))
    return x if isinstance(estimator, LogisticRegression) else np.concatenate([x, holed(x), X])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_as_in_scikit_learn(name: str) -> None:
    fitted = CLASSIFIERS[name]
    plain: Any = load_plain(export(fitted, np.random.default_rng(0)).content)
    x = asked(fitted)
    np.testing.assert_allclose(plain.predict_proba(x), fitted.predict_proba(x), rtol=PARITY, atol=PARITY)
    np.testing.assert_array_equal(plain.predict(x), fitted.predict(x))
    np.testing.assert_array_equal(plain.classes_, fitted.classes_)
    assert plain.classes_.dtype.kind == np.array(fitted.classes_.tolist()).dtype.kind
    assert plain.n_features_in_ == 4


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_answers_as_in_scikit_learn(name: str) -> None:
    fitted = REGRESSORS[name]
    plain = load_plain(export(fitted, np.random.default_rng(0)).content)
    x = asked(fitted)
    np.testing.assert_allclose(plain.predict(x), fitted.predict(x), rtol=PARITY, atol=PARITY)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("increasing", [True, False])
def test_an_isotonic_regression_answers_as_in_scikit_learn(dtype: type, increasing: bool) -> None:
    score = RNG.random(300).astype(dtype)
    hit = (RNG.random(300) < score).astype(dtype)
    fitted = IsotonicRegression(out_of_bounds="clip", increasing=increasing).fit(score, hit if increasing else 1 - hit)
    plain = load_plain(export(fitted, np.random.default_rng(0)).content)
    x = np.linspace(-1, 2, 1001).astype(dtype)
    np.testing.assert_allclose(plain.predict(x), fitted.predict(x), atol=PARITY)
    np.testing.assert_array_equal(plain.predict(x[:, None]), plain.predict(x))


def test_labels_are_those_of_the_training_set() -> None:
    plain: Any = load_plain(export(CLASSIFIERS["four classes"], np.random.default_rng(0)).content)
    assert set(plain.predict(X).tolist()) <= {1, 2, 3, 4}


def test_what_has_no_plain_form_is_refused_with_the_reason() -> None:
    coded = np.column_stack([X[:, 0], NUMBER])
    categorical = HistGradientBoostingRegressor(max_iter=2, categorical_features=[1]).fit(coded, X[:, 1])
    cases = {
        "categorical": categorical,
        "clip": IsotonicRegression().fit(X[:, 0], X[:, 1]),
        "no form": GradientBoostingClassifier(n_estimators=1).fit(X, NUMBER),
    }
    for reason, fitted in cases.items():
        with pytest.raises(ModelRefused, match=reason):
            export(fitted, np.random.default_rng(0))


def test_a_plain_form_that_answers_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = boosted("squared_error", X[:, 0])
    honest = fitted.predict
    monkeypatch.setattr(fitted, "predict", lambda x: honest(x) + 1e-3)
    with pytest.raises(ModelRefused, match="differs from scikit-learn"):
        export(fitted, np.random.default_rng(0))


DRAFT = ModelDraft(name="trees", family="test/trees", description="Trees.")

SERVE = """
import sys
from pathlib import Path
from app.model_registry.registry import Registry
from app.model_registry.store import ModelStore
registry = Registry(ModelStore(Path(sys.argv[1])))
registry.refresh()
model = registry.resolve("trees")
print(model.scalers["count"].predict_proba([[0.0] * 4]).sum(), "sklearn" in sys.modules)
"""


def test_a_published_estimator_is_described_and_served_without_scikit_learn(tmp_path: Path) -> None:
    fitted = CLASSIFIERS["four classes"]
    manifest = publish(tmp_path, DRAFT, card="# Card\n", scalers={"count": fitted})
    record = manifest.plain["count"]
    assert (record.source, record.golden_rows) == ("HistGradientBoostingClassifier", GOLDEN_ROWS)
    assert record.parity_max_abs <= PARITY
    assert manifest.scalers == {"count": "estimator_count.npz"}
    child = subprocess.run([sys.executable, "-c", SERVE, str(tmp_path)], capture_output=True, text=True, check=True)
    total, imported = child.stdout.split()[-2:]
    assert float(total) == pytest.approx(1.0)
    assert imported == "False"


def test_a_pickle_that_poses_as_plain_arrays_and_the_reverse_are_refused(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    exported = export(CLASSIFIERS["two classes"], np.random.default_rng(0))
    posing = DRAFT.model_copy(update={"scalers": {"count": "a.npz"}, "plain": {"count": exported.record}})
    store.publish(posing, {"CARD.md": b"", "a.npz": b"\x80\x04N."})
    plain_as_pickle = DRAFT.model_copy(update={"name": "pickle", "scalers": {"count": "a.pkl"}})
    store.publish(plain_as_pickle, {"CARD.md": b"", "a.pkl": exported.content})
    registry = Registry(store)
    registry.refresh()
    assert {state.state for state in registry.status()} == {"refused"}
    with pytest.raises(ModelRefused, match="scalers does not list"):
        store.publish(DRAFT.model_copy(update={"plain": {"count": exported.record}}), {"CARD.md": b""})
