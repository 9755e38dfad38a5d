"""The assignment of lines to reference reflections by a network's softmax."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.crystallography.lattice import LATTICES
from app.errors import InvalidInput, ModelRefused
from app.indexing.learned.indices import FAMILY, closeness, differences, from_model, least_symmetric, together
from tests.indexing.learned.index_cases import EPSILON, N_PEAKS, nearest_run, network, random_network
from tests.indexing.walk.mcmc_cases import lines_of, true_x


def test_closeness_is_one_on_a_reflection_and_a_half_at_epsilon() -> None:
    found = closeness(np.array([0.0, 1e-3, -1e-3, 0.1], np.float32), 1e-3)
    np.testing.assert_allclose(found, [1.0, 0.5, 0.5, 1 / 101], rtol=1e-5)


def test_differences_are_observed_minus_calculated() -> None:
    x, q2 = np.array([[0.01, 0.02, 0.03]]), np.array([[0.05, 0.2]])
    design = np.array([[1.0, 0, 0], [1, 1, 4]])
    np.testing.assert_allclose(differences(x, q2, design)[0], [[0.04, -0.1], [0.19, 0.05]], rtol=1e-5)


def test_all_reflections_of_a_system_are_those_of_its_least_symmetric_lattice() -> None:
    found = {lattice.system: least_symmetric(lattice.system).symbol for lattice in LATTICES.values()}
    assert found == {
        "cubic": "cP",
        "rhombohedral": "hR",
        "hexagonal": "hP",
        "tetragonal": "tP",
        "orthorhombic": "oP",
        "monoclinic": "mP",
        "triclinic": "aP",
    }
    with pytest.raises(InvalidInput, match="orthorhombic"):
        least_symmetric("octagonal")


@pytest.mark.parametrize("bravais", ["oP", "oC", "oI", "oF"])
def test_probabilities_sum_to_one_and_spare_what_the_centring_extinguishes(bravais: str) -> None:
    one = network(random_network())
    x = true_x("oP") * (1 + 0.05 * np.random.default_rng(0).standard_normal((4, 3)))
    found = one.probabilities(bravais, x, np.tile(lines_of("oP").q2, (4, 1)))
    np.testing.assert_allclose(found.sum(axis=2), 1.0, rtol=1e-5)
    present = LATTICES[bravais].allowed(one.hkl)
    assert np.all(found[:, :, :-1][:, :, ~present] == 0)
    assert np.all(found[:, :, :-1][:, :, present] > 0)


def test_few_lines_are_answered_as_the_first_of_many() -> None:
    one, x, q2 = network(random_network()), true_x("oP")[None], lines_of("oP").q2
    many, few = one.probabilities("oP", x, q2), one.probabilities("oP", x, q2[:, :8])
    np.testing.assert_allclose(few, many[:, :8], rtol=1e-5)


def test_with_the_true_cell_the_nearest_reflection_is_the_line() -> None:
    one, x, q2 = network(nearest_run), true_x("oP")[None], lines_of("oP").q2
    index = one.probabilities("oP", x, q2)[0].argmax(axis=1)
    np.testing.assert_allclose(one.design[index] @ x[0], q2[0], rtol=1e-6)


def test_another_system_and_too_many_lines_are_refused() -> None:
    one = network(nearest_run)
    with pytest.raises(InvalidInput, match="monoclinic"):
        one.probabilities("mP", np.ones((1, 4)), np.ones((1, 20)))
    with pytest.raises(InvalidInput, match=f"first {N_PEAKS}"):
        one.probabilities("oP", true_x("oP")[None], np.ones((1, N_PEAKS + 1)))
    with pytest.raises(InvalidInput, match=r"orthorhombic 0\.05"):
        together([one]).network("oP", "0.01")


def loaded(**changes: Any) -> Any:
    parameters = {"system": "cubic", "level": "0.05", "hkl": [[0, 0, 1], [0, 1, 1]], "epsilon": EPSILON, "n_peaks": 10}
    family = changes.pop("family", FAMILY)
    return SimpleNamespace(
        name="indexing-indices-cubic",
        manifest=SimpleNamespace(family=family),
        parameters=parameters | changes,
        run=nearest_run,
    )


def test_a_loaded_version_becomes_its_network() -> None:
    found = from_model(loaded())
    assert (found.system, found.level, found.n_peaks, found.epsilon) == ("cubic", "0.05", 10, EPSILON)
    np.testing.assert_array_equal(found.design, [[1], [2]])
    assert found.run is nearest_run


@pytest.mark.parametrize("changes", [{"hkl": [[0, 0, 1]]}, {"epsilon": 0.0}, {"hkl": "all"}, {"n_peaks": None}])
def test_a_version_with_unfit_parameters_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelRefused):
        from_model(loaded(**changes))


def test_a_version_of_another_family_is_refused() -> None:
    with pytest.raises(InvalidInput, match="waveform"):
        from_model(loaded(family="waveform/posterior"))
