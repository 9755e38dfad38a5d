"""Facts of a prediction, with models whose curves are known formulas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.errors import InvalidInput, ModelOutputInvalid
from app.polarization import decay
from app.polarization.experiment import Calibration, Material
from app.polarization.models import AnchoredModel, polarization_model
from app.polarization.predict import MEANINGS, Answered, Ask, predict
from tests.polarization_models import CELLS, FINAL, INITIAL, PAIRS, PARAMETERS, anchored_model, d3_network

MATERIALS: tuple[Material, ...] = ("crystalline", "amorphous")


def ask(material: Material = "crystalline", **changes: Any) -> Ask:
    polarizer, analyser = CELLS[material]
    initial, final = PAIRS[material]
    question = Ask(material, polarizer, analyser, -1_800.0, initial, final, np.linspace(0.0, final.time_s, 13))
    return question._replace(**changes)


def answer(question: Ask, *models: Any) -> Answered:
    (found,) = predict([question], [polarization_model(m) for m in models or (anchored_model(question.material),)])
    return found


def codes(answered: Answered) -> list[str]:
    return [note.code for note in answered.notes]


@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("make", [anchored_model, d3_network])
def test_the_curve_passes_through_both_anchors_with_their_sigma(material: Material, make: Any) -> None:
    found = answer(ask(material), make(material))
    initial, final = PAIRS[material]
    assert found.curve.mean[[0, -1]] == pytest.approx([initial.polarization, final.polarization], abs=1e-12)
    assert found.curve.sigma[[0, -1]] == pytest.approx([initial.sigma, final.sigma], abs=1e-12)
    assert codes(found) == []


def test_an_anchor_above_the_amplitude_is_still_met_and_told() -> None:
    found = answer(ask(initial=Calibration(0.0, 0.95, 0.01)))
    assert found.curve.mean[[0, -1]] == pytest.approx([0.95, FINAL.polarization])
    assert "beyond-amplitude" in codes(found)


def crossed(answered: Answered) -> dict[str, float | None]:
    return {} if answered.crossing is None else vars(answered.crossing)


@pytest.mark.parametrize("material", MATERIALS)
def test_a_batch_equals_its_members_and_asks_each_network_once(material: Material) -> None:
    asks = [
        ask(material),
        ask(material, time_s=np.array([4_000.0, 100.0]), threshold=0.3),
        ask(material, final=Calibration(50_000.0, 0.4, 0.01)),
        ask(material, final=None) if material == "crystalline" else ask(material, lab_time_s=-9_000.0),
    ]
    model = anchored_model(material)
    together = predict(asks, [polarization_model(model)])
    assert model.run.runs == 1  # type: ignore[attr-defined]
    for one, question in zip(together, asks, strict=True):
        alone = answer(question, model)
        assert one.curve.mean == pytest.approx(alone.curve.mean, abs=1e-12)
        assert one.curve.sigma == pytest.approx(alone.curve.sigma, abs=1e-12)
        assert crossed(one) == pytest.approx(crossed(alone), rel=1e-12)
        assert one.notes == alone.notes


def test_a_batch_asks_a_d3_network_once() -> None:
    model = d3_network()
    asks = [ask(), ask(time_s=np.array([5.0])), ask(correction="none")]
    together = predict(asks, [polarization_model(model)])
    assert model.run.runs == 1  # type: ignore[attr-defined]
    for one, question in zip(together, asks, strict=True):
        assert one.curve.mean == pytest.approx(answer(question, model).curve.mean, abs=1e-7)


def test_the_order_of_the_times_asked_is_kept() -> None:
    time_s = np.array([60_000.0, 0.0, 30_000.0])
    shuffled = answer(ask(time_s=time_s)).curve.mean
    assert shuffled[[1, 2, 0]] == pytest.approx(answer(ask(time_s=np.sort(time_s))).curve.mean)


@pytest.mark.parametrize("models", [(anchored_model(),), (d3_network(),), (d3_network(), d3_network(name="d3-two"))])
def test_the_curve_at_the_crossing_is_the_threshold(models: Any) -> None:
    for threshold in (0.83, 0.815, 0.6, 0.2)[: None if isinstance(polarization_model(models[0]), AnchoredModel) else 2]:
        crossing = answer(ask(threshold=threshold), *models).crossing
        assert crossing is not None
        times = np.array([crossing.time_s, crossing.earliest_s, crossing.latest_s])
        curve = answer(ask(time_s=times), *models).curve
        reached = curve.mean + np.array([0.0, -1.0, 1.0]) * curve.sigma
        assert reached == pytest.approx(np.full(3, threshold), abs=2e-6)
        assert times[1] < times[0] < times[2]


def test_a_sigma_that_outgrows_the_decay_leaves_the_latest_crossing_open() -> None:
    crossing = answer(ask(threshold=0.2), d3_network()).crossing
    assert crossing is not None
    assert crossing.latest_s is None


def test_beyond_the_anchors_the_crossing_follows_t1() -> None:
    found = answer(ask(threshold=0.4))
    optics = PARAMETERS["crystalline"].optics
    phi = decay.opacity_from_polarization(np.array([FINAL.polarization, 0.4]), optics)
    assert found.lifetime is not None
    assert found.crossing is not None
    expected = FINAL.time_s + found.lifetime.t1_h * 3_600 * np.log(phi[0] / phi[1])
    assert found.crossing.time_s == pytest.approx(expected, rel=1e-6)


def test_a_threshold_that_is_passed_or_never_reached_is_told() -> None:
    passed = answer(ask(threshold=0.9))
    assert passed.crossing is not None
    assert passed.crossing.time_s == INITIAL.time_s
    assert codes(passed) == ["threshold-passed"]
    never = answer(ask(threshold=1e-6))
    assert never.crossing is not None
    assert never.crossing.time_s is None
    assert codes(never) == ["threshold-not-reached"]


def test_extrapolation_widens_sigma_and_is_told() -> None:
    for models in ((anchored_model(),), (d3_network(),), (d3_network(), d3_network(name="d3-two"))):
        after = answer(ask(time_s=np.linspace(FINAL.time_s, 4 * FINAL.time_s, 30)), *models)
        before = answer(ask(time_s=np.linspace(-FINAL.time_s, 0.0, 30)), *models)
        assert (np.diff(after.curve.sigma) > 0).all()
        assert (np.diff(before.curve.sigma) < 0).all()
        assert codes(after) == ["after-final"]
        assert codes(before) == ["before-initial"]


def test_one_calibration_is_followed_with_the_usual_lifetime() -> None:
    found = answer(ask(final=None))
    optics, prior = PARAMETERS["crystalline"].optics, PARAMETERS["crystalline"].cells["ge18004"]
    phi = decay.opacity_from_polarization(np.array(INITIAL.polarization), optics)
    lifetimes = np.linspace(0.0, FINAL.time_s, 13) / 3_600 / np.exp(prior.log_t1_h)
    assert found.curve.mean == pytest.approx(optics.amplitude * np.tanh(phi * np.exp(-lifetimes)))
    assert found.curve.sigma[0] == pytest.approx(INITIAL.sigma)
    assert (np.diff(found.curve.sigma) > 0).all()
    assert found.physics is None
    assert codes(found) == ["one-anchor"]


def test_the_final_calibration_alone_is_followed_backwards() -> None:
    found = answer(ask(initial=None))
    assert found.curve.mean[-1] == pytest.approx(FINAL.polarization)
    assert found.curve.mean[0] > FINAL.polarization


def test_without_calibration_the_filling_laboratory_speaks() -> None:
    found = answer(ask(initial=None, final=None))
    assert codes(found) == ["no-anchor"]
    assert 0.7 < found.curve.mean[0] < 0.931
    assert found.curve.sigma[0] > 5 * INITIAL.sigma


def test_two_calibrations_at_one_time_are_their_weighted_mean() -> None:
    found = answer(ask(initial=Calibration(0.0, 0.84, 0.002), final=Calibration(0.0, 0.80, 0.004), time_s=np.zeros(1)))
    assert found.curve.mean[0] == pytest.approx((0.84 / 4 + 0.80 / 16) / (1 / 4 + 1 / 16))
    assert found.curve.sigma[0] == pytest.approx((1 / 0.002**2 + 1 / 0.004**2) ** -0.5)
    assert codes(found) == ["anchors-coincide"]


@pytest.mark.parametrize("missing", [{"initial": None}, {"final": None}, {"final": replace(FINAL, time_s=0.0)}])
def test_a_network_needs_both_calibrations(missing: Any) -> None:
    for models in ((d3_network(),), (anchored_model(), d3_network())):
        with pytest.raises(InvalidInput, match="anchored-decay"):
            answer(ask(**missing), *models)


def test_an_ensemble_is_the_inverse_variance_mean() -> None:
    members = (d3_network(log_variance=-8.0), d3_network(name="d3-two", offset=0.02, log_variance=-7.0))
    raw = [answer(ask(correction="none"), member).curve for member in members]
    weights = np.array([np.exp(8.0), np.exp(7.0)])
    mean = (weights[0] * raw[0].mean + weights[1] * raw[1].mean) / weights.sum()
    found = answer(ask(correction="none"), *members).curve
    assert found.mean == pytest.approx(mean, abs=1e-7)
    assert found.sigma == pytest.approx(np.full(13, weights.sum() ** -0.5), rel=1e-6)

    sloped = answer(ask(), *members).curve
    assert sloped.mean[[0, -1]] == pytest.approx([INITIAL.polarization, FINAL.polarization])
    halfway = 0.25 * (INITIAL.sigma**2 + FINAL.sigma**2) + 1 / weights.sum()
    assert sloped.sigma[6] ** 2 == pytest.approx(halfway, rel=1e-6)


def test_an_ensemble_of_equals_is_its_member() -> None:
    one = answer(ask(), d3_network()).curve.mean
    assert answer(ask(), d3_network(), d3_network(name="d3-two")).curve.mean == pytest.approx(one, abs=1e-7)


def test_uncorrected_is_the_models_own_curve() -> None:
    found = answer(ask(correction="none"), d3_network())
    assert found.curve.mean == pytest.approx(0.8 - 0.1 * np.linspace(0.0, FINAL.time_s, 13) / 1e5, abs=1e-6)
    assert codes(found) == ["not-corrected"]


def test_the_physics_beside_passes_through_the_anchors() -> None:
    physics = answer(ask(), d3_network()).physics
    assert physics is not None
    assert physics.mean[[0, -1]] == pytest.approx([INITIAL.polarization, FINAL.polarization])
    assert physics.sigma[[0, -1]] == pytest.approx([INITIAL.sigma, FINAL.sigma])


def test_a_prediction_beyond_one_is_clipped_and_told() -> None:
    found = answer(ask(correction="none"), d3_network(offset=0.25))
    assert found.curve.mean[0] == 1.0
    assert np.isinf(found.flipping_ratio[0])
    assert "clipped" in codes(found)


def test_a_rising_polarization_has_no_lifetime_in_a_network() -> None:
    found = answer(ask(final=replace(FINAL, polarization=0.87)), d3_network())
    assert found.lifetime is None
    assert "rising-polarization" in codes(found)


def test_what_the_model_never_saw_is_told() -> None:
    stranger = replace(CELLS["crystalline"][0], cell_id="ge18099")
    found = answer(ask(polarizer=stranger, final=replace(FINAL, time_s=900_000.0, polarization=0.5)))
    assert codes(found) == ["unknown-cell", "outside-training-range"]
    assert "final_time_s = 900000" in found.notes[1].message


def test_any_question_of_a_valid_form_gets_finite_numbers() -> None:
    years_s = 3e8
    extremes = [
        ask(time_s=np.array([-years_s, years_s]), threshold=0.5),
        ask(final=Calibration(1e-3, 0.01, 0.5), time_s=np.array([-years_s, 0.0, years_s])),
        ask(final=Calibration(years_s, -1.0, 1e-9), lab_time_s=-years_s),
        ask(initial=Calibration(0.0, 1.0, 1e-9), final=Calibration(60.0, 1.0, 2.0)),
        ask(final=None, time_s=np.array([-years_s, years_s])),
        ask(initial=None, final=None, lab_time_s=years_s),
    ]
    for question in extremes:
        with np.errstate(all="raise", under="ignore"):
            found = answer(question)
        assert np.isfinite(found.curve.mean).all()
        assert np.isfinite(found.curve.sigma).all()


def test_a_network_that_says_nan_is_an_error() -> None:
    with pytest.raises(ModelOutputInvalid):
        answer(ask(), anchored_model(heads=(float("nan"), 0.0, 0.0)))


def test_wrong_questions_are_named() -> None:
    model = polarization_model(anchored_model())
    with pytest.raises(InvalidInput, match="is for crystalline") as error:
        predict([ask(), ask("amorphous")], [model])
    assert error.value.details["index"] == 1
    with pytest.raises(InvalidInput, match="exchange them"):
        answer(ask(initial=FINAL, final=INITIAL))
    with pytest.raises(InvalidInput, match="no model"):
        predict([ask()], [])


def test_every_flag_has_a_meaning() -> None:
    assert all(meaning and not meaning.endswith(".") for meaning in MEANINGS.values())
