"""A service that asks for a key, published under a prefix by a reverse proxy, as a facility would."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import REPOSITORY, Tab, opened
from tests.console.reverse_proxy import published
from tests.served import served

KEY = "a-key-of-this-test-0123456789"
PREFIX = "/beam/line"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state = tmp_path_factory.mktemp("guarded")
    settings = {
        "job_workers": "0",
        "jobs_database": f"sqlite:///{state}/jobs.sqlite3",
        "keys_file": f"{state}/keys.json",
        "single_user_key": KEY,
        "root_path": PREFIX,
    }
    with served(REPOSITORY / "model_store", **settings) as service, published(service, PREFIX) as outside:
        yield outside


@pytest.fixture
def guarded(chromium: Browser, address: str) -> Iterator[Tab]:
    with opened(chromium, address) as tab:
        tab.expected.append("401")
        tab.open()
        yield tab


def test_a_key_is_asked_for_kept_in_the_tab_and_never_shown(guarded: Tab, tmp_path: Path) -> None:
    page = guarded.page
    page.click("[data-example=waveform]")
    dialog = page.get_by_role("dialog", name="This service asks for a key")
    dialog.get_by_label("Key").fill("not-the-key-of-this-service")
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_contain_text("is not taken")
    dialog.get_by_label("Key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator(".headline h2")).to_have_text("Two S2s")
    expect(page.locator(".picture img")).to_be_visible()
    command = page.locator(".same code").inner_text()
    assert "Authorization: Apikey $BEAMLINE_API_KEY" in command
    assert f"{guarded.address}waveform/file" in command
    assert KEY not in page.content()
    assert page.evaluate("localStorage.getItem('beamline.key')") is None
    done = subprocess.run(
        ["sh", "-e", "-c", command],
        cwd=tmp_path,
        env=os.environ | {"BEAMLINE_API_KEY": KEY},
        capture_output=True,
        text=True,
    )
    assert '"number_of_s2":2' in done.stdout, done.stderr
    page.reload()
    page.wait_for_selector("html[data-ready]")
    page.get_by_role("link", name="Models").click()
    expect(page.locator(".badge.stable").first).to_be_visible()
    page.get_by_role("button", name="Forget key").click()
    assert page.evaluate("sessionStorage.getItem('beamline.key')") is None


def test_who_has_no_key_is_told_what_to_do(guarded: Tab) -> None:
    page = guarded.page
    page.click("[data-example=polarization]")
    page.get_by_role("button", name="Not now").click()
    expect(page.locator(".problem")).to_contain_text("Enter a key of this service")
    expect(page.locator(".problem")).to_contain_text("HTTP 401")


def test_a_search_runs_and_is_followed_through_a_proxy_that_the_service_knows_nothing_of(
    chromium: Browser, service: str
) -> None:
    with published(service.split("/")[2], PREFIX) as outside, opened(chromium, outside) as tab:
        page = tab.open()
        page.click("[data-example=indexing]")
        expect(page.locator(".headline h2")).to_contain_text("hP")
        expect(page.locator(".picture img")).to_be_visible()
        page.get_by_role("link", name="API").click()
        page.wait_for_url(f"{outside}docs")


def test_the_address_of_a_single_user_brings_its_key(chromium: Browser, address: str) -> None:
    with opened(chromium, address) as tab:
        tab.expected.append("401")
        tab.open()
        tab.page.goto(f"{tab.address}#key={KEY}")
        expect(tab.page.get_by_role("button", name="Forget key")).to_be_visible()
        assert KEY not in tab.page.url
        tab.page.click("[data-example=waveform]")
        expect(tab.page.locator(".headline h2")).to_have_text("Two S2s")
