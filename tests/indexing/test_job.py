"""A job's bytes: the payload comes in, the public answer goes out, and both can be read back."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from app.indexing import job
from app.indexing.answer import result_content, result_from_content
from app.indexing.learned.models import Learned
from app.indexing.learned.shelf import Shelf
from app.indexing.peaks import Given
from app.indexing.problem import PeakList, SolveOptions, UsedModel
from app.indexing.question import ask, question_from_content
from app.model_registry.store import ModelStore
from tests import indexing_fakes as fakes
from tests.indexing_learned import publish_probability

CUBE = Given("d_ang", 4.0 / np.array([1, 2, 3, 4, 5, 6, 8, 9.5]) ** 0.5, wavelength_ang=1.54)


@pytest.fixture(autouse=True)
def _fake_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_solve", lambda: fakes.solve)


def never() -> bool:
    return False


def test_the_answer_has_units_in_its_names_and_the_lines_warnings() -> None:
    question = replace(ask(CUBE, {}, name="cube"), warnings=("two lines merged",))
    progress: list[bytes] = []
    found = json.loads(job.run(job.payload(question), progress.append, never))
    assert found["name"] == "cube"
    assert found["warnings"] == ["two lines merged", "the solver's own warning"]
    best = found["solutions"][0]
    assert best["bravais"] == "cP"
    constants = {"a_ang": 4.0, "b_ang": 4.0, "c_ang": 4.0, "alpha_deg": 90.0, "beta_deg": 90.0, "gamma_deg": 90.0}
    assert best["cell"] == best["niggli"] == constants
    assert set(best["cell_sigma"]) == set(constants)
    (told,) = (json.loads(item) for item in progress)
    assert told["best"]["cell"] == constants
    assert told["lattices_done"] == ["cF"]
    assert "lines" not in told["best"]


def test_a_line_is_told_in_every_unit() -> None:
    found = json.loads(job.run(job.payload(ask(CUBE, {})), lambda _: None, never))
    indexed, unindexed = found["solutions"][0]["lines"][1], found["solutions"][0]["lines"][-1]
    assert indexed["hkl"] == [1, 1, 0]
    assert indexed["d_observed_ang"] == pytest.approx(8**0.5, abs=1e-6)
    assert indexed["q2_calculated_inv_ang2"] == pytest.approx(2 / 16)
    bragg = 2 * math.degrees(math.asin(1.54 / 2 / 8**0.5))
    assert indexed["two_theta_observed_deg"] == pytest.approx(bragg, abs=1e-5)
    assert unindexed["hkl"] is None
    assert unindexed["d_calculated_ang"] is None
    assert unindexed["two_theta_observed_deg"] is not None


def test_without_a_wavelength_there_is_no_two_theta() -> None:
    found = json.loads(job.run(job.payload(ask(Given("d_ang", CUBE.values), {})), lambda _: None, never))
    assert found["wavelength_ang"] is None
    assert found["solutions"][0]["f20"] is None
    assert found["solutions"][0]["lines"][0]["two_theta_observed_deg"] is None


def test_an_answer_reads_back_as_it_was() -> None:
    question = ask(CUBE, {})
    result = fakes.solve(question.peaks, question.options)
    back = result_from_content(orjson.loads(orjson.dumps(result_content(result, wavelength_ang=1.54))))
    assert replace(back, solutions=()) == replace(result, solutions=())
    for one, other in zip(back.solutions, result.solutions, strict=True):
        assert (one.bravais, one.extinctions, one.relatives) == (other.bravais, other.extinctions, other.relatives)
        assert one.cell.constants == pytest.approx(other.cell.constants, abs=1e-5)
        assert [line.hkl for line in one.lines] == [line.hkl for line in other.lines]
        observed = [line.q2_observed_inv_ang2 for line in other.lines]
        assert [line.q2_observed_inv_ang2 for line in one.lines] == pytest.approx(observed, abs=1e-8)


def test_an_answer_holds_only_numbers_that_json_has() -> None:
    question = ask(CUBE, {})
    result = fakes.solve(question.peaks, question.options)
    perfect = replace(result.solutions[0], m20=math.inf, f20=math.nan, log_odds=-math.inf)
    found = result_content(replace(result, solutions=(perfect,)), wavelength_ang=1.54)["solutions"][0]
    assert (found["m20"], found["f20"], found["log_odds"]) == (1e9, None, -1e9)


def test_numbers_of_numpy_are_written() -> None:
    question = ask(CUBE, {})
    result = fakes.solve(question.peaks, question.options)
    strange = replace(result.solutions[0], n_indexed=np.int64(3), m20=np.float64(2.0), weight=np.float32(0.5))
    content = result_content(replace(result, solutions=(strange,), seed=np.int32(1)), wavelength_ang=1.54)
    assert orjson.loads(orjson.dumps(content))["solutions"][0]["n_indexed"] == 3


def test_the_solver_is_asked_as_the_types_say() -> None:
    """The fake and the solver have one signature."""
    solve: job.Solve = fakes.solve
    result = solve(PeakList(np.array([0.1, 0.2])), SolveOptions(max_solutions=1))
    assert len(result.solutions) == 1


def test_a_worker_warms_up_by_solving_without_and_with_learned_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[bool] = []

    def remembering(*asking: Any, learned: Learned) -> Any:
        asked.append(learned.probability is not None)
        return fakes.solve(*asking, learned=learned)

    monkeypatch.setattr(job, "_solve", lambda: remembering)
    monkeypatch.setattr(job, "SHELF", Shelf())
    job.warm_up()
    publish_probability(ModelStore(tmp_path), 0.5)
    job.warm_up(str(tmp_path))
    assert asked == [False, False, True]


def test_the_payload_carries_the_versions_and_not_the_aliases_alone() -> None:
    models = (UsedModel("indexing-odds", 3, "stable"), UsedModel("indexing-probability", 12))
    question = ask(CUBE, {}).with_models(models, ["one is missing"])
    told = orjson.loads(job.payload(question))
    assert [(one["name"], one["version"]) for one in told["models"]] == [
        ("indexing-odds", 3),
        ("indexing-probability", 12),
    ]
    back = question_from_content(told)
    assert (back.models, back.warnings) == (models, ("one is missing",))


def test_a_job_that_was_queued_without_learned_parts_is_done_without() -> None:
    told = orjson.loads(job.payload(ask(CUBE, {})))
    del told["models"]
    assert question_from_content(told).models == ()
    assert orjson.loads(job.run(orjson.dumps(told), lambda _: None, never))["models"] == []
