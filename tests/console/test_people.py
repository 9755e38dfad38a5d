"""What people meet: errors told kindly, the dark, the keyboard, small screens, and readers of screens."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from tests.console.conftest import Tab

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RULES: dict[str, object] = {"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"]}
CONTRAST: dict[str, object] = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}


def test_an_error_says_what_is_wrong_where_and_what_to_do(tab: Tab) -> None:
    page = tab.page
    tab.expected.append("422")
    page.click("[data-example=waveform]")
    expect(page.locator(".picture img")).to_be_visible()
    page.get_by_label("Detector").fill("nowhere")
    page.keyboard.press("Control+Enter")
    problem = page.locator(".problem")
    expect(problem.locator("h2")).to_have_text("The input is not valid")
    expect(problem).to_contain_text("there is none of that name; known are reference")
    expect(problem).to_contain_text("Correct what is named here")
    assert re.search(r"request id [0-9a-f]{32}", problem.inner_text())
    expect(page.get_by_label("Detector")).to_have_attribute("aria-invalid", "")
    expect(page.get_by_role("alert")).to_contain_text("The input is not valid")
    expect(page.get_by_label("Detector")).to_be_focused()
    page.get_by_label("Detector").fill("xenonnt")
    expect(page.get_by_label("Detector")).not_to_have_attribute("aria-invalid", "")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".headline")).to_be_visible()


def test_a_file_of_another_kind_and_a_service_that_is_away_are_told(tab: Tab) -> None:
    page = tab.page
    tab.expected += ["422", "415", "net::ERR_FAILED"]
    page.set_input_files("#file", {"name": "x.npy", "mimeType": "text/plain", "buffer": b"no array at all\n"})
    expect(page.locator(".chosen")).to_contain_text("not known here")
    page.get_by_role("radio", name="Waveforms").check()
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".problem")).to_contain_text("HTTP 4")
    page.route("**/waveform/file*", lambda route: route.abort())
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".problem h2")).to_have_text("The service does not answer")


def luminance(page: Page, selector: str) -> float:
    colour = page.locator(selector).first.evaluate("node => getComputedStyle(node).backgroundColor")
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3 / 255


def test_the_dark_is_dark_the_picture_too_and_a_choice_is_kept(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(color_scheme="dark")
    page = tab.open()
    assert luminance(page, "body") < 0.1
    page.click("[data-example=waveform]")
    expect(page.locator(".picture img")).to_be_visible()
    assert "invert" in page.locator(".picture img").evaluate("image => getComputedStyle(image).filter")
    page.get_by_role("button", name="Dark").click()
    assert luminance(page, "body") > 0.9
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert luminance(page, "body") > 0.9
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "false")


def test_everything_works_by_keyboard_alone(tab: Tab) -> None:
    page = tab.page
    press = page.keyboard.press
    press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    press("Enter")
    press("Tab")
    expect(page.locator(":focus")).to_have_id("file")
    outline = page.locator(".drop").evaluate("node => getComputedStyle(node).outlineStyle")
    assert outline == "solid"
    for _ in range(2):  # over the folded text to the jobs
        press("Tab")
    expect(page.locator(":focus")).to_have_attribute("name", "job")
    press("ArrowDown")
    press("ArrowDown")
    expect(page.get_by_role("radio", name="Waveforms")).to_be_checked()
    press("e")
    expect(page.locator(".headline h2")).to_have_text("Two S2s")
    press("4")
    expect(page.get_by_role("radio", name="Aggregates")).to_be_checked()
    press("Shift+?")
    dialog = page.get_by_role("dialog", name="Shortcuts")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Single keys work").press("Space")
    press("Escape")
    expect(dialog).to_have_count(0)
    press("m")
    expect(page.locator("#view-analyse")).to_be_visible()
    focused = page.locator(":focus")
    for _ in range(60):
        press("Tab")
        if focused.count():
            assert focused.evaluate("node => getComputedStyle(node).outlineStyle !== 'none' || node.id === 'file'")


def test_no_rule_of_accessibility_is_broken(open_tab: Callable[..., Tab]) -> None:
    # The checker itself writes markup, which the page's own policy forbids.
    page = open_tab(bypass_csp=True).open()
    broken = {"welcome": violations(page)}
    page.click("[data-example=indexing]")
    expect(page.locator(".picture img")).to_be_visible()
    page.get_by_text("Advanced options").click()
    broken["result"] = violations(page)
    page.get_by_role("link", name="Jobs").click()
    expect(page.locator("#view-jobs table")).to_be_visible()
    broken["jobs"] = violations(page)
    page.goto(page.url.partition("#")[0] + "#models/indexing-odds/1")
    expect(page.locator(".card")).to_be_visible()
    broken["models"] = violations(page)
    page.keyboard.press("Shift+?")
    broken["shortcuts"] = violations(page, "dialog")
    assert {view: found for view, found in broken.items() if found} == {}


def test_the_dark_has_contrast_too(open_tab: Callable[..., Tab]) -> None:
    page = open_tab(color_scheme="dark", bypass_csp=True).open()
    page.click("[data-example=waveform]")
    expect(page.locator(".picture img")).to_be_visible()
    assert violations(page, rules=CONTRAST) == []


def violations(page: Page, where: str | None = None, rules: dict[str, object] = RULES) -> list[str]:
    found = Axe().run(page, context=where, options=rules).response["violations"]
    return [f"{rule['id']}: {node['html'][:160]}" for rule in found for node in rule["nodes"][:3]]


def test_no_screen_scrolls_sideways_and_type_grows_with_it(open_tab: Callable[..., Tab]) -> None:
    page = open_tab(viewport={"width": 390, "height": 844}).open()
    page.click("[data-example=aggregates]")
    expect(page.locator(".picture img")).to_be_visible()
    expect(page.locator(".headline")).to_be_in_viewport()
    for width, least_px in ((390, 16), (768, 16), (1440, 16), (3840, 20)):
        page.set_viewport_size({"width": width, "height": 900})
        for view in ("analyse", "jobs", "models"):
            page.evaluate("view => { location.hash = view }", view)
            assert page.evaluate("document.scrollingElement.scrollWidth") <= width, (view, width)
        assert page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)") >= least_px


def test_models_have_versions_cards_metrics_and_one_is_stable(tab: Tab) -> None:
    page = tab.page
    page.get_by_role("link", name="Models").click()
    entry = page.locator(".list li", has_text="polarization-crystalline").first
    expect(entry.locator(".badge.stable")).to_have_text("stable")
    entry.get_by_role("link", name="version 1").click()
    expect(page.locator(".detail h2").first).to_contain_text("polarization-crystalline version 1")
    expect(page.locator(".card")).to_contain_text("Data sources")
    expect(page.locator(".card table").first).to_contain_text("pressure_bar")
    page.get_by_text("Metrics", exact=True).click()
    expect(page.get_by_role("group", name="installation")).to_contain_text("anchored-decay")


def test_a_card_is_text_whatever_it_holds(tab: Tab) -> None:
    page = tab.page
    evil = (
        "# x\n<img src=x onerror=alert(1)>\n\n[here](javascript:alert(1)) [there](https://example.org/a)\n\n"
        "| <b>a</b> | b |\n|---|---|\n| <script>alert(1)</script> | `<i>` |\n\n- <svg onload=alert(1)>\n"
    )

    def with_evil(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"card": evil, "notes": ["<u>note</u>"]})

    page.route("**/models/waveform-s2/versions/1", with_evil)
    page.on("dialog", lambda dialog: tab.trouble.append(f"a dialog opened: {dialog.message}"))
    tab.open("#models/waveform-s2/1")
    card = page.locator(".card")
    expect(card).to_contain_text("<img src=x onerror=alert(1)>")
    assert card.locator("img, script, svg, b, i").count() == 0
    assert card.locator("a").evaluate_all("links => links.map(link => link.href)") == ["https://example.org/a"]


@pytest.mark.parametrize(("path", "shown"), [("docs", ".opblock-summary"), ("redoc", "h1")])
def test_the_pages_of_the_api_show_without_a_network(open_tab: Callable[..., Tab], path: str, shown: str) -> None:
    tab = open_tab()
    tab.expected.append("'https://cdn.redoc.ly/redoc/logo-mini.svg' violates")  # ReDoc's own; never asked for
    page = tab.open(path)
    expect(page.locator(shown).first).to_be_visible()
    expect(page.locator("body")).to_contain_text("Predict the decay between calibrations")
