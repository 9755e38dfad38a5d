"""What 'Try it out' sends: lines computed from published cells; a test indexes each of them."""

from __future__ import annotations

from typing import Any, Final

_LAB6: Final = [
    21.358, 30.385, 37.442, 43.507, 48.958, 53.989, 63.219, 67.548, 71.746, 75.844,
    79.87, 83.846, 87.792, 95.672, 99.643, 103.661, 107.749, 111.934, 116.245, 120.723,
]  # fmt: skip
_QUARTZ: Final = [
    4.2551, 3.3434, 2.4567, 2.2813, 2.2365, 2.1276, 1.9797, 1.8179, 1.8017, 1.6717,
    1.6591, 1.6083, 1.5415, 1.4529, 1.4184, 1.3821, 1.3749, 1.3719, 1.2879, 1.2559,
]  # fmt: skip
_CORUNDUM: Final = [
    0.28735, 0.392, 0.42027, 0.46183, 0.47952, 0.50911, 0.57471, 0.62442, 0.64656, 0.66017,
    0.66185, 0.71198, 0.72792, 0.74849, 0.78401, 0.80705, 0.81025, 0.83811, 0.84053, 0.86206,
]  # fmt: skip
_RUTILE: Final = [
    27.436, 36.08, 39.19, 41.239, 44.043, 54.32, 56.626, 62.758, 64.047, 65.51,
    69.004, 69.802, 72.418, 74.4, 76.538, 79.831, 82.336, 84.249, 87.48, 89.55,
]  # fmt: skip

_ZERO_SHIFT_DEG: Final = 0.04
_IMPURITY_DEG: Final = 33.512
_RUTILE_MEASURED: Final = sorted([round(line + _ZERO_SHIFT_DEG, 3) for line in _RUTILE[:-1]] + [_IMPURITY_DEG])

EXAMPLES: Final[dict[str, Any]] = {
    "2theta": {
        "summary": "Lanthanum hexaboride, copper radiation: 2theta with the wavelength, all lattices",
        "value": {"name": "LaB6", "two_theta_deg": _LAB6, "wavelength_ang": 1.540593, "max_seconds": 5.0},
    },
    "d": {
        "summary": "Quartz: spacings d with one standard deviation for all",
        "value": {"name": "quartz", "d_ang": _QUARTZ, "sigma_d_ang": 0.0004, "max_seconds": 5.0},
    },
    "q, some lattices": {
        "summary": "Corundum: q = 1/d, searched in three lattices only",
        "value": {"name": "corundum", "q_inv_ang": _CORUNDUM, "lattices": ["hR", "hP", "tI"], "max_length_ang": 20.0},
    },
    "imperfect": {
        "summary": "Rutile with a zero shift of 0.04 deg and one line of another phase",
        "value": {
            "name": "rutile, as measured",
            "two_theta_deg": _RUTILE_MEASURED,
            "sigma_two_theta_deg": 0.01,
            "wavelength_ang": 1.540593,
            "zero_shift_deg": 0.1,
            "max_impurities": 2,
            "max_seconds": 5.0,
        },
    },
}

BATCH_EXAMPLES: Final[dict[str, Any]] = {
    "two patterns": {
        "summary": "Two patterns in one call",
        "value": {
            "patterns": [
                {"name": "LaB6", "two_theta_deg": _LAB6, "wavelength_ang": 1.540593},
                {"name": "quartz", "d_ang": _QUARTZ},
            ],
            "lattices": ["cP", "hP"],
            "max_seconds": 5.0,
        },
    }
}

PUBLISHED: Final = {
    "LaB6": ("cP", 4.15689, 4.15689),
    "quartz": ("hP", 4.9134, 5.4052),
    "corundum": ("hR", 4.7589, 12.9919),
    "rutile, as measured": ("tP", 4.5937, 2.9587),
}
"""Bravais lattice, a and c [Angstrom] of each example by its name."""
