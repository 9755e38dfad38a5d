"""The bill of materials: what a serving machine runs, and nothing else."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app import __version__
from tests.supply.test_licences import OTHER_PLATFORMS, installed_by

REPOSITORY = Path(__file__).resolve().parents[2]
BILL = REPOSITORY / "dist" / f"beamline-model-server-{__version__}.cdx.json"
WITH_CODE = {".js", ".css", ".mjs"}


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    done = subprocess.run(["make", "--silent", "sbom"], cwd=REPOSITORY, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(BILL.read_text())


@pytest.mark.slow
def test_it_lists_the_locked_packages_of_the_service_and_no_others(bill: dict[str, Any]) -> None:
    listed = {one["name"].lower().replace("_", "-").replace(".", "-") for one in bill["components"]}
    copied = {one["name"].lower() for one in bill["components"] if one["purl"].startswith("pkg:npm/")}
    assert listed - copied == set(installed_by("service")) - OTHER_PLATFORMS
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["version"] == __version__
    assert [one["name"] for one in bill["components"] if not one.get("licenses")] == []


@pytest.mark.slow
def test_every_package_is_needed_by_something(bill: dict[str, Any]) -> None:
    needed = {ref for one in bill["dependencies"] for ref in one.get("dependsOn", ())}
    assert {one["bom-ref"] for one in bill["components"]} <= needed


@pytest.mark.slow
def test_every_script_that_came_from_elsewhere_is_listed_with_its_digest(bill: dict[str, Any]) -> None:
    listed = {file["name"]: file["hashes"][0]["content"] for one in bill["components"]
              for file in one.get("components", ())}  # fmt: skip
    static = REPOSITORY / "app" / "static"
    copied = [path for folder in static.iterdir() if (folder / "LICENSE").is_file() for path in folder.iterdir()
              if path.suffix in WITH_CODE and path.name != "start.js"]  # fmt: skip
    assert copied
    for path in copied:
        name = path.relative_to(REPOSITORY).as_posix()
        assert listed[name] == hashlib.sha256(path.read_bytes()).hexdigest()
