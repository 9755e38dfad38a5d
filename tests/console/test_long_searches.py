"""A search that takes long: its progress, its end by a person, a connection that breaks, and the page of jobs."""

from __future__ import annotations

import json
import random
import re

from playwright.sync_api import Page, Route, expect

from tests.console.conftest import Tab


def hopeless(page: Page, tab: Tab, seconds: float = 60.0) -> str:
    """Start a search that finds nothing and does not end by itself; gives the job's id."""
    draw = random.Random(7)  # noqa: S311  lines of no cell
    lines = sorted(round(draw.uniform(1.0, 9.0), 4) for _ in range(24))
    request = json.dumps({"d_ang": lines, "sigma_d_ang": 0.0005, "max_seconds": seconds, "learned": False})
    page.get_by_text("or paste text").click()
    page.get_by_label("Text of a measurement").fill(request)
    page.get_by_role("button", name="Use this text").click()
    with page.expect_response(tab.address + "indexing/solve") as answer:
        page.get_by_role("button", name="Run", exact=True).click()
    assert answer.value.status == 202
    return answer.value.json()["id"]


def state(page: Page, tab: Tab, job: str) -> str:
    return page.request.get(f"{tab.address}jobs/{job}").json()["state"]


def test_progress_is_shown_while_it_runs_and_a_person_ends_it(tab: Tab) -> None:
    page = tab.page
    job = hopeless(page, tab)
    expect(page.locator(".waiting .progress")).to_contain_text(re.compile(r"\d+ of 14 lattices · [\d,]+ cells tried"))
    assert state(page, tab, job) == "running"
    expect(page.locator("#jobs-count")).to_have_text("1")
    page.locator(".waiting").get_by_role("button", name="Cancel").click()
    expect(page.locator(".waiting h2")).to_have_text("Cancelled")
    assert state(page, tab, job) == "cancelled"
    page.keyboard.press("Control+Enter")
    expect(page.locator(".waiting .progress")).to_contain_text("lattices")
    page.keyboard.press("Escape")
    expect(page.locator(".waiting h2")).to_have_text("Cancelled")
    page.get_by_role("link", name="Jobs").click()
    expect(page.locator("#view-jobs .state")).to_have_text(["cancelled", "cancelled"])
    expect(page.locator("#jobs-count")).to_be_hidden()


def test_a_job_is_found_again_after_the_page_was_closed_and_ends_there(tab: Tab) -> None:
    page = tab.page
    job = hopeless(page, tab)
    page.goto("about:blank")
    tab.open("#jobs")
    row = page.locator("#view-jobs tbody tr").first
    expect(row.locator(".state")).to_have_text("running")
    expect(row.locator(".progress")).to_contain_text("of 14 lattices")
    row.get_by_role("button", name=re.compile("Cancel")).click()
    expect(row.locator(".state")).to_have_text("cancelled")
    assert state(page, tab, job) == "cancelled"
    row.get_by_role("button", name=re.compile("Forget")).click()
    expect(page.locator("#view-jobs")).to_contain_text("None yet.")


def test_a_stream_that_breaks_is_taken_up_where_it_ended(tab: Tab) -> None:
    page = tab.page
    seen: list[str | None] = []

    def break_the_first(route: Route) -> None:
        seen.append(route.request.headers.get("last-event-id"))
        if len(seen) > 1:
            route.fallback()
        else:
            job = {"id": "x", "state": "running", "progress": {"done": 1, "total": 7}, "problem": None}
            body = f": ping\r\n\r\nevent: progress\r\ndata: {json.dumps(job)}\r\nid: 1\r\n\r\n"
            route.fulfill(status=200, content_type="text/event-stream", body=body)

    page.route("**/jobs/*/events", break_the_first)
    page.click("[data-example=indexing]")
    expect(page.locator(".headline h2")).to_contain_text("hP")
    assert seen[:2] == [None, "1"]


def test_a_finished_job_shows_its_numbers_again(tab: Tab) -> None:
    page = tab.page
    page.click("[data-example=indexing]")
    expect(page.locator(".headline h2")).to_contain_text("hP")
    tab.open("#jobs")
    page.reload()
    page.get_by_role("button", name="Show Indexing: quartz.xy").click()
    expect(page.locator(".headline h2")).to_contain_text("hP")
    expect(page.get_by_role("group", name="Ranked cells")).to_be_visible()
    expect(page.locator(".result")).to_contain_text("The picture needs the file")
