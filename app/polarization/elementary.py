"""Elementary functions of plain numbers as well as of arrays.

One experiment is a handful of numbers, and NumPy takes ten times longer for one number than the standard library does.
Equations that are written with these functions hold for both, and differ by no more than the last digit.

Beside speed there is one difference: where NumPy gives an infinity or NaN, plain numbers raise an `ArithmeticError` or
a `ValueError`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

Numbers = float | Float[np.ndarray, "..."]
"""A plain number, or an array of any shape; arguments broadcast against each other."""


def _either(plain: Callable[[float], float], array: Callable[..., Any]) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        return plain(x) if type(x) is float else array(x)

    function.__doc__ = plain.__doc__
    return function


exp = _either(math.exp, np.exp)
log = _either(math.log, np.log)
sqrt = _either(math.sqrt, np.sqrt)
tanh = _either(math.tanh, np.tanh)
cosh = _either(math.cosh, np.cosh)
arctanh = _either(math.atanh, np.arctanh)
arcsinh = _either(math.asinh, np.arcsinh)


def hypot(x: Any, y: Any) -> Any:
    """Give sqrt(x^2 + y^2)."""
    return math.hypot(x, y) if type(x) is float and type(y) is float else np.hypot(x, y)


def held(x: Any, lowest: float, highest: float) -> Any:
    """Hold x between two bounds."""
    return min(max(x, lowest), highest) if type(x) is float else np.minimum(np.maximum(x, lowest), highest)


def largest(values: Any) -> float:
    """Give the largest of an array, or NaN where it holds one; five times faster than `max` on a hundred numbers."""
    return values if type(values) is float else values.item(values.argmax())


def smallest(values: Any) -> float:
    """Give the smallest of an array, or NaN where it holds one."""
    return values if type(values) is float else values.item(values.argmin())
