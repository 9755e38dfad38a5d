"""Plain numbers and arrays give the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.polarization import elementary
from app.polarization.elementary import held, hypot, largest, smallest

NUMBERS = [1e-3, 0.2, 0.5, 0.75, 0.999]


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh", "cosh", "arctanh", "arcsinh"])
def test_a_function_of_one_number_is_that_of_an_array(name: str) -> None:
    function: Callable[[Any], Any] = getattr(elementary, name)
    plain = [function(x) for x in NUMBERS]
    assert all(type(value) is float for value in plain)
    assert function(np.array(NUMBERS)) == pytest.approx(plain, rel=1e-14)


def test_functions_of_two_numbers() -> None:
    assert hypot(3.0, 4.0) == 5.0
    assert hypot(np.array([3.0, 6.0]), np.array([4.0, 8.0])).tolist() == [5.0, 10.0]
    assert hypot(3.0, np.array([4.0])).tolist() == [5.0]
    assert [held(x, 0.0, 1.0) for x in (-2.0, 0.5, 2.0)] == [0.0, 0.5, 1.0]
    assert held(np.array([-2.0, 0.5, 2.0]), 0.0, 1.0).tolist() == [0.0, 0.5, 1.0]


def test_the_ends_of_an_array_of_any_shape() -> None:
    values = np.array([[3.0, -1.0], [7.0, 2.0]])
    assert (smallest(values), largest(values)) == (-1.0, 7.0)
    assert (smallest(np.array(2.0)), largest(2.0)) == (2.0, 2.0)
    assert math.isnan(largest(np.array([1.0, math.nan])))
    assert math.isnan(smallest(np.array([1.0, math.nan])))
