"""Requests per second and latency of `/polarization/predict` beside a bare FastAPI echo of the same payload.

    python -m benchmarks.serving_polarization [--requests 3000] [--seconds 20]

One experiment, 50 times asked, the published `polarization-crystalline`. Both servers are uvicorn with one worker, both
are asked in the same run, in turn, over kept connections from one client process. The echo is what FastAPI does by
itself: the body into a pydantic model, the model back out as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

REPOSITORY = Path(__file__).resolve().parents[1]
ROUNDS = 3
WARM_UP = 100
TIMES = 50


class _Cell(BaseModel):
    cell_id: str
    pressure_bar: float
    lab_polarization: float
    lab_time_s: float


class _Calibration(BaseModel):
    time_s: float
    polarization: float
    sigma: float


class _PredictAt(BaseModel):
    times_s: list[float]


class _Experiment(BaseModel):
    material: str
    polarizer: _Cell
    initial: _Calibration
    final: _Calibration
    predict_at: _PredictAt


class _Body(BaseModel):
    experiments: list[_Experiment]


def echo() -> FastAPI:
    """A FastAPI application that gives its body back."""
    app = FastAPI()

    @app.post("/echo")
    async def _echo(body: _Body) -> _Body:
        return body

    return app


PAYLOAD: dict[str, Any] = {
    "experiments": [
        {
            "material": "crystalline",
            "polarizer": {"cell_id": "ge18004", "pressure_bar": 2.3, "lab_polarization": 0.78, "lab_time_s": -1980.0},
            "initial": {"time_s": 0.0, "polarization": 0.848, "sigma": 0.0021},
            "final": {"time_s": 86400.0, "polarization": 0.792, "sigma": 0.0024},
            "predict_at": {"times_s": [round(86400.0 * i / (TIMES - 1), 3) for i in range(TIMES)]},
        }
    ]
}


@contextmanager
def _server(factory: str) -> Iterator[int]:
    """Run a uvicorn worker as `python -m app serve` does; give its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--factory", "--port", str(port), "--loop", "asyncio", "--http", "httptools", "--no-access-log"]
    command = [sys.executable, "-m", "uvicorn", factory, *options, "--log-level", "warning"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(port, process)
            yield port
        finally:
            process.terminate()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise SystemExit("a server did not start; run `make serve` to see why")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("a server did not start within 30 s")


@dataclass(frozen=True)
class Load:
    """Latencies [s] of one run and its duration [s]."""

    latencies_s: list[float]
    duration_s: float

    @property
    def per_second(self) -> float:
        return len(self.latencies_s) / self.duration_s

    def percentile_ms(self, percent: int) -> float:
        return statistics.quantiles(self.latencies_s, n=100, method="inclusive")[percent - 1] * 1e3


async def _client(port: int, request: bytes, count: int, until: float) -> list[float]:
    """Send requests one after another over one connection; the client parses no more than the length."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    latencies: list[float] = []
    try:
        while len(latencies) < count and time.perf_counter() < until:
            started = time.perf_counter()
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - started)
    finally:
        writer.close()
    return latencies


async def _load(port: int, path: str, *, clients: int, requests: int, seconds: float) -> Load:
    body = json.dumps(PAYLOAD).encode()
    head = (
        "POST " + path + " HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    request = "\r\n".join((*head, "", "")).encode() + body
    await _client(port, request, WARM_UP, time.perf_counter() + seconds)
    started = time.perf_counter()
    until = started + seconds
    found = await asyncio.gather(*(_client(port, request, requests // clients, until) for _ in range(clients)))
    return Load([latency for one in found for latency in one], time.perf_counter() - started)


def main() -> None:
    """Measure and print one line for each concurrency."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000, help="requests in each round")
    parser.add_argument("--seconds", type=float, default=20.0, help="longest time of a round")
    options = parser.parse_args()
    with ExitStack() as stack:
        targets = {
            "echo": (stack.enter_context(_server("benchmarks.serving_polarization:echo")), "/echo"),
            "predict": (stack.enter_context(_server("app.main:service")), "/polarization/predict"),
        }
        print(f"{'clients':>7} {'server':>8} {'requests/s':>11} {'p50 ms':>8} {'p99 ms':>8}")
        for clients in (1, 16):
            _compare(targets, clients, options.requests, options.seconds)


def _compare(targets: dict[str, tuple[int, str]], clients: int, requests: int, seconds: float) -> None:
    """Rounds alternate between the servers; the median round by p50 counts."""
    rounds: dict[str, list[Load]] = {name: [] for name in targets}
    for _ in range(ROUNDS):
        for name, (port, path) in targets.items():
            load = asyncio.run(_load(port, path, clients=clients, requests=requests, seconds=seconds))
            rounds[name].append(load)
    median = {
        name: sorted(loads, key=lambda load: load.percentile_ms(50))[ROUNDS // 2] for name, loads in rounds.items()
    }
    for name, load in median.items():
        figures = f"{load.per_second:>11.0f} {load.percentile_ms(50):>8.3f} {load.percentile_ms(99):>8.3f}"
        print(f"{clients:>7} {name:>8} {figures}")
    ratio = median["predict"].percentile_ms(50) / median["echo"].percentile_ms(50)
    print(f"{clients:>7} p50 of predict is {ratio:.2f} x that of the echo")


if __name__ == "__main__":
    main()
