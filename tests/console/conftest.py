"""A real browser on a real service. Nothing but the service may be asked, and nothing may go wrong unseen."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Route, expect, sync_playwright

from tests.served import served

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_MS = 30_000

expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Tab:
    """A page of the browser, and what happened to it.

    Attributes:
        address: of the service, with a slash at its end.
        elsewhere: addresses of other machines that it tried to reach.
        trouble: errors in its console, violations of its policy among them.
        expected: parts of such errors that a test means to cause.
    """

    page: Page
    address: str
    elsewhere: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def open(self, path: str = "") -> Page:
        """Go to a path; the console is waited for until it is ready."""
        self.page.goto(self.address + path)
        if not path or path.startswith("#"):
            self.page.wait_for_selector("html[data-ready]")
        return self.page

    def check(self) -> None:
        """Nothing went wrong that the test did not mean to."""
        assert self.elsewhere == []
        assert [text for text in self.trouble if not any(part in text for part in self.expected)] == []


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Debian's browser, driven by Playwright. It ends with this folder's tests, since it keeps an event loop."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no chromium on this machine: `tools/get-browser` as root installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with the shipped models and one worker."""
    state = tmp_path_factory.mktemp("console")
    settings = {"job_workers": "1", "jobs_database": f"sqlite:///{state}/jobs.sqlite3", "keys_file": f"{state}/keys"}
    with served(REPOSITORY / "model_store", **settings) as address:
        yield f"http://{address}/"


@contextmanager
def opened(browser: Browser, address: str, **context: object) -> Iterator[Tab]:
    """A tab of its own, in a browser that has never been here."""
    allowed = address.split("/")[2]
    with_defaults = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce"} | context
    new: BrowserContext = browser.new_context(**with_defaults)  # type: ignore[arg-type]
    new.set_default_timeout(PATIENCE_MS)
    tab = Tab(new.new_page(), address)

    def guard(route: Route) -> None:
        if route.request.url.split("/")[2] == allowed:
            route.fallback()
        else:
            tab.elsewhere.append(route.request.url)
            route.abort()

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            tab.trouble.append(message.text)

    new.route(lambda url: url.startswith(("http:", "https:", "ws:")), guard)
    tab.page.on("console", note)
    tab.page.on("pageerror", lambda error: tab.trouble.append(str(error)))
    try:
        yield tab
        tab.check()
    finally:
        new.close()


@pytest.fixture
def tab(chromium: Browser, service: str) -> Iterator[Tab]:
    """A tab at the console."""
    with opened(chromium, service) as new:
        new.open()
        yield new


@pytest.fixture
def open_tab(chromium: Browser, service: str) -> Iterator[Callable[..., Tab]]:
    """Opens tabs with other settings: ``open_tab(color_scheme="dark")``; each is checked at the end."""
    made: list[tuple[object, Tab]] = []

    def make(**context: object) -> Tab:
        manager = opened(chromium, service, **context)
        made.append((manager, manager.__enter__()))
        return made[-1][1]

    yield make
    for manager, _ in made:
        manager.__exit__(None, None, None)  # type: ignore[attr-defined]
