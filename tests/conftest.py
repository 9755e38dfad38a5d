"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Give the folder of the real measurements (it holds `polarization/`), or skip the test."""
    folder = Path(os.environ.get("BEAMLINE_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "polarization").is_dir():
        pytest.skip("the real measurements are not on this machine; set BEAMLINE_SHARED_DATA to their folder")
    return folder
