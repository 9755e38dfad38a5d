"""A server process, clients that send one request again and again, and what they saw."""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
ROUNDS = 3
WARM_UP = 100
SERVICE = "app.main:service"


@dataclass(frozen=True)
class Target:
    """Where a request goes, what it holds, and the status of its answer."""

    port: int
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    status: int = 200

    @property
    def request(self) -> bytes:
        lines = [f"POST {self.path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join((*lines, "", "")).encode() + self.body


@dataclass(frozen=True)
class Load:
    """Latencies [s] of one run and its duration [s]."""

    latencies_s: list[float]
    duration_s: float

    @property
    def per_second(self) -> float:
        return len(self.latencies_s) / self.duration_s

    def percentile_ms(self, percent: int) -> float:
        if len(self.latencies_s) < 2:
            return self.latencies_s[0] * 1e3
        return statistics.quantiles(self.latencies_s, n=100, method="inclusive")[percent - 1] * 1e3


@contextmanager
def server(factory: str) -> Iterator[int]:
    """Run one worker: `python -m app serve` for `SERVICE`, uvicorn as it comes for any other; give its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", *_arguments(factory), "--port", str(port)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(port, process)
            yield port
        finally:
            process.terminate()


def _arguments(factory: str) -> list[str]:
    if factory == SERVICE:
        return ["app", "serve", "--workers", "1"]
    options = ["--loop", "asyncio", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    return ["uvicorn", factory, "--factory", *options]


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise SystemExit("a server did not start; run `make serve` to see why")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("a server did not start within 30 s")


async def _client(target: Target, count: int, until: float) -> list[float]:
    """Send requests one after another over one connection; the client parses no more than the length."""
    # An answer's body may be as long as the request's.
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=2**27)
    request = target.request
    latencies: list[float] = []
    try:
        while len(latencies) < count and (time.perf_counter() < until or not latencies):
            started = time.perf_counter()
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 %d" % target.status), head
            length = int(head.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - started)
    finally:
        writer.close()
    return latencies


async def load(target: Target, *, clients: int, requests: int, seconds: float) -> Load:
    """Warm up, then send at most so many requests for at most so long."""
    await _client(target, WARM_UP, time.perf_counter() + seconds / 4)
    started = time.perf_counter()
    until = started + seconds
    found = await asyncio.gather(*(_client(target, max(requests // clients, 1), until) for _ in range(clients)))
    return Load([latency for one in found for latency in one], time.perf_counter() - started)


def compared(targets: Mapping[str, Target], *, clients: int, requests: int, seconds: float) -> dict[str, Load]:
    """Rounds alternate between the targets; of each the median round by p50 counts."""
    rounds: dict[str, list[Load]] = {name: [] for name in targets}
    for _ in range(ROUNDS):
        for name, target in targets.items():
            rounds[name].append(asyncio.run(load(target, clients=clients, requests=requests, seconds=seconds)))
    return {name: sorted(loads, key=lambda one: one.percentile_ms(50))[ROUNDS // 2] for name, loads in rounds.items()}
