"""Whatever way the positions come, the lines are the same; what makes no sense is told by its field."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from app.errors import AppError, InvalidInput, TooLarge
from app.indexing.peaks import MAX_LINES, Given, KindName, peak_list
from app.indexing.question import ask, question_content, question_from_content, solve_options

D = np.array([4.157, 2.939, 2.400, 2.078, 1.859, 1.697, 1.470, 1.386])
WAVELENGTH = 1.5406


def positions(kind: KindName, d: np.ndarray = D) -> np.ndarray:
    """The naive formulas."""
    return {
        "d_ang": d,
        "q_inv_ang": 1 / d,
        "q_2pi_inv_ang": 2 * np.pi / d,
        "q2_inv_ang2": 1 / d**2,
        "two_theta_deg": np.degrees(2 * np.arcsin(WAVELENGTH / 2 / d)),
    }[kind]


def field_of(error: AppError) -> list[Any]:
    return error.details["field"]  # type: ignore[return-value]


KINDS: list[KindName] = ["d_ang", "q_inv_ang", "q_2pi_inv_ang", "q2_inv_ang2", "two_theta_deg"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_the_same(kind: KindName) -> None:
    peaks, warnings = peak_list(Given(kind, positions(kind).tolist(), wavelength_ang=WAVELENGTH))
    np.testing.assert_allclose(peaks.q2_inv_ang2, D**-2, rtol=1e-12)
    assert warnings == ()
    assert peaks.wavelength_ang == WAVELENGTH
    assert peaks.sigma_q2_inv_ang2 is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_sigma_is_what_a_small_step_does(kind: KindName) -> None:
    x, step = positions(kind), 1e-5
    peaks, _ = peak_list(Given(kind, x, sigma=step, wavelength_ang=WAVELENGTH))
    moved, _ = peak_list(Given(kind, x + step, wavelength_ang=WAVELENGTH))
    assert peaks.sigma_q2_inv_ang2 is not None
    np.testing.assert_allclose(peaks.sigma_q2_inv_ang2, abs(moved.q2_inv_ang2 - peaks.q2_inv_ang2), rtol=1e-3)


@drawn(st.permutations(range(len(D))))
def test_the_order_of_the_lines_says_nothing(order: list[int]) -> None:
    intensity, sigma = np.arange(len(D)) + 1.0, np.arange(len(D)) * 1e-4 + 1e-4
    straight, _ = peak_list(Given("d_ang", D, sigma, intensity))
    shuffled, _ = peak_list(Given("d_ang", D[order], sigma[order], intensity[order]))
    for name in ("q2_inv_ang2", "sigma_q2_inv_ang2", "intensity"):
        np.testing.assert_array_equal(getattr(straight, name), getattr(shuffled, name))


def test_duplicates_are_one_line_and_are_told() -> None:
    twice = np.append(D, D[[2, 5]])
    intensity = np.append(np.ones(len(D)), [3.0, 0.5])
    sigma = np.append(np.full(len(D), 2e-4), [1e-4, 3e-4])
    peaks, (warning,) = peak_list(Given("d_ang", twice, sigma, intensity))
    np.testing.assert_allclose(peaks.q2_inv_ang2, D**-2)
    assert peaks.intensity is not None
    np.testing.assert_array_equal(peaks.intensity, [1, 1, 3, 1, 1, 1, 1, 1])
    assert peaks.sigma_q2_inv_ang2 is not None
    np.testing.assert_allclose(peaks.sigma_q2_inv_ang2 * D**3 / 2e-4, [2, 2, 1, 2, 2, 2, 2, 2])
    assert "more than once" in warning
    assert "2.4000, 1.6970" in warning


def test_close_lines_stay_two() -> None:
    two_theta = np.append(positions("two_theta_deg"), positions("two_theta_deg")[3] + 0.01)
    peaks, warnings = peak_list(Given("two_theta_deg", two_theta, wavelength_ang=WAVELENGTH))
    assert len(peaks.q2_inv_ang2) == len(D) + 1
    assert warnings == ()


TWO_THETA = positions("two_theta_deg")
WRONG: dict[str, tuple[Given, list[Any], str]] = {
    "five lines": (Given("d_ang", D[:5]), ["d_ang"], "5 lines; indexing needs at least 6"),
    "no line": (Given("q_inv_ang", []), ["q_inv_ang"], "0 lines"),
    "six lines of which two are one": (Given("d_ang", [*D[:5], D[0]]), ["d_ang"], "6 lines, 5 without duplicates"),
    "NaN": (Given("d_ang", [*D, math.nan]), ["d_ang", 8], "finite"),
    "infinity": (Given("d_ang", [math.inf, *D]), ["d_ang", 0], "finite"),
    "negative": (Given("q_inv_ang", [*D[:3], -1.0, *D[3:]]), ["q_inv_ang", 3], "greater than 0"),
    "zero": (Given("q2_inv_ang2", [0.0, *D]), ["q2_inv_ang2", 0], "greater than 0"),
    "180 degrees": (Given("two_theta_deg", [*TWO_THETA, 180.0], wavelength_ang=1.5), ["two_theta_deg", 8], "180"),
    "no wavelength": (Given("two_theta_deg", TWO_THETA), ["wavelength_ang"], "without the wavelength"),
    "wavelength of zero": (Given("d_ang", D, wavelength_ang=0.0), ["wavelength_ang"], "above 0"),
    "wavelength too long": (Given("d_ang", D, wavelength_ang=3.0), ["wavelength_ang"], "at most 2.7720"),
    "too few sigmas": (Given("d_ang", D, sigma=[0.1] * 7), ["sigma_d_ang"], "7 values for 8 lines"),
    "sigma of zero": (Given("d_ang", D, sigma=[0.1] * 7 + [0.0]), ["sigma_d_ang", 7], "greater than 0"),
    "one sigma of zero": (Given("q_inv_ang", 1 / D, sigma=0.0), ["sigma_q_inv_ang", 0], "greater than 0"),
    "too many intensities": (Given("d_ang", D, intensity=[1.0] * 9), ["intensity"], "9 values for 8 lines"),
    "negative intensity": (Given("d_ang", D, intensity=[1.0] * 7 + [-1.0]), ["intensity", 7], "negative"),
    "a spacing out of reach": (Given("d_ang", [*D, 1e300]), ["d_ang", 8], "between 0.01 and 100000"),
    "q^2 out of reach": (Given("q2_inv_ang2", [1e300, *D]), ["q2_inv_ang2", 0], "between 0.01 and 100000"),
    "a sigma above its position": (Given("d_ang", D, sigma=3.0), ["sigma_d_ang", 1], "less than the position"),
    "an intensity out of reach": (Given("d_ang", D, intensity=[1e300] * 8), ["intensity", 0], "at most 1e+30"),
    "a table": (Given("d_ang", np.ones((3, 3))), ["d_ang"], "list of numbers"),
    "d in nm": (Given("d_ang", D / 10), ["d_ang"], "nm? d_ang is in Angstrom: multiply them by 10"),
    "q in 1/nm": (Given("q_inv_ang", 10 / D), ["q_inv_ang"], "divide them by 10"),
    "Q = 2 pi/d as q": (Given("q_inv_ang", 2 * np.pi / D), ["q_inv_ang"], "q_2pi_inv_ang"),
    "wavelength in nm": (
        Given("two_theta_deg", TWO_THETA, wavelength_ang=WAVELENGTH / 10),
        ["wavelength_ang"],
        "is the wavelength in nm?",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_by_its_field(name: str) -> None:
    given, field, hint = WRONG[name]
    with pytest.raises(InvalidInput) as caught:
        peak_list(given)
    assert field_of(caught.value) == field
    assert caught.value.message.startswith(".".join(map(str, field)) + ": ")
    assert hint in caught.value.message


def test_too_many_lines_are_too_large() -> None:
    with pytest.raises(TooLarge):
        peak_list(Given("d_ang", np.linspace(1.6, 30, MAX_LINES + 1)))


def test_no_crystal_is_refused_for_its_unit() -> None:
    """Diamond has the fewest atoms' volume of all: its largest spacing is far above the bound."""
    n = np.array([3, 8, 11, 16, 19, 24])
    _, warnings = peak_list(Given("d_ang", 3.567 / n**0.5))
    assert warnings == ()


def test_lines_of_a_large_cell_in_nm_are_doubted() -> None:
    """A cube of 22 Angstrom, in nm: its first d, 2.2, could be in Angstrom, but only of a metal."""
    n = np.array([i for i in range(1, 23) if i not in (7, 15)])
    _, (warning,) = peak_list(Given("d_ang", 2.2 / n**0.5))
    assert "multiply them by 10" in warning
    assert peak_list(Given("d_ang", 22.0 / n**0.5))[1] == ()


# --- questions --------------------------------------------------------------------------------------------------------


def test_no_zero_shift_is_looked_for_without_a_wavelength() -> None:
    assert ask(Given("d_ang", D), {}).options.zero_shift_deg == 0.0
    assert ask(Given("d_ang", D, wavelength_ang=1.5), {}).options.zero_shift_deg > 0.0
    assert ask(Given("d_ang", D), {"zero_shift_deg": 0.0}).options.zero_shift_deg == 0.0
    with pytest.raises(InvalidInput) as caught:
        ask(Given("d_ang", D), {"zero_shift_deg": 0.1})
    assert field_of(caught.value) == ["zero_shift_deg"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"max_seconds": 0.0}, ["max_seconds"]),
        ({"max_seconds": math.nan}, ["max_seconds"]),
        ({"max_peaks": 5}, ["max_peaks"]),
        ({"max_impurities": -1}, ["max_impurities"]),
        ({"lattices": ("cF", "xX")}, ["lattices", 1]),
        ({"lattices": ()}, ["lattices"]),
        ({"device": "tpu"}, ["device"]),
        ({"min_length_ang": 20.0, "max_length_ang": 10.0}, ["max_length_ang"]),
        ({"max_lenght_ang": 10.0}, ["max_lenght_ang"]),
    ],
)
def test_options_out_of_reason_are_refused(changes: dict[str, Any], field: list[Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        solve_options(changes)
    assert field_of(caught.value) == field


def test_lattices_have_one_order() -> None:
    assert solve_options({"lattices": ["aP", "cF", "aP"]}).lattices == ("cF", "aP")


def test_lines_beyond_the_longest_axis_are_told_or_refused() -> None:
    long = Given("d_ang", [*D, 60.0])
    (warning,) = ask(long, {}).warnings
    assert "max_length_ang" in warning
    assert ask(long, {"max_length_ang": 70.0}).warnings == ()
    with pytest.raises(InvalidInput) as caught:
        ask(Given("d_ang", D * 100), {})  # in pm
    assert field_of(caught.value) == ["d_ang"]
    assert "max_length_ang" in caught.value.message


def test_a_question_survives_its_way_to_the_worker() -> None:
    given = Given("two_theta_deg", TWO_THETA, 0.01, np.ones(8), WAVELENGTH)
    question = ask(given, {"lattices": ["cP", "tP"], "seed": 3, "max_impurities": 2}, name="LaB6")
    back = question_from_content(
        orjson.loads(orjson.dumps(question_content(question), option=orjson.OPT_SERIALIZE_NUMPY))
    )
    assert (back.options, back.name, back.warnings) == (question.options, question.name, question.warnings)
    for name, value in vars(question.peaks).items():
        np.testing.assert_array_equal(getattr(back.peaks, name), value)
