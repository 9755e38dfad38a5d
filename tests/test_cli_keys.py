"""The commands on keys: what they print, and to where."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.api.keys import read_keys
from app.cli_keys import keys
from app.errors import InvalidInput, NotFound


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BEAMLINE_KEYS_FILE", str(tmp_path / "keys.json"))
    return tmp_path / "keys.json"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(keys, list(arguments))


def made(*further: str) -> str:
    result = run("create", "--name", "d3-control", "--scope", "predict", "--scope", "solve", *further)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_the_secret_stands_alone_on_standard_output_and_is_shown_once(path: Path) -> None:
    secret = made()
    assert len(secret.split()) == 1
    assert read_keys(path)[0].id == secret[:8]
    listed = run("list").stdout
    assert secret not in listed
    for told in (secret[:8], "d3-control", "predict,solve", "active", "never ends"):
        assert told in listed


def test_a_key_is_revoked_by_its_first_eight_characters() -> None:
    secret = made()
    assert "revoked" in run("revoke", secret[:8]).stdout
    assert "revoked" in run("list").stdout
    assert isinstance(run("revoke", "ffffffff").exception, NotFound)


@pytest.mark.parametrize(("given", "days"), [("90d", 90), ("12h", 0.5), ("4w", 28)])
def test_a_key_ends_after_a_time(path: Path, given: str, days: float) -> None:
    made("--expires", given)
    ends = read_keys(path)[0].expires
    assert ends is not None
    assert abs(ends - datetime.now(UTC) - timedelta(days=days)) < timedelta(minutes=1)


@pytest.mark.parametrize("given", ["2099-01-31", "2099-01-31T00:00:00Z", "2099-01-31T02:00:00+02:00"])
def test_a_key_ends_at_a_date(path: Path, given: str) -> None:
    made("--expires", given)
    assert read_keys(path)[0].expires == datetime(2099, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize("given", ["soon", "", "90", "2020-01-01", "0d", "1e3d", "-1d"])
def test_an_end_that_makes_no_sense_is_refused(path: Path, given: str) -> None:
    result = run("create", "--name", "a", "--scope", "solve", f"--expires={given}")
    assert isinstance(result.exception, InvalidInput)
    assert not path.exists()


@pytest.mark.parametrize("arguments", [["--name", "a"], ["--scope", "solve"], ["--name", "a", "--scope", "root"]])
def test_name_and_a_known_scope_are_needed(path: Path, arguments: list[str]) -> None:
    assert run("create", *arguments).exit_code == 2
    assert not path.exists()


def test_another_file_may_be_named(path: Path) -> None:
    other = path.parent / "other.json"
    made("--file", str(other))
    assert not path.exists()
    assert run("list").stdout == ""
    assert "d3-control" in run("list", "--file", str(other)).stdout
