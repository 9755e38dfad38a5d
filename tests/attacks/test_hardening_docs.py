"""Every attack on the page has a test, and the test that is named exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "hardening.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| attack")]
FAULTS = (REPOSITORY / "docs" / "faults.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_every_attack_names_its_test() -> None:
    assert len(ROWS) >= 40
    assert [row for row in ROWS if not NAMED.search(row)] == []


@pytest.mark.parametrize("named", sorted({match.groups() for match in NAMED.finditer(PAGE + FAULTS)}, key=str))
def test_the_test_exists(named: tuple[str, str | None]) -> None:
    path, name = named
    content = (REPOSITORY / path).read_text()
    assert name is None or f"def {name}(" in content
