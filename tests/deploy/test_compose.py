"""docker-compose.yml against its schema, the settings, and what it promises of each container."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import __version__
from app.settings import PREFIX, Settings

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = [REPOSITORY / name for name in ("docker-compose.yml", "deploy/grafana/publish.yml", "deploy/models.yml")]
COMPOSE: dict[str, Any] = yaml.safe_load(FILES[0].read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("api", "small", "scheduler", "worker", "worker-gpu")


def plain(value: Any) -> str:
    """A value with the defaults of its variables, as compose fills them in."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_holds_to_the_schema(path: Path) -> None:
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES[1:], ids=lambda path: path.name)
def test_a_file_that_is_laid_over_names_services_that_there_are(path: Path) -> None:
    assert set(yaml.safe_load(path.read_text())["services"]) <= set(SERVICES)


@pytest.mark.parametrize("name", OURS)
def test_its_variables_are_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = SERVICES[name].get("environment", {})
    ours = {variable: plain(value) for variable, value in variables.items() if variable.startswith(PREFIX)}
    for variable, value in ours.items():
        monkeypatch.setenv(variable, value)
    settings = Settings().model_dump(mode="json")
    for variable, value in ours.items():
        assert str(settings[variable.removeprefix(PREFIX).lower()]) == value


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc"} & set(service)
    limits = service["deploy"]["resources"]["limits"]
    assert {"memory", "pids"} <= set(limits)
    # Ours run as the image's user.
    assert (name in OURS) != ("user" in service)
    assert "docker.sock" not in str(service)


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_looked_after(name: str) -> None:
    assert "healthcheck" in SERVICES[name] or SERVICES[name]["build"]["target"] in ("api", "worker", "gpu")


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_ours_or_pinned_by_its_digest(name: str) -> None:
    service = SERVICES[name]
    if name in OURS:
        target = service["build"]["target"]
        expected = "beamline-model-server" + ("" if target == "api" else f"-{target}")
        assert plain(service["image"]) == f"{expected}:{__version__}"
    else:
        assert re.fullmatch(r"docker\.io/[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", service["image"])


def test_only_the_service_is_published_and_only_to_this_machine() -> None:
    published = {
        name: [plain(port) for port in service["ports"]] for name, service in SERVICES.items() if "ports" in service
    }
    assert published == {"api": ["127.0.0.1:8000:8000"], "small": ["127.0.0.1:8000:8000"]}
    over = yaml.safe_load(FILES[1].read_text())["services"]["grafana"]
    assert [plain(port) for port in over["ports"]] == ["127.0.0.1:3000:3000"]


def test_who_reaches_whom() -> None:
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert {name for name, ones in networks.items() if "inside" in ones} == {
        "api", "scheduler", "worker", "worker-gpu", "database",
    }  # fmt: skip
    assert networks["database"] == networks["worker"] == networks["worker-gpu"] == {"inside"}
    assert networks["prometheus"] == networks["grafana"] == {"watched"}
    assert all(COMPOSE["networks"][name] == {"internal": True} for name in ("inside", "watched"))


@pytest.mark.parametrize(
    ("profile", "running"),
    [
        ("small", {"small"}),
        ("full", {"api", "scheduler", "worker", "database", "prometheus", "grafana"}),
        ("gpu", {"api", "scheduler", "worker-gpu", "database", "prometheus", "grafana"}),
    ],
)
def test_what_a_profile_starts(profile: str, running: set[str]) -> None:
    assert {name for name, service in SERVICES.items() if profile in service["profiles"]} == running
    for name in running:
        assert set(SERVICES[name].get("depends_on", {})) <= running


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users, which root may")
def test_each_secret_is_made_once_for_the_one_who_needs_it(tmp_path: Path) -> None:
    script = shutil.copy(REPOSITORY / "deploy" / "make-secrets", tmp_path / "make-secrets")
    subprocess.run([script], check=True, capture_output=True)
    folder = tmp_path / "secrets"
    made = {path.name: path for path in folder.iterdir()}
    assert {f"./deploy/secrets/{name}" for name in made} == {one["file"] for one in COMPOSE["secrets"].values()}
    owners = {"pgpass": 10001, "postgres-password": 999, "grafana-password": 472}
    users = {"postgres-password": "database", "grafana-password": "grafana"}
    for name, path in made.items():
        status = path.stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (owners[name], 0o400)
        assert name not in users or SERVICES[users[name]]["user"] == f"{owners[name]}:{owners[name]}"
    password = made["postgres-password"].read_text()
    assert len(password) == 48
    assert made["pgpass"].read_text() == f"database:5432:beamline:beamline:{password}\n"

    subprocess.run([script], check=True, capture_output=True)
    assert made["postgres-password"].read_text() == password
