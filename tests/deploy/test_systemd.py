"""The units for systemd: by its own checks, and against what they must agree on with the service."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from app.settings import PREFIX, Settings

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
SERVICE = FOLDER / "beamline-model-server.service"
SOCKET = FOLDER / "beamline-model-server.socket"
INSTALLED = "/opt/beamline/current"
MOST_EXPOSED = 15
"""Tenths of systemd's scale from 0 to 10, on which a unit without any protection has 9.6."""

ANALYZE = shutil.which("systemd-analyze")
with_systemd = pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze on this machine")


def directives(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text().splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            found[match[1]].append(match[2])
    return found


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, timeout=60)


@with_systemd
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    installed = tmp_path / "current"
    (installed / ".venv" / "bin").mkdir(parents=True)
    (installed / ".venv" / "bin" / "python").symlink_to("/bin/true")
    for unit in (SERVICE, SOCKET):
        (tmp_path / unit.name).write_text(unit.read_text().replace(INSTALLED, str(installed)))
    checked = analyze("verify", "--man=no", str(tmp_path / SERVICE.name), str(tmp_path / SOCKET.name))
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@with_systemd
def test_the_service_is_exposed_to_little() -> None:
    checked = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(SERVICE))
    assert checked.returncode == 0, checked.stdout[-200:] + checked.stderr


def test_its_variables_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given = dict(one.split("=", 1) for line in directives(SERVICE)["Environment"] for one in line.split())
    ours = {name: value for name, value in given.items() if name.startswith(PREFIX)}
    assert ours.keys() <= {PREFIX + field.upper() for field in Settings.model_fields}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    assert str(Settings().model_store) == "/var/lib/beamline/models"


def test_what_it_writes_to_is_what_systemd_lets_it_write_to() -> None:
    unit = directives(SERVICE)
    assert unit["ProtectSystem"] == ["strict"]
    allowed = [f"/var/lib/{unit['StateDirectory'][0]}/", f"/var/cache/{unit['CacheDirectory'][0]}"]
    values = [one.split("=", 1)[1] for line in unit["Environment"] for one in line.split()]
    written = [path for value in values for path in re.findall(r"(/(?:var|srv|opt)/.*)", value)]
    assert written
    assert all(path.startswith(tuple(allowed)) for path in written), written


def test_it_is_not_killed_while_it_ends() -> None:
    unit = directives(SERVICE)
    assert unit["KillMode"] == ["mixed"], "its workers are ended by it, not by systemd"
    assert int(unit["TimeoutStopSec"][0]) > 20, "answers have 10 s, jobs 10 more"
    assert unit["Restart"] == ["always"]


def test_the_socket_outlives_the_service() -> None:
    assert directives(SERVICE)["Requires"] == [SOCKET.name]
    assert directives(SOCKET)["ListenStream"] == ["127.0.0.1:8000"]
