"""Facts of the evaluation: nothing leaks, nothing is done twice, parallel equals serial."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pytest

from app.polarization.experiment import Experiment, Query
from training.polarization.baselines import CurveBaseline, PhysicsBaseline, fit_optics
from training.polarization.evaluate import combined, leave_one_out, markdown_table, ranking, stored_outcomes
from training.polarization.methods import Prediction, Predictor, interior_sigma
from training.polarization.scores import outcome, score
from training.polarization.simulate import SETUPS, Simulated, SimulationArgs, simulate, simulate_with_truth

METHODS = (CurveBaseline("line"), PhysicsBaseline())


@pytest.fixture(scope="module")
def experiments() -> list[Experiment]:
    return simulate("crystalline", 6, np.random.default_rng(4), SimulationArgs(reflections=2))


@dataclass(frozen=True)
class Oracle:
    """Remembers all it was trained on and fails if it is asked about any of it."""

    name: str = "oracle"

    def fit(self, experiments: Sequence[Experiment], seed: int) -> Predictor:
        seen = {(e.polarizer.cell_id, e.polarizer.lab_time) for e in experiments}

        def predict(query: Query) -> Prediction:
            assert (query.polarizer.cell_id, query.polarizer.lab_time) not in seen
            assert query.time_s[0] > query.initial.time_s
            assert query.time_s[-1] < query.final.time_s
            return Prediction(np.full_like(query.time_s, 0.5), np.full_like(query.time_s, 0.1))

        return predict


@dataclass(frozen=True)
class Failing:
    """A method that must not be fitted."""

    name: str = "line"

    def fit(self, experiments: Sequence[Experiment], seed: int) -> Predictor:
        raise AssertionError


def test_no_method_sees_the_cell_it_is_asked_about(experiments: list[Experiment], tmp_path: Path) -> None:
    results = leave_one_out([Oracle()], experiments, tmp_path, progress=False)
    assert [o.experiment for o in results["oracle"]] == [e.name for e in experiments]


def test_a_rerun_reads_what_is_there_and_does_only_the_rest(experiments: list[Experiment], tmp_path: Path) -> None:
    first = leave_one_out(METHODS, experiments, tmp_path, progress=False)
    files = sorted(tmp_path.rglob("*.json"))
    assert len(files) == len(METHODS) * len(experiments)
    before = {f: f.stat().st_mtime_ns for f in files}
    files[3].unlink()
    again = leave_one_out(METHODS, experiments, tmp_path, progress=False)
    rewritten = [f for f in files if f.stat().st_mtime_ns != before[f]]
    assert files[3] in rewritten
    assert len(rewritten) <= 2
    assert ranking(again) == ranking(first)
    assert not list(tmp_path.rglob("*.part"))


def test_other_data_settings_or_seeds_are_other_results(experiments: list[Experiment], tmp_path: Path) -> None:
    leave_one_out(METHODS[:1], experiments, tmp_path, progress=False)
    changed = [dataclasses.replace(e, sigma=2 * e.sigma) for e in experiments]
    for data, method, seed in [
        (changed, METHODS[0], 0),
        (experiments, METHODS[0], 1),
        (experiments, CurveBaseline("exponential"), 0),
    ]:
        count = len(list(tmp_path.rglob("*.json")))
        leave_one_out([method], data, tmp_path, seed=seed, progress=False)
        assert len(list(tmp_path.rglob("*.json"))) == count + len(experiments)


def test_stored_results_are_those_of_the_run(experiments: list[Experiment], tmp_path: Path) -> None:
    results = leave_one_out(METHODS, experiments, tmp_path, progress=False)
    assert ranking(stored_outcomes(tmp_path, experiments)) == ranking(results)


@pytest.fixture
def dask_cluster() -> Iterator[None]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_config("dask"),
    ):
        yield


@pytest.mark.usefixtures("dask_cluster")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dask_cluster_gives_the_same_scores(experiments: list[Experiment], tmp_path: Path) -> None:
    parallel = leave_one_out(METHODS, experiments, tmp_path / "dask", progress=False)
    with joblib.parallel_config("sequential"):
        serial = leave_one_out(METHODS, experiments, tmp_path / "serial", progress=False)
    assert ranking(parallel) == ranking(serial)


def test_a_prediction_that_is_not_finite_is_not_recorded(experiments: list[Experiment], tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Broken:
        name: str = "broken"

        def fit(self, experiments: Sequence[Experiment], seed: int) -> Predictor:
            return lambda query: Prediction(np.full_like(query.time_s, np.nan), np.ones_like(query.time_s))

    with pytest.raises(ValueError, match="JSON"):
        leave_one_out([Broken()], experiments, tmp_path, progress=False)


def test_names_must_differ_and_materials_must_not(experiments: list[Experiment], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="methods"):
        leave_one_out([METHODS[0], Failing()], experiments, tmp_path)
    with pytest.raises(ValueError, match="experiments"):
        leave_one_out(METHODS, [*experiments, experiments[0]], tmp_path)
    with pytest.raises(ValueError, match="one material"):
        leave_one_out(METHODS, [*experiments, *simulate("amorphous", 1, np.random.default_rng(0))], tmp_path)


def _truth(simulated: Simulated) -> Prediction:
    e = simulated.experiment
    return Prediction(simulated.truth[1:-1], np.zeros(len(e.time_s) - 2))


def test_the_truth_scores_as_counting_alone_lets_it() -> None:
    """A curve that knows the truth has only the points' own errors: RMSE under the floor, honest coverage."""
    simulated = simulate_with_truth("crystalline", 150, np.random.default_rng(2))
    scores = score([outcome(s.experiment, _truth(s)) for s in simulated])
    assert scores.coverage_1 == pytest.approx(0.683, abs=0.04)
    assert scores.coverage_2 == pytest.approx(0.954, abs=0.02)
    assert scores.over_floor < 1


@pytest.mark.parametrize("material", ["crystalline", "amorphous"])
def test_physics_reaches_the_noise_floor_of_simulated_cells(material: str) -> None:
    simulated = simulate(material, 60, np.random.default_rng(5))  # type: ignore[arg-type]
    predictor = PhysicsBaseline().fit(simulated[:40], 0)
    scores = score([outcome(e, predictor(e.query())) for e in simulated[40:]])
    assert 0.8 < scores.chi2 < 1.3
    assert scores.over_floor == pytest.approx(1, abs=0.12)


def test_the_fitted_amplitude_is_that_of_the_simulation() -> None:
    args = SimulationArgs(counts=4e5, duration_h=80)
    optics = fit_optics(simulate("crystalline", 60, np.random.default_rng(6), args), SETUPS["crystalline"].optics)
    assert optics.amplitude == pytest.approx(0.931, abs=0.004)


def test_the_expected_sigma_is_the_points_own_plus_the_anchors(experiments: list[Experiment]) -> None:
    e = experiments[0]
    i = 3
    u = e.time_s[i] / e.time_s[-1]
    variance = e.sigma[i] ** 2 + ((1 - u) * e.sigma[0]) ** 2 + (u * e.sigma[-1]) ** 2
    assert interior_sigma(e)[i - 1] == pytest.approx(np.sqrt(variance))


def test_an_ensemble_of_equal_members_is_the_member_with_the_anchors_errors(experiments: list[Experiment]) -> None:
    predictor = CurveBaseline("line").fit(experiments, 0)
    member = [outcome(e, predictor(e.query())) for e in experiments]
    for one, mean in zip(member, combined([member, member], experiments), strict=True):
        assert mean.predicted == pytest.approx(one.predicted)
        assert (mean.predicted_sigma <= one.predicted_sigma + 1e-12).all()
        assert (mean.predicted_sigma >= one.predicted_sigma / np.sqrt(2) - 1e-12).all()


def test_the_table_has_a_row_for_each_method_the_best_first(experiments: list[Experiment], tmp_path: Path) -> None:
    rows = ranking(leave_one_out(METHODS, experiments, tmp_path, progress=False))
    assert [r.scores.rmse for r in rows] == sorted(r.scores.rmse for r in rows)
    assert len(markdown_table(rows).splitlines()) == 2 + len(rows)
