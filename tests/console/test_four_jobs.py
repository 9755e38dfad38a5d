"""Each of the four jobs from a file to its picture and its numbers, in a real browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import REPOSITORY, Tab

EXAMPLES = REPOSITORY / "app" / "static" / "console" / "examples"
FOUND = {
    "polarization": ("decay.fli", r"P = 0\.818 → 0\.687", "falls under 0.7 at 2024-02-02"),
    "waveform": ("two-s2.npy", r"Two S2s", "µs"),
    "aggregates": ("three-discs.npy", r"3 particles", "probability"),
    "indexing": ("quartz.xy", r"hP 4\.91\d 4\.91\d 5\.40\d Å 90 90 120°", "lines, M20"),
}
"""For each job its example, and what the headline and the line under it say of it."""


def picture(page: Page) -> None:
    """Wait until the picture is drawn; it has a text in place of it for those who do not see it."""
    image = page.locator(".picture img")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.naturalWidth") > 300
    assert len(image.get_attribute("alt") or "") > 20


@pytest.mark.parametrize("task", FOUND)
def test_an_example_is_one_click_away_from_its_picture_and_its_numbers(tab: Tab, task: str) -> None:
    page, (_, headline, lead) = tab.page, FOUND[task]
    page.click(f"[data-example={task}]")
    expect(page.locator(".headline h2")).to_have_text(re.compile(headline))
    expect(page.locator(".headline .lead")).to_contain_text(lead)
    picture(page)
    expect(page.locator(".numbers table").first).to_be_visible()
    above = page.locator(".picture").bounding_box()
    below = page.locator(".numbers").bounding_box()
    assert above is not None
    assert below is not None
    assert above["y"] < below["y"]


def test_a_chosen_file_is_recognised_and_an_option_changes_the_answer(tab: Tab) -> None:
    page = tab.page
    page.set_input_files("#file", EXAMPLES / "three-discs.npy")
    expect(page.get_by_role("radio", name="Aggregates")).to_be_checked()
    expect(page.locator(".chosen")).to_contain_text("64 × 64")
    page.set_input_files("#file", EXAMPLES / "decay.fli")
    expect(page.get_by_role("radio", name="Polarization")).to_be_checked()
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".headline .lead")).not_to_contain_text("falls under")
    page.get_by_label("Threshold").fill("0.75")
    page.get_by_role("button", name="Run again").click()
    expect(page.locator(".headline .lead")).to_contain_text("falls under 0.75")


def test_a_file_is_dropped_on_the_page(tab: Tab) -> None:
    page = tab.page
    page.evaluate(
        """async address => {
            const data = new DataTransfer();
            data.items.add(new File([await (await fetch(address)).blob()], "unknown.dat"));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
        }""",
        tab.address + "static/console/examples/decay.fli",
    )
    expect(page.get_by_role("radio", name="Polarization")).to_be_checked()
    page.keyboard.press("Control+Enter")
    picture(page)


def test_lines_are_pasted_and_the_ranked_cells_have_sigma_probability_and_indices(tab: Tab) -> None:
    page = tab.page
    lines = [21.358, 30.385, 37.442, 43.507, 48.958, 53.989, 63.219, 67.548, 71.746, 75.844, 79.87, 83.846]
    page.get_by_text("or paste text").click()
    page.get_by_label("Text of a measurement").fill("\n".join(map(str, lines)))
    page.get_by_role("button", name="Use this text").click()
    expect(page.locator(".chosen")).to_contain_text("a list of 12 lines")
    page.get_by_label("Wavelength").fill("1.540593")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".headline h2")).to_have_text(re.compile(r"^cP 4\.15\d 4\.15\d 4\.15\d Å 90 90 90°"))
    first = page.get_by_role("group", name="Ranked cells").locator("tbody tr").first
    assert re.search(r"4\.15\d+\(\d+\)", first.inner_text())
    expect(page.get_by_role("group", name="Lines of cell 1").locator("tbody tr")).to_have_count(12)
    with page.expect_download() as saved:
        page.click("[data-save=cif]")
    assert saved.value.suggested_filename == "pasted.txt.cif"
    assert "_cell_length_a" in Path(saved.value.path()).read_text("utf-8")


@pytest.mark.parametrize(
    ("path", "task"),
    [("/polarization/predict", "Polarization"), ("/waveform", "Waveforms"), ("/aggregates", "Aggregates")],
)
def test_a_request_in_json_is_taken_as_it_is_and_its_options_stand_in_the_form(
    tab: Tab, tmp_path: Path, path: str, task: str
) -> None:
    page = tab.page
    openapi = page.request.get(tab.address + "openapi.json").json()
    examples = openapi["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]
    body = next(iter(examples.values()))["value"]
    request = tmp_path / "request.json"
    request.write_text(json.dumps(body), encoding="utf-8")
    page.set_input_files("#file", request)
    expect(page.get_by_role("radio", name=task)).to_be_checked()
    for option in ("waveform-drift_time_us", "aggregates-radius_px"):
        name = option.partition("-")[2]
        if name in body:
            expect(page.locator(f"#option-{option}")).to_have_value(f"{body[name]:g}")
    page.get_by_role("button", name="Run").click()
    picture(page)


def test_many_patterns_are_one_job_with_a_row_for_each(tab: Tab, tmp_path: Path) -> None:
    page = tab.page
    lines = "\n".join(f"{d}" for d in (4.157, 2.939, 2.400, 2.078, 1.859, 1.697, 1.470, 1.386))
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(lines, encoding="ascii")
    page.set_input_files("#file", [tmp_path / "a.txt", tmp_path / "b.txt"])
    page.get_by_text("Advanced options").click()
    page.get_by_label("Axis").select_option("d_ang")
    page.get_by_label("cP").check()
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".headline h2")).to_have_text("2 of 2 patterns have a cell")
    expect(page.get_by_role("group", name="Patterns").locator("tbody tr")).to_have_count(2)
