"""The package installs with pip's ordinary means, brings httpx and nothing else, and works without NumPy."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.clients.environment import uv
from tests.served import REPOSITORY

PROJECT = REPOSITORY / "clients" / "python"
SESSION = """
import sys
from importlib.metadata import distributions, version
from beamline_client import Client
with Client(sys.argv[1], api_key=sys.stdin.read()) as service:
    (one,) = service.waveform([0.0] * 5000).waveforms
    assert one.number_of_s2 == 0, one
    assert service.health().status == "ready"
names = {one.name.lower() for one in distributions()}
assert "numpy" not in names, names
print(version("beamline-client"), sorted(names - {"pip", "setuptools"}))
"""


def test_the_wheel_installs_and_works(address: str, key: str, tmp_path: Path) -> None:
    source = shutil.copytree(PROJECT, tmp_path / "source")
    uv("build", "--wheel", str(source), "--out-dir", str(tmp_path))
    (wheel,) = tmp_path.glob("beamline_client-*-py3-none-any.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    written = {path.relative_to(PROJECT / "src").as_posix() for path in (PROJECT / "src").rglob("*.py")}
    assert written | {"beamline_client/py.typed"} <= packed
    uv("venv", "--no-project", "--python", sys.executable, str(tmp_path / "environment"))
    python = tmp_path / "environment" / "bin" / "python"
    uv("pip", "install", "--python", str(python), str(wheel))
    command = [str(python), "-I", "-W", "error", "-c", SESSION, address]
    done = subprocess.run(command, input=key, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0.1.0 ['anyio', 'beamline-client', 'certifi', 'h11', 'httpcore', 'httpx', 'idna'")
