"""The shell loop: each new file of a folder gets its answer and its picture beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.clients.beamline.test_service import PNG, cubic_pattern, pulse
from tests.served import REPOSITORY

SCRIPT = REPOSITORY / "clients" / "shell" / "watch-folder"
NOBODY = "http://127.0.0.1:9"
WAVELENGTH = "wavelength_ang=1.5406"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")


@pytest.fixture(autouse=True)
def _with_a_key(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMLINE_API_KEY", key)


def environment(**more: str) -> dict[str, str]:
    known = {name: os.environ[name] for name in ("PATH", "BEAMLINE_API_KEY")}
    return {"LANG": "C.UTF-8", **known, **more}


def watched(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """One pass."""
    return subprocess.run(
        [str(SCRIPT), "-1", "-e", "0.1", *options, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(**variables),
    )


@contextmanager
def watching(folder: Path, *options: str) -> Iterator[None]:
    with subprocess.Popen(
        [str(SCRIPT), "-e", "0.1", *options, str(folder)], env=environment(), stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)


def becomes(true: Callable[[], bool], within_s: float = 60.0) -> bool:
    end_s = time.monotonic() + within_s
    while not true() and time.monotonic() < end_s:
        time.sleep(0.05)
    return true()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_each_file_gets_its_answer(address: str, tmp_path: Path, decay: Path) -> None:
    (tmp_path / "LaB6; 'día' $1.xy").write_bytes(cubic_pattern())
    shutil.copy(decay, tmp_path)
    (tmp_path / "bad.xye").write_text("this is no pattern\n")
    (tmp_path / "empty.xy").touch()
    (tmp_path / "notes.md").write_text("not ours")
    given = names(tmp_path)
    done = watched(tmp_path, "-u", address, "-q", WAVELENGTH)
    assert done.returncode == 0, done.stderr
    made = {"LaB6; 'día' $1.xy.json", "LaB6; 'día' $1.xy.png", "bad.xye.problem.json"}
    made |= {"decay.fli.json", "decay.fli.png"}
    assert names(tmp_path) - given == made
    answer = json.loads((tmp_path / "LaB6; 'día' $1.xy.json").read_text())
    assert answer["solutions"][0]["cell"]["a_ang"] == pytest.approx(4.1569, rel=1e-3)
    assert (tmp_path / "LaB6; 'día' $1.xy.png").read_bytes().startswith(PNG)
    assert json.loads((tmp_path / "bad.xye.problem.json").read_text())["status"] in (415, 422)
    assert "decay.fli: done" in done.stdout
    # What was done or refused is not asked again, until it changes.
    assert watched(tmp_path, "-u", address).stdout == ""
    (tmp_path / "bad.xye").write_bytes(cubic_pattern())
    assert "bad.xye: done" in watched(tmp_path, "-u", address, "-q", WAVELENGTH).stdout
    assert names(tmp_path) - given == made - {"bad.xye.problem.json"} | {"bad.xye.json", "bad.xye.png"}


def test_a_file_that_is_being_written_is_left_alone(address: str, tmp_path: Path) -> None:
    rows = cubic_pattern().splitlines(keepends=True)
    with watching(tmp_path, "-u", address, "-q", WAVELENGTH):
        with (tmp_path / "scan.xy").open("wb") as file:
            for start in range(0, len(rows), 200):
                file.writelines(rows[start : start + 200])
                file.flush()
                assert names(tmp_path) == {"scan.xy"}
                time.sleep(0.04)
        assert becomes((tmp_path / "scan.xy.json").exists)
    answer = json.loads((tmp_path / "scan.xy.json").read_text())
    assert max(line["two_theta_observed_deg"] for line in answer["solutions"][0]["lines"]) > 100
    assert names(tmp_path) == {"scan.xy", "scan.xy.json", "scan.xy.png"}


def test_a_service_that_is_away_is_waited_for(address: str, tmp_path: Path) -> None:
    np.save(tmp_path / "pulse.npy", pulse())
    with watching(tmp_path, "-u", NOBODY, "-j", "waveform"):
        time.sleep(1.0)
    assert names(tmp_path) == {"pulse.npy"}
    assert watched(tmp_path, "-u", address, "-j", "waveform").returncode == 0
    assert names(tmp_path) == {"pulse.npy", "pulse.npy.json", "pulse.npy.png"}
    assert len(json.loads((tmp_path / "pulse.npy.json").read_text())["waveforms"]) == 1


def test_jq_is_not_needed(address: str, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "curl", "cat", "cksum", "date", "mktemp", "mv", "printf", "rm", "sed", "sleep", "tr"):
        (programs / name).symlink_to(shutil.which(name) or name)
    folder = tmp_path / "data"
    folder.mkdir()
    np.save(folder / "pulse.npy", pulse())
    done = watched(folder, "-u", address, "-j", "waveform", PATH=str(programs))
    assert done.stderr == ""
    assert names(folder) == {"pulse.npy", "pulse.npy.json", "pulse.npy.png"}


@pytest.mark.parametrize("options", [["-j", "magic"], ["-x"], ["-k", "/nonexistent"]])
def test_misuse_is_told(tmp_path: Path, options: list[str]) -> None:
    done = watched(tmp_path, *options)
    assert done.returncode >= 64
    assert done.stderr


@pytest.mark.parametrize("key", ['a"b', "a\nheader", "a b"])
def test_a_key_cannot_smuggle_options_into_curl(tmp_path: Path, key: str) -> None:
    done = watched(tmp_path, BEAMLINE_API_KEY=key)
    assert done.returncode == 65
    assert key not in done.stderr


def test_a_key_that_is_refused_is_no_matter_of_the_file(address: str, key: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    np.save(folder / "pulse.npy", pulse())
    options = ("-u", address, "-j", "waveform")
    done = watched(folder, *options, BEAMLINE_API_KEY="0123456789abcdef")
    assert done.returncode == 77
    assert names(folder) == {"pulse.npy"}
    assert "A key is needed" in done.stdout
    (tmp_path / "key").write_text(key + "\n")
    assert watched(folder, *options, "-k", str(tmp_path / "key"), BEAMLINE_API_KEY="").returncode == 0
    assert "pulse.npy.json" in names(folder)


def test_the_key_is_in_no_list_of_processes(address: str, key: str, tmp_path: Path) -> None:
    """A curl that writes down what it was called with."""
    programs, folder = tmp_path / "bin", tmp_path / "data"
    programs.mkdir()
    folder.mkdir()
    seen = programs / "seen"
    (programs / "curl").write_text(f'#!/bin/sh\nprintf \'%s\\n\' "$@" >>{seen}\nexec {shutil.which("curl")} "$@"\n')
    (programs / "curl").chmod(0o755)
    np.save(folder / "pulse.npy", pulse())
    path = f"{programs}:{os.environ['PATH']}"
    assert watched(folder, "-u", address, "-j", "waveform", PATH=path).returncode == 0
    assert "Idempotency-Key" in seen.read_text()
    assert key not in seen.read_text()
