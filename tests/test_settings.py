"""The environment is read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import PREFIX, Settings


def test_the_defaults_serve_this_machine_only() -> None:
    assert (Settings().host, Settings().port) == ("127.0.0.1", 8000)


def test_a_variable_sets_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMLINE_MODEL_STORE", "/srv/models")
    assert Settings().model_store == Path("/srv/models")


def test_a_misspelt_variable_is_an_error_that_names_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMLINE_MODEL_STOR", "/srv/models")
    with pytest.raises(ValidationError, match="BEAMLINE_MODEL_STORE"):
        Settings()


def test_the_variables_of_the_client_are_no_misspelt_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMLINE_URL", "http://127.0.0.1:8000")
    monkeypatch.setenv("BEAMLINE_API_KEY", "a-secret-of-some-length")
    assert "a-secret" not in repr(Settings())


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "x"), ("PORT", "70000"), ("LOG_LEVEL", "loud"), ("WORKERS", "0"), ("DASK_SCHEDULER", "host:8786")],
)
def test_a_bad_value_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ValidationError):
        Settings()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1


def test_every_setting_is_documented() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "settings.md").read_text()
    for name in Settings.model_fields:
        assert f"`{PREFIX}{name.upper()}`" in page


def test_the_admin_key_is_long_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMLINE_ADMIN_KEY", "short-secret")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "short-secret" not in str(refused.value)
    monkeypatch.setenv("BEAMLINE_ADMIN_KEY", "a-secret-of-some-length")
    assert "a-secret" not in repr(Settings())
    assert "a-secret" not in Settings().model_dump_json()
