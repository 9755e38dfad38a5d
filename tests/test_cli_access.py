"""What `serve` asks for before it listens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import typer

from app.api.access import Scope
from app.api.keys import Damaged, create_key
from app.cli_access import settings_to_serve
from tests.served import REPOSITORY

KEPT = ("BEAMLINE_HOST", "BEAMLINE_ALLOW_ANONYMOUS", "BEAMLINE_SINGLE_USER_KEY", "BEAMLINE_ADMIN_KEY")


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in KEPT:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("BEAMLINE_KEYS_FILE", str(tmp_path / "keys.json"))
    return tmp_path / "keys.json"


def ask(host: str | None = None, *, single_user: bool = False, allow_anonymous: bool = False) -> str:
    """Prepare for serving; the address to listen on."""
    settings = settings_to_serve(host=host, port=8123, single_user=single_user, allow_anonymous=allow_anonymous)
    assert settings.port == 8123
    return settings.host


EVERYWHERE = ["0.0.0.0", "::", "192.168.1.5", "beamline.example.org", "127.0.0.1.example.org", "8.8.8.8"]  # noqa: S104


@pytest.mark.parametrize("host", EVERYWHERE)
def test_beyond_this_machine_there_must_be_keys(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as refused:
        ask(host)
    assert refused.value.exit_code == 2
    told = capsys.readouterr().err
    for way in (host, "keys create", "--single-user", "--allow-anonymous", "OIDC"):
        assert way in told


def test_each_way_lets_it_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = EVERYWHERE[0]
    monkeypatch.setenv("BEAMLINE_ADMIN_KEY", "the-key-of-the-operator")
    with pytest.raises(typer.Exit):
        ask(host)  # for all others it would be open
    assert ask(host, allow_anonymous=True) == host
    monkeypatch.delenv("BEAMLINE_ALLOW_ANONYMOUS")
    create_key(path, "a", [Scope.PREDICT])
    assert ask(host) == host
    path.unlink()
    monkeypatch.setenv("BEAMLINE_OIDC_ISSUER", "https://idp.example.org")
    monkeypatch.setenv("BEAMLINE_OIDC_AUDIENCE", "beamline")
    assert ask(host) == host


@pytest.mark.parametrize("host", [None, "127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_this_machine_needs_none(host: str | None) -> None:
    ask(host)


def test_a_damaged_keys_file_is_told_before_anything_starts(path: Path) -> None:
    path.write_text("{")
    with pytest.raises(Damaged):
        ask()


def test_a_key_is_made_for_a_single_user_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    ask("::", single_user=True)
    told = capsys.readouterr().out
    secret = os.environ["BEAMLINE_SINGLE_USER_KEY"]
    assert re.fullmatch(r"[0-9a-f]{64}", secret)
    assert f"http://127.0.0.1:8123/#key={secret}\n" in told
    ask(single_user=True)
    assert os.environ["BEAMLINE_SINGLE_USER_KEY"] == secret
    assert secret not in capsys.readouterr().out  # it is the operator's own by now


@contextmanager
def started(tmp_path: Path, *arguments: str) -> Iterator[tuple[str, str]]:
    """A service as a user starts it: its address, and what it says on standard output."""
    environment = os.environ | {"BEAMLINE_MODEL_STORE": str(tmp_path), "BEAMLINE_LOG_FORMAT": "json"}
    command = [sys.executable, "-m", "app", "serve", "--port", "0", *arguments]
    with (
        (tmp_path / "out").open("w+") as out,
        subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=out, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stderr is not None
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            found = next((m[1] for line in process.stderr if (m := re.search(r"on (http://[\d.:]+)", line))), "")
            out.seek(0)
            yield found, out.read()
        finally:
            watchdog.cancel()
            process.kill()


def test_a_single_user_starts_and_calls(tmp_path: Path) -> None:
    with started(tmp_path, "--single-user", "--host", EVERYWHERE[0]) as (address, told):
        (secret,) = re.findall(r"^    ([0-9a-f]{64})$", told, re.MULTILINE)
        address = address.replace(EVERYWHERE[0], "127.0.0.1")
        with httpx2.Client(base_url=address) as client:
            assert client.get("/models").status_code == 401
            for scheme in ("Apikey", "Bearer"):
                sent = {"Authorization": f"{scheme} {secret}"}
                assert client.get("/models", headers=sent).status_code == 200
            assert client.get("/jobs", headers=sent).status_code == 200
            assert client.get("/health/ready").status_code == 200


def test_forwarded_addresses_are_believed_of_proxies_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMLINE_REQUESTS_PER_S", "0.001")

    def last_of_many() -> int:
        with started(tmp_path) as (address, _), httpx2.Client(base_url=address) as client:
            sent = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(12)]
            return [client.get("/models", headers=headers).status_code for headers in sent][-1]

    assert last_of_many() == 200
    monkeypatch.setenv("BEAMLINE_TRUSTED_PROXIES", "10.0.0.0/8")
    assert last_of_many() == 429
