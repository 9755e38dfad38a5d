"""Pictures hold what they should, from any thread and for any answer."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from app.crystallography import bragg
from app.indexing.patterns.pattern import make_pattern
from app.indexing.patterns.peak_search import PeakSearch, search_peaks
from app.indexing.problem import PeakList
from app.plots.indexing import cell_text, drawn_search, drawn_solution, index_text, search_figure, solution_figure
from tests import indexing_results as answers
from tests.indexing.patterns.pattern_maker import Instrument, counted, expected, sloping


@pytest.fixture(scope="module")
def search() -> PeakSearch:
    instrument = Instrument(low=15, high=90)
    q2 = answers.peaks().q2_inv_ang2
    lines = bragg.two_theta_from_q2(q2_inv_ang2=q2, wavelength_ang=answers.WAVELENGTH_ANG)
    mean = expected(instrument, lines, 4000 / (1 + np.arange(len(lines))), sloping(instrument))
    return search_peaks(counted(np.random.default_rng(0), instrument, mean, name="LaB6"))


def texts(ax: Axes) -> set[str]:
    return {text.get_text() for text in ax.texts}


def test_a_picture_of_a_search_is_a_png_or_an_svg(search: PeakSearch) -> None:
    assert imread(io.BytesIO(drawn_search(search, "png"))).shape[1] == 1500
    svg = drawn_search(search, "svg").decode()
    assert "<svg" in svg
    assert "LaB6 · 11 lines" in svg
    assert drawn_search(search, "svg").decode() == svg


def test_each_line_is_marked_with_its_angle(search: PeakSearch) -> None:
    (ax,) = search_figure(search).axes
    marks = np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() == "v"])
    assert np.sort(marks) == pytest.approx(search.two_theta_deg)
    assert f"{search.two_theta_deg[0]:.2f}" in texts(ax)


@pytest.mark.parametrize("form", ["png", "svg"])
@pytest.mark.parametrize("over", ["nothing", "pattern", "search"])
@pytest.mark.parametrize("wavelength_ang", [None, answers.WAVELENGTH_ANG])
def test_a_picture_of_solutions(search: PeakSearch, form: str, over: str, wavelength_ang: float | None) -> None:
    content = drawn_solution(
        answers.result(wavelength_ang=wavelength_ang),
        answers.peaks(wavelength_ang),
        form,  # type: ignore[arg-type]
        search={"nothing": None, "pattern": search.pattern, "search": search}[over],
        name="run 1",
    )
    assert content.startswith(b"\x89PNG" if form == "png" else b"<?xml")


def test_indices_ticks_differences_and_the_impurity_are_in_the_picture() -> None:
    upper, ticks, lower = solution_figure(answers.result(), answers.peaks(), name="run 1").axes
    assert {"100", "110", "311"} <= texts(upper)
    assert upper.get_title(loc="left") == "run 1 · cP · M11 = 187.4 · 10/11 lines · confidence 97%\n" + cell_text(
        answers.solution()
    )
    crosses = [line for line in upper.lines if line.get_marker() == "X"]
    assert [len(np.atleast_1d(line.get_xdata())) for line in crosses] == [1]
    assert [label.get_text() for label in ticks.get_yticklabels()] == ["1. cP  M 187", "2. mC  M 22"]
    (points,) = [line for line in lower.lines if line.get_marker() == "o"]
    assert len(points.get_xdata()) == 10
    assert np.max(np.abs(points.get_ydata())) < 10


def test_predicted_ticks_stand_under_the_lines() -> None:
    peaks = answers.peaks()
    ticks = solution_figure(answers.result(), peaks).axes[1]
    predicted = np.array([segment[0][0] for segment in ticks.collections[0].get_segments()])
    lines = bragg.two_theta_from_q2(q2_inv_ang2=peaks.q2_inv_ang2, wavelength_ang=answers.WAVELENGTH_ANG)
    nearest = np.abs(lines[:, None] - predicted[None, :]).min(axis=1)
    assert np.count_nonzero(nearest < 0.01) == 10


def test_no_solution_is_a_picture_too() -> None:
    nothing = replace(answers.result(), solutions=(), stopped="deadline")
    fig = solution_figure(nothing, answers.peaks())
    assert fig.axes[0].get_title(loc="left") == "no cell found (deadline)"
    assert drawn_solution(nothing, answers.peaks(), "png")


def test_a_pattern_without_lines_is_a_picture_too() -> None:
    x = np.arange(10, 40, 0.02)
    flat = search_peaks(make_pattern(x, np.random.default_rng(0).poisson(50, len(x)).astype(float)))
    assert drawn_search(flat, "png")


def test_lines_without_intensities_or_with_hostile_names() -> None:
    peaks = replace(answers.peaks(), intensity=None)
    svg = drawn_solution(answers.result(), peaks, "svg", name="<script>$x^{$</script>" * 20).decode()
    assert "<script>" not in svg


def test_a_line_out_of_the_reach_of_the_wavelength_is_left_out() -> None:
    peaks = answers.peaks()
    far = PeakList(np.append(peaks.q2_inv_ang2, 1.6), None, None, answers.WAVELENGTH_ANG)
    assert drawn_solution(answers.result(), far, "png")


@pytest.mark.parametrize(
    ("hkl", "text"), [((1, 0, 2), "102"), ((-1, 1, 2), "1\u030512"), ((10, 0, -2), "10 0 2\u0305")]
)
def test_indices(hkl: tuple[int, int, int], text: str) -> None:
    assert index_text(hkl) == text


def test_the_cell_in_words() -> None:
    assert cell_text(answers.solution()) == "a = 4.1569(2) Å   V = 71.8 Å³"
    assert cell_text(answers.rival()).startswith("a = 4.1569(11) Å   b = 5.879(2) Å   c = 8.314(3) Å   β = 97.25(2)°")


def test_threads_draw_the_same(search: PeakSearch) -> None:
    with ThreadPoolExecutor(3) as pool:
        pictures = list(pool.map(lambda _: drawn_solution(answers.result(), answers.peaks(), "svg"), range(3)))
    assert len(set(pictures)) == 1
