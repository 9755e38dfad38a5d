"""What is made of the network's numbers: probabilities, abstentions, and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from app.aggregates.models import (
    HEADS,
    NETWORK_FAMILY,
    Rules,
    aggregate_model,
    classification,
    rules_from_json,
    rules_to_json,
)
from app.aggregates.setting import COUNTS, VERDICTS, Setting
from app.errors import InvalidInput, ModelRefused
from app.model_registry.loading import LoadedModel
from app.model_registry.manifest import ModelDraft, manifest_from_draft

RULES = Rules(
    temperature=1.0, least_probability=0.7, most_unlike=0.5, most_dark=0.5, radius_px=(3.0, 7.0), stop=(0.0, 0.45)
)
SURE = 9.0

Network = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def heads(count: int = 4, verdict: str = "fits", ratio: float = 1.0, sure: float = SURE) -> np.ndarray:
    row = np.zeros(HEADS)
    row[COUNTS.index(count)] = sure
    row[len(COUNTS) + VERDICTS.index(verdict)] = SURE
    row[-1] = np.log(ratio)
    return row[None]


def model(network: Network, parameters: dict[str, Any] | None = None, family: str = NETWORK_FAMILY) -> LoadedModel:
    told = rules_to_json(RULES) if parameters is None else parameters
    draft = ModelDraft(name="aggregates-test", family=family, description="made by hand", parameters=told)
    manifest = manifest_from_draft(draft, version=1, created=datetime(2030, 1, 1, tzinfo=UTC), files={})
    return LoadedModel(manifest=manifest, run=network, scalers={})


def lopsided(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A network that minds which way is up, and nothing but one image of its batch."""
    weights = np.random.default_rng(0).standard_normal((HEADS, *inputs["maps"].shape[1:]))
    return {"heads": np.einsum("irck,hrck->ih", inputs["maps"], weights) / 100}


def patterns(n: int = 3) -> np.ndarray:
    counts = np.random.default_rng(1).poisson(30.0, (n, 64, 64)).astype(float)
    counts[:, 0], counts[:, :, 0] = np.nan, np.nan
    return counts


def turned(counts: np.ndarray, quarters: int) -> np.ndarray:
    whole = np.full_like(counts, np.nan)
    whole[:, 1:, 1:] = np.rot90(counts[:, 1:, 1:], quarters, axes=(1, 2))
    return whole


def test_rules_survive_json() -> None:
    assert rules_from_json(json.loads(json.dumps(rules_to_json(RULES)))) == RULES


def test_an_answer_does_not_depend_on_how_the_detector_is_turned() -> None:
    judge, counts = aggregate_model(model(lopsided)), patterns()
    upright = judge.classify(counts, None, None, Setting()).probability
    for quarters in (1, 2, 3):
        found = judge.classify(turned(counts, quarters), None, None, Setting()).probability
        np.testing.assert_allclose(found, upright, atol=1e-6)
    mirrored = np.full_like(counts, np.nan)
    mirrored[:, :, 1:] = counts[:, :, 1:][:, :, ::-1]
    np.testing.assert_allclose(judge.classify(mirrored, None, None, Setting()).probability, upright, atol=1e-6)


def test_an_answer_does_not_depend_on_its_batch() -> None:
    judge, counts = aggregate_model(model(lopsided)), patterns(5)
    together = judge.classify(counts, None, None, Setting())
    for i in range(5):
        alone = judge.classify(counts[i : i + 1], None, None, Setting())
        np.testing.assert_allclose(alone.probability[0], together.probability[i], atol=1e-6)
        assert alone.unlike[0] == pytest.approx(together.unlike[i], abs=1e-6)


def test_no_pattern_is_an_empty_answer() -> None:
    found = aggregate_model(model(lopsided)).classify(np.zeros((0, 64, 64)), None, None, Setting())
    assert found.probability.shape == (0, len(COUNTS))
    assert found.reasons == ()


@pytest.mark.parametrize("count", COUNTS)
def test_a_sure_network_is_believed(count: int) -> None:
    found = classification(heads(count), [Setting()], RULES)
    assert found.count.tolist() == [count]
    assert found.probability.sum() == pytest.approx(1.0)
    assert not found.abstain[0]
    assert found.reasons == ((),)


def test_a_higher_temperature_makes_less_sure_and_changes_no_count() -> None:
    cold, hot = (classification(heads(3, sure=2.0), [Setting()], replace(RULES, temperature=t)) for t in (0.5, 2.0))
    assert cold.count == hot.count
    assert cold.probability.max() > hot.probability.max() > 1 / len(COUNTS)


@pytest.mark.parametrize(
    ("row", "setting", "reason"),
    [
        (
            heads(verdict="radius", ratio=0.9),
            Setting(5.0),
            "radius of 5.00 px; they fit a smaller one, about 4.5 px or less",
        ),
        (heads(verdict="radius", ratio=1.2), Setting(5.0), "they fit a larger one, about 6.0 px or more"),
        (heads(verdict="particle"), Setting(5.0), "look like those of spheres"),
        (heads(verdict="particle"), Setting(5.0, particle="sphere"), "look like those of discs"),
        (heads(verdict="mask"), Setting(5.0, 3.0), "the beam stop is larger than 3.0 px, or gaps"),
        (heads(verdict="object"), Setting(), "does not look like one of an aggregate of equal discs"),
        (heads(4, sure=1.0), Setting(), "the most probable number, 4, has a probability of 0.40"),
        (heads(), Setting(9.0, 0.0), "radius of 9 px is outside the 3 to 7 px"),
        (heads(), Setting(7.0, 12.0), "hides too much"),
    ],
)
def test_every_abstention_says_why(row: np.ndarray, setting: Setting, reason: str) -> None:
    found = classification(row, [setting], RULES)
    assert found.abstain[0]
    assert len(found.reasons[0]) == 1
    assert reason in found.reasons[0][0]


def test_the_same_version_gives_the_same_object() -> None:
    loaded = model(lopsided)
    assert aggregate_model(loaded) is aggregate_model(loaded)


def test_models_of_other_jobs_are_refused() -> None:
    with pytest.raises(InvalidInput, match="aggregates/count-network"):
        aggregate_model(model(lopsided, family="polarization/d3-network"))


@pytest.mark.parametrize(
    "damage", [{"temperature": 0.0}, {"temperature": "warm"}, {"radius_px": [3.0]}, {"least_probability": True}]
)
def test_parameters_that_do_not_fit_are_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ModelRefused, match="do not fit"):
        aggregate_model(model(lopsided, rules_to_json(RULES) | damage))


def test_missing_parameters_are_refused() -> None:
    with pytest.raises(ModelRefused, match="do not fit"):
        aggregate_model(model(lopsided, {"temperature": 1.0}))
