"""A picture shows what was predicted, whoever draws beside it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import numpy as np
import pytest
from matplotlib.axes import Axes

from app.errors import TooLarge
from app.plots.polarization import MAX_PANELS, drawn, figure
from app.polarization.case import Case, Solved, UsedModel
from app.polarization.experiment import Calibration
from app.polarization.models import polarization_model
from app.polarization.predict import Ask, predict
from tests.polarization_models import CELLS, FINAL, INITIAL, anchored_model

MEASURED = (Calibration(30_000.0, 0.83, 0.003), Calibration(60_000.0, 0.81, 0.003))


def solved(*, name: str = "Si", zero: datetime | None = None, threshold: float | None = None) -> Solved:
    ask = Ask(
        material="crystalline",
        polarizer=CELLS["crystalline"][0],
        analyser=None,
        lab_time_s=-1_800.0,
        initial=INITIAL,
        final=FINAL,
        time_s=np.array([86_400.0, 0.0, 40_000.0]),
        threshold=threshold,
    )
    (answer,) = predict([ask], [polarization_model(anchored_model())])
    return Solved(Case(name, ask, zero, measured=MEASURED), answer, (UsedModel("polarization-crystalline", 1, None),))


def labels(axes: Axes) -> set[str]:
    return {text.get_text() for text in axes.get_legend().get_texts()}  # type: ignore[union-attr]


def test_a_panel_shows_curve_bands_calibrations_points_and_threshold() -> None:
    (axes,) = figure([solved(threshold=0.75)]).axes
    shown = {"predicted", "1σ", "2σ", "calibrations", "measured", "³He decay alone", "P = 0.75"}
    assert labels(axes) == shown
    assert "T₁" in axes.get_title(loc="left")
    assert "[h]" in axes.get_xlabel()


def test_the_curve_is_drawn_in_order_of_time_in_hours() -> None:
    one = solved()
    (axes,) = figure([one]).axes
    curve = next(line for line in axes.lines if line.get_label() == "predicted")
    assert np.asarray(curve.get_xdata()) == pytest.approx(np.array([0.0, 40_000.0, 86_400.0]) / 3_600)
    assert np.asarray(curve.get_ydata()) == pytest.approx(one.answered.curve.mean[[1, 2, 0]])


def test_dates_are_on_the_axis_where_they_are_known() -> None:
    (axes,) = figure([solved(zero=datetime(2030, 5, 4, 10))]).axes  # noqa: DTZ001 local time of the instrument
    assert axes.get_xlabel() == "local time of the instrument"


def test_several_decays_are_panels_of_a_bounded_number() -> None:
    assert len(figure([solved()] * 5).axes) == 5
    with pytest.raises(TooLarge, match="at most"):
        figure([solved()] * (MAX_PANELS + 1))


def test_a_label_is_text_and_never_markup() -> None:
    content = drawn([solved(name=r"$\frac{a}$ <script> _^")], "svg").decode()
    assert "<script>" not in content
    assert r"$\frac{a}$" in content


def test_threads_draw_the_same_picture() -> None:
    one = solved()
    with ThreadPoolExecutor(4) as pool:
        pictures = set(pool.map(lambda _: drawn([one], "png"), range(8)))
    assert len(pictures) == 1
