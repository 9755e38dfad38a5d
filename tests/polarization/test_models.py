"""Facts of the anchored decay's estimate and of how published models are read."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from app.errors import InvalidInput, ModelRefused
from app.polarization import anchored, decay
from app.polarization.anchored import LifetimePrior, laboratory_calibration, linear_estimate
from app.polarization.experiment import Material, Query
from app.polarization.models import (
    AnchoredModel,
    D3Network,
    parameters_from_json,
    parameters_to_json,
    polarization_model,
)
from tests.polarization_models import CELLS, PAIRS, PARAMETERS, POLARIZER, anchored_model, d3_network

MATERIALS: tuple[Material, ...] = ("crystalline", "amorphous")


def query(material: Material) -> Query:
    polarizer, analyser = CELLS[material]
    initial, final = PAIRS[material]
    return Query(material, polarizer, analyser, -1_800.0, initial, final, np.linspace(0.0, final.time_s, 9))


@pytest.mark.parametrize("material", MATERIALS)
def test_parameters_survive_json(material: Material) -> None:
    record = json.loads(json.dumps(parameters_to_json(PARAMETERS[material])))
    assert parameters_from_json(record) == PARAMETERS[material]


@pytest.mark.parametrize("material", MATERIALS)
def test_what_nothing_is_known_of_leaves_the_physics_alone(material: Material) -> None:
    """A cell whose lifetime and opacity could be anything takes nothing back from the calibrations."""
    parameters = replace(PARAMETERS[material], path_spread=1e4, cells={}, unknown_cell=LifetimePrior(4.0, 1e4))
    asked = query(material)
    linear = linear_estimate(anchored.anchors_from_queries([asked], parameters), parameters)
    assert abs(linear.mean_even[0]) < 1e-3
    assert abs(linear.mean_odd[0]) < 1e-3
    fit = decay.fit_anchors(
        initial_s=asked.initial.time_s,
        p_initial=asked.initial.polarization,
        final_s=asked.final.time_s,
        p_final=asked.final.polarization,
        optics=parameters.optics,
    )
    (shape,) = anchored.shapes([asked], parameters, lambda features: np.zeros((len(features), 3)))
    assert anchored.curve(shape, shape.physics.course(asked.time_s)).mean == pytest.approx(
        fit.polarization(asked.time_s), abs=1e-5
    )


def test_a_batch_of_estimates_equals_its_members() -> None:
    parameters = PARAMETERS["crystalline"]
    base = query("crystalline")
    asked = [base._replace(final=replace(base.final, polarization=p)) for p in (0.81, 0.79, 0.77)]
    together = linear_estimate(anchored.anchors_from_queries(asked, parameters), parameters)
    for row, one in enumerate(asked):
        alone = linear_estimate(anchored.anchors_from_queries([one], parameters), parameters)
        for name, value in alone._asdict().items():
            assert getattr(together, name)[row] == pytest.approx(value[0], rel=1e-10), name


def test_the_usual_lifetime_needs_no_correction() -> None:
    """Calibrations that are what laboratory and lifetime promise leave nothing to share out."""
    parameters = PARAMETERS["crystalline"]
    prior = parameters.lifetime("ge18004")
    first = laboratory_calibration(POLARIZER, 0.0, parameters)
    later = anchored.foretold(first, prior, parameters.optics, np.array([86_400.0])).mean[0]
    base = query("crystalline")
    exact = base._replace(
        lab_time_s=0.0,
        initial=replace(base.initial, polarization=first.polarization),
        final=replace(base.final, polarization=float(later)),
    )
    linear = linear_estimate(anchored.anchors_from_queries([exact], parameters), parameters)
    assert [linear.mean_even[0], linear.mean_odd[0]] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert linear.log_t1_h[0] == pytest.approx(prior.log_t1_h, abs=1e-9)
    assert linear.log_t1_sigma[0] < prior.spread


def test_forward_and_backward_foretelling_are_one_curve() -> None:
    parameters = PARAMETERS["amorphous"]
    prior, optics = parameters.unknown_cell, parameters.optics
    start = PAIRS["amorphous"][0]
    there = anchored.foretold(start, prior, optics, np.array([50_000.0])).mean[0]
    back = anchored.foretold(replace(start, time_s=50_000.0, polarization=float(there)), prior, optics, np.zeros(1))
    assert back.mean[0] == pytest.approx(start.polarization, rel=1e-9)


def test_families_become_models() -> None:
    assert isinstance(polarization_model(anchored_model()), AnchoredModel)
    assert isinstance(polarization_model(d3_network()), D3Network)


def test_one_version_is_wrapped_once() -> None:
    loaded = anchored_model()
    assert polarization_model(loaded) is polarization_model(loaded)
    assert polarization_model(anchored_model()) is not polarization_model(loaded)


def test_another_jobs_model_and_damaged_parameters_are_refused() -> None:
    loaded = anchored_model()
    other = replace(loaded, manifest=loaded.manifest.model_copy(update={"family": "waveform/cnn"}))
    with pytest.raises(InvalidInput, match="polarization model"):
        polarization_model(other)
    for damage in ({"amplitude": "0.9"}, {"amplitude": True}, {"cells": []}, {"unknown_cell": [1.0]}):
        parameters = {**loaded.manifest.parameters, **damage}
        with pytest.raises(ModelRefused):
            polarization_model(replace(loaded, manifest=loaded.manifest.model_copy(update={"parameters": parameters})))


def test_a_network_knows_the_cells_that_it_has_columns_for() -> None:
    network = polarization_model(d3_network())
    assert network.knows_cell("ge18004")
    assert not network.knows_cell("ge18099")
