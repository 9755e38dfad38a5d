"""The Dockerfile against its linter and what it must agree on with the project. `make image-test` builds it."""

from __future__ import annotations

import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

import pytest

from app import __version__
from app.settings import PREFIX, Settings

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
LINES = DOCKERFILE.replace("\\\n", " ").splitlines()
HEALTHCHECK = REPOSITORY / "deploy" / "docker" / "healthcheck.py"


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def settings_of_image() -> dict[str, str]:
    words = [word for line in LINES if line.startswith("ENV ") for word in line.split()[1:]]
    return {name: value for name, _, value in (word.partition("=") for word in words) if name.startswith(PREFIX)}


def test_the_linter_has_nothing_to_say() -> None:
    done = subprocess.run([program("hadolint"), str(REPOSITORY / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_variables_are_settings_that_a_container_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings_of_image().items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert not ip_address(settings.host).is_loopback
    assert (settings.port, settings.log_format) == (8000, "json")
    assert (settings.model_store, settings.keys_file) == (Path("/models"), Path("/state/keys.json"))
    assert settings.jobs_database.startswith("sqlite:////state/")


def test_the_base_is_pinned_by_its_digest() -> None:
    (base,) = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"docker\.io/library/debian:trixie-\d{8}-slim@sha256:[0-9a-f]{64}", base)
    others = {line.split()[1] for line in LINES if line.startswith("FROM ")} - {"${BASE}"}
    stages = {line.split()[3] for line in LINES if line.startswith("FROM ")}
    assert others <= stages  # nothing else is fetched


def test_what_it_says_twice_is_the_same() -> None:
    assert f"ARG VERSION={__version__}\n" in DOCKERFILE
    (uv,) = re.findall(r"^ARG UV_VERSION=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert f"UV_VERSION := {uv}\n" in (REPOSITORY / "Makefile").read_text()


def test_what_it_copies_is_let_in() -> None:
    copied = [line.split()[1:-1] for line in LINES if line.startswith("COPY ") and "--from" not in line]
    rules = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for names in copied for name in names} == {rule for rule in rules if rule.startswith("!")}
    assert rules[1] == "*"
    assert all((REPOSITORY / name).exists() for names in copied for name in names)


@pytest.mark.parametrize("target", ["api", "worker", "gpu"])
def test_a_target_runs_as_nobody_and_is_looked_after(target: str) -> None:
    blocks = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)
    parents = {words[2]: words[0] for words in (block.split() for block in blocks[1:])}
    by_name = {block.split()[2]: block for block in blocks[1:]}
    told = ""
    stage = target
    while stage in by_name:
        told += by_name[stage]
        stage = parents[stage]
    for instruction in ("USER 10001:10001", "HEALTHCHECK ", "ENTRYPOINT ", "STOPSIGNAL SIGTERM", "VOLUME /state"):
        assert instruction in told
    assert "curl" not in told
    assert "--group gpu" in by_name["packages-gpu"]
    assert "tensorflow" not in DOCKERFILE.lower()


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/not-ready" else 200)
        self.end_headers()
        self.wfile.write(b"waiting for decay/3")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_health_check_tells_a_service_that_is_ready_from_others() -> None:
    with HTTPServer(("127.0.0.1", 0), _Health) as server:
        Thread(target=server.serve_forever, daemon=True).start()

        def check(path: str) -> subprocess.CompletedProcess[str]:
            url = f"http://127.0.0.1:{server.server_port}{path}"
            return subprocess.run([sys.executable, "-IS", str(HEALTHCHECK), url], capture_output=True, text=True)

        assert check("/ready").returncode == 0
        refused = check("/not-ready")
        server.shutdown()
    assert refused.returncode == 1
    assert "503" in refused.stderr
    assert "waiting for decay/3" in refused.stderr
    away = check("/ready")
    assert away.returncode == 1
    assert "does not answer" in away.stderr
