"""Training, resuming and publishing the odds of the lattices."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from app.indexing.learned.odds import NAME, from_model
from app.indexing.learned.template_features import N_FEATURES
from app.indexing.problem import BRAVAIS, SolveOptions
from app.indexing.search_order import Doubt, Step
from app.indexing.solve import search_bounds
from app.model_registry.loading import load_version
from app.model_registry.store import ModelStore
from tests.indexing.synthetic import pattern
from training.indexing.odds.data import Disturbance, Examples

pytestmark = pytest.mark.slow
SMALL = {"units": (16,), "epochs": 2, "batch": 32, "seed": 3}


def _examples(count: int) -> Examples:
    """Cubic patterns with rows 1, 2, 3, ... (cP) and 2, 4, 6, ... shifted by one (any other lattice)."""
    rng = np.random.default_rng(0)
    lattice = np.where(np.arange(count) % 2, BRAVAIS.index("cP"), BRAVAIS.index("aP"))
    first = np.arange(1, 25)
    rows = np.where((lattice == BRAVAIS.index("cP"))[:, None], first, first + 0.4 * rng.random((count, 24)))
    q2 = rows / rng.uniform(60.0, 90.0, (count, 1))
    return Examples(q2, lattice, np.full(count, 1 / count), np.arange(count) >= 0.7 * count, np.ones(count, bool))


def test_it_learns_goes_on_and_is_calibrated(tmp_path: Path) -> None:
    from training.indexing.odds.train import TrainArgs, calibrate, features, log_loss, predicted, train

    args = TrainArgs(**SMALL, disturbance=replace(Disturbance(), short=0.0))
    told: list[str] = []
    model = train(_examples(600), args, tmp_path, told.append)
    assert len(told) == 2
    assert len(json.loads((tmp_path / "record.json").read_text())["history"]) == 2
    held = _examples(400)
    given = features(held, args.disturbance, np.random.default_rng(1))
    before = predicted(model, given)
    assert log_loss(before, held.lattice) < np.log(14)
    calibrate(model, given, held.lattice)
    after = predicted(model, given)
    assert log_loss(after, held.lattice) <= log_loss(before, held.lattice) + 1e-6
    assert np.array_equal(before.argmax(axis=1), after.argmax(axis=1))
    # A run that is done has nothing to go on with.
    again = train(_examples(600), args, tmp_path, told.append)
    assert len(told) == 2
    assert predicted(again, given) == pytest.approx(before, abs=1e-6)


def test_what_is_published_tells_odds_in_the_service(tmp_path: Path) -> None:
    from training.indexing.odds.commands import publish_run
    from training.indexing.odds.train import TrainArgs, build

    (tmp_path / "network").mkdir()
    build(TrainArgs(**SMALL)).save(tmp_path / "network" / "calibrated.keras")
    steps = [asdict(Step("zones", "aP", 0.5, 0.1))]
    doubt = {"doubt": asdict(Doubt((0.0,) * 7, 0.0, 0.01)), "patterns": 3, "compared": {}}
    scores = {"learnt_from": 1, "held_out": 1, "conditions": {}}
    for name, content in (("steps", steps), ("doubt", doubt), ("scores", scores)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    store = ModelStore(tmp_path / "store")
    publish_run(store, tmp_path)
    odds = from_model(load_version(store.read(NAME, 1)))
    assert odds.steps == (Step("zones", "aP", 0.5, 0.1),)
    observed, _, _ = search_bounds(pattern("oP"), SolveOptions())
    assert odds.probabilities(observed).sum() == pytest.approx(1.0)
    assert N_FEATURES > 100
