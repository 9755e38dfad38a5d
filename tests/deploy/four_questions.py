"""Starts the service where it was installed, asks each of the four jobs a question, and checks the answers.

Run by `tools/image_test.py` and `tools/bundle_test.py` inside an image or beside an installation, with its Python: it
needs nothing but NumPy. The command of the service stands behind ``--``:

    python four_questions.py [--health COMMAND] [--read-only] -- python -m app serve

It says how long each answer took, and ends with a line as ``4 passed, 0 failed``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np

START_S: Final = 90.0
STOP_S: Final = 45.0
Post = Callable[[str, Any], Any]


def polarization(post: Post) -> bool:
    """An exponential decay between two calibrations is met at both, and falls between them."""
    cell = {"cell_id": "ge18012", "pressure_bar": 2.3, "lab_polarization": 0.79, "lab_time": "2026-06-05T15:59:00"}
    first = {"time": "2026-06-05T16:03:00", "polarization": 0.855, "sigma": 0.0013}
    last = {"time": "2026-06-06T16:03:00", "polarization": 0.763, "sigma": 0.0018}
    asked = {"material": "crystalline", "polarizer": cell, "initial": first, "final": last}
    decay = post("/polarization/predict", {"experiments": [asked]})["experiments"][0]
    curve = np.array(decay["polarization"])
    return bool(abs(curve[0] - 0.855) < 0.003 and abs(curve[-1] - 0.763) < 0.003 and (np.diff(curve) < 1e-9).all())


def indexing(post: Post) -> bool:
    """Lines of silicon are those of a face-centred cube with an edge of 5.431 Angstrom."""
    squares = np.array([3, 8, 11, 16, 19, 24, 27, 32, 35, 40])
    asked = {"d_ang": (5.4310 / np.sqrt(squares)).round(4).tolist()}
    best = post("/indexing/solve", asked)["solutions"][0]
    return best["bravais"] == "cF" and abs(best["cell"]["a_ang"] - 5.431) < 0.002


def waveform(post: Post) -> bool:
    """Photons of 700 and 500 electrons that arrive 2.7 us apart are two pulses."""
    rng = np.random.default_rng(1)
    electrons_us = np.concatenate([rng.normal(23.4, 0.96, 700), rng.normal(26.1, 0.96, 500)])
    photons_us = np.repeat(electrons_us, 40) + rng.uniform(0.0, 1.1, 40 * 1200)
    counts = np.histogram(photons_us, 5000, (0.0, 50.0))[0] + rng.normal(0.0, 0.5, 5000)
    (pulse,) = post("/waveform", {"waveforms": counts.tolist(), "drift_time_us": 400.0})["waveforms"]
    return pulse["number_of_s2"] == 2 and abs(pulse["separation_us"] - 2.7) < 0.4


def aggregates(post: Post) -> bool:
    """The Airy pattern of a disc times the fringes of two is an aggregate of two."""
    y, x = np.mgrid[-32:32, -32:32] / 128
    z = 2 * np.pi * 5 * np.maximum(np.hypot(x, y), 1e-9)
    angle = (np.arange(256) + 0.5) * np.pi / 256
    bessel = np.cos(angle - z[..., None] * np.sin(angle)).mean(axis=-1)
    expected = 5e3 * (2 * bessel / z) ** 2 * (2 + 2 * np.cos(2 * np.pi * 10 * x))
    photons = np.random.default_rng(1).poisson(expected + 0.05)
    stop = (np.hypot(x, y) * 128 <= 3).astype(int)
    asked = {"patterns": photons.tolist(), "mask": stop.tolist(), "beam_stop_px": 3.0}
    (pattern,) = post("/aggregates", asked | {"centre_px": [32, 32], "radius_px": 5.0})["patterns"]
    return pattern["count"] == 2


QUESTIONS: Final = (polarization, indexing, waveform, aggregates)


def main() -> int:
    """Start, ask, stop; the number of what failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--health", default="", help="command that succeeds when the service is ready")
    parser.add_argument("--read-only", action="store_true", help="the root file system must be, and the user nobody")
    parser.add_argument("--key", default="", help="sent as Authorization: Apikey")
    parser.add_argument("--before", action="append", default=[], help="command to start first and to end last")
    parser.add_argument("serve", nargs="+")
    given = parser.parse_args()
    if given.read_only:
        expect_no_rights()
    before = [subprocess.Popen(shlex.split(command)) for command in given.before]
    started = time.monotonic()
    service = subprocess.Popen(given.serve)
    try:
        wait_until_ready(service, shlex.split(given.health) or given.url, started)
        failed = [question.__name__ for question in QUESTIONS if not asked(question, given.url, given.key)]
        failed += [] if stopped(service) else ["stop"]
    finally:
        for process in (service, *before):
            process.kill()
    say(f"{len(QUESTIONS) - len(failed)} passed, {len(failed)} failed" + "".join(f" {name}" for name in failed))
    return len(failed)


def expect_no_rights() -> None:
    """Make sure that this is a test: no user's rights, no capabilities, nothing to write to."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    found = (os.getuid(), os.getgid(), int(status["CapEff"], 16), int(status["CapBnd"], 16), int(status["NoNewPrivs"]))
    if found != (10001, 10001, 0, 0, 1):
        raise SystemExit(f"user, group, capabilities (effective, bounding), no new privileges: {found}")
    for folder in ("/", "/app", "/app/app", "/models", "/opt/venv"):
        if os.access(folder, os.W_OK):
            raise SystemExit(f"{folder} can be written to")


def wait_until_ready(service: subprocess.Popen[bytes], health: list[str] | str, started: float) -> None:
    """Wait for the health check, or for /health/ready where there is no command for it."""
    while not healthy(health):
        if service.poll() is not None or time.monotonic() - started > START_S:
            raise SystemExit(f"the service was not ready within {START_S:.0f} s (exit status {service.poll()})")
        time.sleep(0.1)
    say(f"ready after {time.monotonic() - started:.1f} s")


def healthy(health: list[str] | str) -> bool:
    if isinstance(health, list):
        return subprocess.run(health, stderr=subprocess.DEVNULL, check=False).returncode == 0
    try:
        with urlopen(f"{health}/health/ready", timeout=5) as answer:
            return answer.status == 200
    except (URLError, OSError):
        return False


def asked(question: Callable[[Post], bool], url: str, key: str) -> bool:
    """Ask a question and say what came of it."""

    def post(path: str, body: Any) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Apikey {key}"} if key else {})
        with urlopen(Request(url + path, json.dumps(body).encode(), headers), timeout=120) as answer:
            return json.load(answer)

    began = time.monotonic()
    try:
        right = question(post)
    except (URLError, OSError, KeyError, ValueError) as error:
        body = error.read().decode() if isinstance(error, HTTPError) else ""
        say(f"{question.__name__}: {error!r} {body}")
        return False
    say(f"{question.__name__}: {'right' if right else 'WRONG'} after {time.monotonic() - began:.2f} s")
    return right


def stopped(service: subprocess.Popen[bytes]) -> bool:
    """Whether the service ends by itself when it is asked to."""
    began = time.monotonic()
    service.send_signal(signal.SIGTERM)
    try:
        status = service.wait(STOP_S)
    except subprocess.TimeoutExpired:
        status = None
    say(f"stopped with status {status} after {time.monotonic() - began:.1f} s")
    return status in (0, -signal.SIGTERM)


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
