"""The unit's filter of system calls against those that the service makes."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import httpx
import numpy as np
import pytest

from tests.faults.service import EXPERIMENT, REPOSITORY, pattern, until

UNIT = REPOSITORY / "deploy" / "systemd" / "beamline-model-server.service"
AS_ROOT = {"fchown"}
"""SQLite gives its files to the owner of the database, where it may."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("strace") and shutil.which("systemd-analyze")),
        reason="no strace or no systemd on this machine",
    ),
]


def calls(named: str) -> set[str]:
    """The system calls of one of systemd's groups, those of the groups within it included."""
    asked = ["systemd-analyze", "syscall-filter", named]
    lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\n")[1:]
    words = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    within = [calls(word) for word in words if word.startswith("@")]
    return {word for word in words if not word.startswith("@")}.union(*within)


def allowed() -> set[str]:
    rules = re.findall(r"^SystemCallFilter=(~?)(\S+)$", UNIT.read_text(), re.MULTILINE)
    found = calls("@default")
    for denied, named in rules:
        found = found - calls(named) if denied else found | calls(named)
    return found


def ask_for_everything(http: httpx.Client) -> None:
    assert http.post("/polarization/predict", json={"experiments": [EXPERIMENT]}).status_code == 200
    drawn = http.post("/polarization/predict", json={"experiments": [EXPERIMENT]}, headers={"Accept": "image/png"})
    assert drawn.status_code == 200
    assert http.post("/indexing/solve", json=pattern(5.43)).status_code == 200
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["entry/data"] = np.ones((1, 64, 64), int)
    answer = http.post("/aggregates/file", params={"radius_px": 5}, files={"file": ("a.h5", content.getvalue())})
    assert answer.status_code == 200, "read in a child process with limits"
    assert http.get("/metrics").status_code == 200


def test_the_service_makes_no_call_that_its_unit_denies(tmp_path: Path) -> None:
    counts, log = tmp_path / "counts", tmp_path / "log"
    settings = {"BEAMLINE_JOB_WORKERS": "1", "BEAMLINE_JOBS_DATABASE": f"sqlite:///{tmp_path}/jobs.sqlite3"}
    command = ["strace", "-f", "-qq", "-c", "-U", "name", "-o", str(counts)]
    command += [sys.executable, "-m", "app", "serve", "--port", "0"]
    with log.open("wb") as out:
        traced = subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | settings, stderr=out)
    try:
        until(lambda: "running on http" in log.read_text(), "the service does not start")
        address = log.read_text().partition("running on ")[2].partition(" ")[0]
        with httpx.Client(base_url=address, timeout=180) as http:
            until(lambda: http.get("/health/ready").json()["jobs"]["ready"] == 1, "no worker gets ready")
            ask_for_everything(http)
        children = Path(f"/proc/{traced.pid}/task/{traced.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        traced.wait(60)
    finally:
        traced.kill()
        traced.wait()
    made = {line.strip() for line in counts.read_text().splitlines() if re.fullmatch(r"\s*\w+", line)}
    made -= {"syscall", "total"}
    assert {"openat", "clone3", "prlimit64"} <= made
    assert made - allowed() - AS_ROOT == set()
