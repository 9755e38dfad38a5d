"""A picture shows each pattern beside its probabilities."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.patches import Circle

from app.aggregates.features import disc_intensity, sphere_intensity
from app.aggregates.intake import prepare
from app.aggregates.measurement import Measurement
from app.aggregates.predict import predict
from app.errors import TooLarge
from app.plots.aggregates import FIRST_DARK_RING, MAX_PANELS, Panel, drawn, figure, panels_of
from tests.aggregates.fake_model import FormulaModel


def panels(count: int, *, scale: float = 1.0) -> list[Panel]:
    images = scale * np.random.default_rng(1).poisson(4.0, (count, 64, 64))
    mask = np.ones((64, 64), bool)
    mask[30:34, 20:40] = False
    prepared = prepare(images, mask, np.array([32.0, 32.0]), Measurement(radius_px=5.0, beam_stop_px=3.0))
    return panels_of(prepared, predict(prepared, FormulaModel()), [f"pattern {i}" for i in range(count)])


def shown(ax: Any) -> Any:
    return ax.images[0].get_array()


def test_a_panel_shows_the_pattern_its_mask_and_its_probabilities() -> None:
    (panel,) = panels(1)
    pattern, bars, _ = figure([panel]).axes
    assert np.array_equal(shown(pattern).mask, ~panel.seen)
    bright = panel.seen & (panel.counts > 0)
    assert np.array_equal(shown(pattern).data[bright], panel.counts[bright])
    widths = [patch.get_width() for patch in bars.patches]
    assert widths == pytest.approx(panel.answer.probability)
    assert bars.get_title(loc="left").startswith(str(panel.answer.count))


def test_the_ring_is_where_the_form_factor_is_dark() -> None:
    for particle, intensity in (("disc", disc_intensity), ("sphere", sphere_intensity)):
        dark = FIRST_DARK_RING[particle]  # type: ignore[index]
        assert intensity(np.array([dark])) < 1e-9
        assert (intensity(np.linspace(0.05, dark - 0.01, 50)) > 1e-6).all()
    (panel,) = panels(1)
    (ring,) = [patch for patch in figure([panel]).axes[0].patches if isinstance(patch, Circle)]
    assert ring.radius * panel.setting.radius_px / 128 == pytest.approx(FIRST_DARK_RING["disc"])


def test_why_nothing_is_said_stands_in_the_picture() -> None:
    (panel,) = panels(1, scale=1000.0)
    content = drawn([panel], "svg").decode()
    assert "not said" in content
    assert "too bright by far" in content


def test_an_empty_pattern_can_be_drawn() -> None:
    (panel,) = panels(1, scale=0.0)
    assert drawn([panel], "png").startswith(b"\x89PNG")
    assert drawn([replace(panel, seen=np.zeros((64, 64), bool))], "png").startswith(b"\x89PNG")


def test_a_limit_of_panels() -> None:
    assert len(figure(panels(MAX_PANELS)).subfigs) == MAX_PANELS
    with pytest.raises(TooLarge, match="at most 12"):
        figure(panels(MAX_PANELS + 1))


def test_the_same_answers_give_the_same_picture_in_threads() -> None:
    several = panels(2)
    with ThreadPoolExecutor(3) as threads:
        pictures = threads.map(lambda _: drawn(several, "svg"), range(3))
    # Names of clip paths hang on the last bit of a coordinate, which the layout does not promise.
    contents = {re.sub(rb"p[0-9a-f]{10}", b"", picture) for picture in pictures}
    assert len(contents) == 1
