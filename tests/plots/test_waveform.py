"""The picture shows the record, its pulses where they are, and what is said of it."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from app.errors import TooLarge
from app.plots.waveform import MAX_PANELS, drawn, figure
from app.waveform.features import SAMPLES
from app.waveform.models import waveform_model
from app.waveform.predict import Ask, predict
from tests.waveform_fakes import light, recorded, width_model

MODEL = waveform_model(width_model())


def picture(waveforms: np.ndarray, names: list[int] | None = None) -> Figure:
    ask = Ask(waveforms, with_parts=True)
    return figure(ask, predict(ask, MODEL), names or list(range(len(waveforms))))


def lines(drawn_figure: Figure, panel: int = 0) -> dict[str, np.ndarray]:
    return {str(line.get_label()): line.get_xydata() for line in drawn_figure.axes[panel].lines}  # type: ignore[misc]


def test_the_pulses_add_up_to_the_record() -> None:
    waveform = light(4.0, share=0.4) + 7.0
    found = lines(picture(waveform[None]))
    np.testing.assert_allclose(found["waveform"][:, 1], waveform)
    assert np.abs(found["together"][:, 1] - waveform).max() < 0.1 * light(4.0, share=0.4).max()


def test_a_negative_pulse_is_drawn_as_it_was_sent() -> None:
    waveform = 500.0 - light(4.0)
    found = lines(picture(waveform[None]))
    np.testing.assert_allclose(found["waveform"][:, 1], waveform)
    assert found["together"][:, 1].min() == pytest.approx(waveform.min(), abs=5.0)
    assert found["together"][:, 1].max() == pytest.approx(500.0, abs=1.0)


def test_titles_tell_number_probability_separation_and_warnings() -> None:
    waveforms = np.concatenate([recorded(5.0), recorded(0.0), np.zeros((1, SAMPLES))])
    found = picture(waveforms, [4, 7, 9])
    two, one, none = [ax.get_title(loc="left") for ax in found.axes]
    assert re.fullmatch(r"waveform 4 · 2 S2s · p\(two\) = 1\.000 · d = (4\.9|5\.0)\d ± 0\.\d\d µs", two)
    assert one.startswith("waveform 7 · 1 S2 ·")
    assert one.endswith("if two")
    assert none == "waveform 9 · no S2\nempty"
    assert [len(ax.collections) for ax in found.axes] == [2, 1, 0]


@pytest.mark.parametrize("n", [1, 2, 5, MAX_PANELS])
def test_there_is_a_panel_for_each_waveform(n: int) -> None:
    assert len(picture(recorded(2.0, n=n)).axes) == n


def test_more_than_a_picture_holds_is_refused() -> None:
    with pytest.raises(TooLarge):
        picture(recorded(2.0, n=MAX_PANELS + 1))


def test_the_same_question_gives_the_same_bytes() -> None:
    ask = Ask(recorded(3.0), with_parts=True)
    answered = predict(ask, MODEL)
    for form in ("png", "svg"):
        assert drawn(ask, answered, [0], form) == drawn(ask, answered, [0], form)
    with Image.open(io.BytesIO(drawn(ask, answered, [0], "png"))) as image:
        assert image.size == (960, 570)
