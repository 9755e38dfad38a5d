"""Make the pictures of docs/console.md: ``python -m tests.console.pictures``; needs chromium."""

from __future__ import annotations

import io
import shutil
import tempfile
from dataclasses import dataclass
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.console.conftest import REPOSITORY
from tests.served import served

FOLDER = REPOSITORY / "docs" / "images"
QUALITY = 82


@dataclass(frozen=True)
class Picture:
    """One picture: what is clicked or opened, and in which browser."""

    name: str
    example: str = ""
    path: str = ""
    width: int = 1360
    height: int = 850
    scheme: str = "light"


PICTURES = (
    Picture("console-polarization", "polarization"),
    Picture("console-indexing-dark", "indexing", scheme="dark"),
    Picture("console-models", path="#models/polarization-crystalline/1", height=720),
    Picture("console-phone", "waveform", width=390, height=780, scheme="dark"),
)


def main() -> None:
    """Start a service and a browser, and take all pictures."""
    with tempfile.TemporaryDirectory() as state, sync_playwright() as playwright:
        database = f"sqlite:///{state}/jobs.sqlite3"
        with served(REPOSITORY / "model_store", job_workers="1", jobs_database=database) as address:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for picture in PICTURES:
                size: Any = {"width": picture.width, "height": picture.height}
                context = browser.new_context(viewport=size, color_scheme=picture.scheme)  # type: ignore[arg-type]
                _take(context.new_page(), picture, f"http://{address}/")
                context.close()
            browser.close()


def _take(page: Page, picture: Picture, address: str) -> None:
    page.goto(address + picture.path)
    page.wait_for_selector("html[data-ready]")
    if picture.example:
        page.click(f"[data-example={picture.example}]")
        page.wait_for_selector(".picture img")
    else:
        page.wait_for_selector(".card")
    page.wait_for_timeout(300)
    Image.open(io.BytesIO(page.screenshot())).save(FOLDER / f"{picture.name}.webp", quality=QUALITY, method=6)


if __name__ == "__main__":
    main()
