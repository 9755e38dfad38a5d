"""What is published answers as it was trained, and its card says what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.model_registry.registry import Registry
from app.model_registry.store import ModelStore
from app.polarization.models import AnchoredModel, polarization_model
from training.polarization import publish
from training.polarization.anchored import AnchoredArgs, heads_of, train_network
from training.polarization.baselines import BASELINES
from training.polarization.evaluate import leave_one_out
from training.polarization.scores import score
from training.polarization.simulate import simulate

SMALL = AnchoredArgs(decays=2_000, epochs=1, batch_size=500)


def test_a_published_model_answers_as_the_trained_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiments = simulate("crystalline", 8, np.random.default_rng(1))
    physics = next(b for b in BASELINES if b.name == "physics")
    found = leave_one_out([physics], experiments, tmp_path / "runs", progress=False)
    evidence = {"installation": {physics.name: score(found[physics.name])}}
    monkeypatch.setattr(publish, "AnchoredArgs", lambda seed: SMALL)
    store = ModelStore(tmp_path / "store")
    manifest = publish.train_and_publish(store, "crystalline", experiments, evidence, "0" * 64, seed=0, promote=False)
    registry = Registry(store)
    registry.refresh()
    model = polarization_model(registry.resolve("polarization-crystalline"))
    assert isinstance(model, AnchoredModel)
    assert set(model.parameters.cells) == {e.polarizer.cell_id for e in experiments}

    features = np.random.default_rng(2).standard_normal((6, 10)).astype(np.float32)
    trained = heads_of(train_network(model.parameters, SMALL))(features)
    np.testing.assert_allclose(model.loaded.run({"features": features})["heads"], trained, atol=1e-4)

    card = store.card(manifest.name, manifest.version)
    assert f"| physics | {evidence['installation']['physics'].rmse:.5f} |" in card
    assert f"{len(experiments)} decays" in card


def test_training_ranges_hold_every_question_of_the_training_data() -> None:
    experiments = simulate("amorphous", 10, np.random.default_rng(3))
    ranges = {f.name: (f.min, f.max, f.unit) for f in publish.training_ranges(experiments)}
    firsts = [float(e.polarization[0]) for e in experiments]
    assert ranges["initial_polarization"] == (min(firsts), max(firsts), "1")
    assert ranges["analyser_pressure_bar"][2] == "bar"
    assert ranges["final_time_s"][1] == max(float(e.time_s[-1]) for e in experiments)
