"""What may be declared, and how a radius in nm becomes one in object pixels."""

from __future__ import annotations

import numpy as np
import pytest

from app.aggregates.features import disc_intensity
from app.aggregates.setting import TRANSFORM_PX, Setting, radius_px_from_geometry
from app.errors import InvalidInput


@pytest.mark.parametrize(
    "wrong",
    [
        {"radius_px": 0.0},
        {"radius_px": float("nan")},
        {"radius_px": float("inf")},
        {"beam_stop_px": -1.0},
        {"beam_stop_px": 32.0},
        {"particle": "cube"},
        {"full_well": 0.0},
        {"background": -0.1},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(InvalidInput):
        Setting(**wrong)


def test_the_first_dark_ring_lies_where_optics_puts_it() -> None:
    """A disc's first dark ring is at the angle 1.22 wavelength / diameter (Airy)."""
    geometry = {"wavelength_nm": 1.0, "distance_mm": 500.0, "pixel_mm": 0.3}
    radius_px = radius_px_from_geometry(radius_nm=65.0, **geometry)
    pixels = 1.2197 * geometry["wavelength_nm"] / 130.0 * geometry["distance_mm"] / geometry["pixel_mm"]
    assert disc_intensity(np.array([pixels / TRANSFORM_PX * radius_px]))[0] == pytest.approx(0.0, abs=1e-8)


def test_lengths_must_be_positive() -> None:
    with pytest.raises(InvalidInput, match="distance_mm"):
        radius_px_from_geometry(radius_nm=50.0, wavelength_nm=1.0, distance_mm=0.0, pixel_mm=0.1)
