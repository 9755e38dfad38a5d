"""The service as users start it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import tomllib
import urllib.request
from pathlib import Path

import pytest

from app import __version__

REPOSITORY = Path(__file__).resolve().parents[1]


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | variables
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60)


HEAVY = {"tensorflow", "keras", "sklearn", "scipy", "matplotlib", "numba", "gemmi", "spglib", "pybaselines"} | {
    "h5py",
    "hdf5plugin",
    "tifffile",
    "PIL",
    "dask",
    "distributed",
    "jwt",
    "cryptography",
}


def test_the_service_starts_without_the_heavy_libraries(tmp_path: Path) -> None:
    script = (
        "import sys; from app.main import create_app; from app.settings import Settings; import app.cli;"
        "create_app(Settings());"
        f"sys.exit(bool({HEAVY} & set(sys.modules)))"
    )
    result = python("-c", script, BEAMLINE_MODEL_STORE=str(tmp_path), BEAMLINE_DASK_SCHEDULER="tcp://127.0.0.1:8786")
    assert result.returncode == 0, result.stderr


def test_a_wrong_setting_is_one_line() -> None:
    result = python("-m", "app", "serve", BEAMLINE_PORT="x")
    assert result.returncode == 2
    assert result.stderr.startswith("error: BEAMLINE_PORT: ")
    assert len(result.stderr.splitlines()) == 1


def test_the_package_and_the_project_have_one_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_answers_until_it_is_told_to_stop(tmp_path: Path, workers: str) -> None:
    environment = os.environ | {"BEAMLINE_MODEL_STORE": str(tmp_path), "BEAMLINE_LOG_FORMAT": "json"}
    command = [sys.executable, "-m", "app", "serve", "--port", "0", "--workers", workers]
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        watchdog = threading.Timer(60, process.kill)  # a service that says nothing must not hang the tests
        watchdog.start()
        address = None
        started = 0
        for line in process.stderr:
            address = address or re.search(r"running on (http://[\d.:]+)", line)
            started += '"event":"service started"' in line
            if address and started == int(workers):
                break
        assert address is not None
        with urllib.request.urlopen(address[1] + "/health/live", timeout=10) as response:
            assert response.read() == b'{"status":"live"}'
        with urllib.request.urlopen(address[1] + "/metrics", timeout=10) as response:
            assert b"beamline_http_requests_total" in response.read()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        watchdog.cancel()
    assert process.returncode in (0, -signal.SIGTERM)
