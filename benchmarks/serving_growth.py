"""How the service grows: with the items of a request, with workers, with time; and what it is when it starts.

    python -m benchmarks.serving_growth [start] [items] [workers] [memory] [--requests 100000]

`start`: seconds from `python -m app serve` to readiness, memory of the server process with all models, and, apart, of
its processes for long work. `items`: one request of 1, 10, 100, 1,000 items beside a bare echo of the same body; for
indexing, which takes seconds, what it costs to accept the work. `workers`: requests per second of 1 and 2 server
processes. `memory`: resident memory while requests of all kinds come in, good and bad. All by default, in this order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from app.api.indexing_examples import EXAMPLES
from benchmarks.load import REPOSITORY, Target, compared, load, server
from benchmarks.serving_arrays import npy, pattern, waveforms
from benchmarks.serving_polarization import PAYLOAD

ITEMS = (1, 10, 100, 1000)
STARTS = 5
CHECKS = 10
NOWHERE = 0
"""Port of a request that was not sent anywhere yet."""
JSON = {"Content-Type": "application/json"}
NPY = {"Content-Type": "application/x-npy"}


# --- requests ---------------------------------------------------------------------------------------------------------


def polarization(n: int) -> Target:
    """So many experiments, 50 times asked of each."""
    body = json.dumps({"experiments": PAYLOAD["experiments"] * n}).encode()
    return Target(NOWHERE, "/polarization/predict", body, JSON)


def waveform(n: int) -> Target:
    """So many waveforms, as `.npy`."""
    return Target(NOWHERE, "/waveform", npy(waveforms(n)), NPY)


def aggregates(n: int) -> Target:
    """So many patterns, as `.npy`; the beam is looked for."""
    return Target(NOWHERE, "/aggregates?radius_px=5", npy(np.repeat(pattern()[None], n, axis=0)), NPY)


def indexing(n: int) -> Target:
    """So many patterns to be indexed by whoever has time: the request is answered when they are stored."""
    one = EXAMPLES["2theta"]["value"]
    if n == 1:
        return Target(NOWHERE, "/indexing/solve", json.dumps(one).encode(), _LATER, status=202)
    lines = {name: one[name] for name in ("two_theta_deg", "wavelength_ang")}
    body = json.dumps({"patterns": [lines] * n, "max_seconds": 5.0}).encode()
    return Target(NOWHERE, "/indexing/solve/batch", body, _LATER, status=202)


_LATER = JSON | {"Prefer": "respond-async"}
KINDS: Mapping[str, Callable[[int], Target]] = {
    "polarization": polarization,
    "waveform": waveform,
    "aggregates": aggregates,
    "indexing, accepted": indexing,
}
BAD = Target(NOWHERE, "/waveform", b'{"waveforms": [1, 2, null]}', JSON, status=422)


# --- the service ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Service:
    """A running `python -m app serve`.

    Attributes:
        ready_s: from its start until it was ready.
        processor_s: what of that a processor worked; where others use the machine too, this tells more.
    """

    port: int
    process: int
    ready_s: float
    processor_s: float


@contextmanager
def serving(workers: int = 1, job_workers: int = 0) -> Iterator[Service]:
    """Start the service as users do, on a free port, with a database of its own."""
    with TemporaryDirectory(prefix="growth-") as folder:
        environment = os.environ | {
            "BEAMLINE_JOB_WORKERS": str(job_workers),
            "BEAMLINE_JOBS_DATABASE": f"sqlite:///{folder}/jobs.sqlite3",
            "BEAMLINE_JOB_QUEUE": "1000000",
            "BEAMLINE_LOG_FORMAT": "json",
        }
        log = Path(folder) / "log"
        started = time.perf_counter()
        with log.open("wb") as written:
            command = [sys.executable, "-m", "app", "serve", "--port", "0", "--workers", str(workers)]
            process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=written, stderr=written)
        try:
            port = _until(lambda: _port(log), process)
            _until(lambda: _is_ready(port), process)
            _until(lambda: log.read_text().count('"service started"') >= workers, process)
            yield Service(port, process.pid, time.perf_counter() - started, processor_s(process.pid))
        finally:
            process.terminate()
            process.wait(60)


def _until(look: Callable[[], int], process: subprocess.Popen[bytes], patience_s: float = 120.0) -> int:
    deadline = time.monotonic() + patience_s
    while not (found := look()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("the service did not start; run `make serve` to see why")
        time.sleep(0.01)
    return found


def _port(log: Path) -> int:
    found = re.search(r"running on http://[\d.]+:(\d+)", log.read_text())
    return int(found[1]) if found else 0


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def memory_mib(process: int, kind: str = "VmRSS") -> float:
    """Resident memory of a process [MiB]; `VmHWM` the most that it has been."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(rf"{kind}:\s+(\d+) kB", status)[0]) / 1024.0


def children(process: int | str) -> set[int]:
    """Processes that a process has started."""
    threads = Path(f"/proc/{process}/task").iterdir()
    return {int(child) for thread in threads for child in (thread / "children").read_text().split()}


def processor_s(process: int) -> float:
    """Seconds that a processor has worked for a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def has_tensorflow(process: int) -> bool:
    """Whether any part of TensorFlow is loaded."""
    return "/tensorflow/" in Path(f"/proc/{process}/maps").read_text()


# --- measurements -----------------------------------------------------------------------------------------------------


def start(_options: argparse.Namespace) -> None:
    """Print seconds to readiness and memory."""
    ready, worked = [], []
    for _ in range(STARTS):
        with serving() as service:
            ready.append(service.ready_s)
            worked.append(service.processor_s)
            resident, loaded = memory_mib(service.process), has_tensorflow(service.process)
    print(f"ready after {statistics.median(ready):.2f} s (median of {STARTS}; {min(ready):.2f} to {max(ready):.2f} s)")
    print(f"of which a processor worked {statistics.median(worked):.2f} s")
    print(f"resident with all models: {resident:.0f} MiB; TensorFlow is {'' if loaded else 'not '}loaded")
    with serving(job_workers=2) as service:
        each = ", ".join(f"{memory_mib(child):.0f}" for child in children(service.process))
        print(f"with 2 processes for long work: ready after {service.ready_s:.2f} s; they have {each} MiB at once, and")
        time.sleep(10.0)  # they import the solver in the background
        each = ", ".join(f"{memory_mib(child):.0f}" for child in children(service.process))
        print(f"{each} MiB when the solver is loaded; the server itself {memory_mib(service.process):.0f} MiB")


def items(options: argparse.Namespace) -> None:
    """Print what one request costs by the number of its items."""
    print(f"{'':>20} {'items':>6} {'body kB':>8} {'p50 ms':>10} {'us an item':>11} {'echo ms':>9} {'x echo':>8}")
    with serving() as service, server("benchmarks.serving.echo:raw") as echo_port:
        for name, made in KINDS.items():
            for n in ITEMS:
                request = made(n)
                bare = replace(request, port=echo_port, status=200)
                targets = {"service": replace(request, port=service.port), "echo": bare}
                found = compared(targets, clients=1, requests=max(2000 // n, 5), seconds=options.seconds)
                took, least = found["service"].percentile_ms(50), found["echo"].percentile_ms(50)
                size, each = len(request.body) / 1e3, took / n * 1e3
                print(f"{name:>20} {n:>6} {size:>8.1f} {took:>10.3f} {each:>11.1f} {least:>9.3f} {took / least:>8.1f}")


def workers(options: argparse.Namespace) -> None:
    """Print requests per second of one and of two server processes, and their ratio."""
    print(
        f"{'':>20} {'1 worker':>10} {'2 workers':>10} {'ratio':>6}   requests per second of {options.clients} clients"
    )
    with ExitStack() as stack:
        services = {n: stack.enter_context(serving(workers=n)) for n in (1, 2)}
        for name, made in KINDS.items():
            targets = {str(n): replace(made(1), port=service.port) for n, service in services.items()}
            found = compared(targets, clients=options.clients, requests=50_000, seconds=options.seconds)
            one, two = found["1"].per_second, found["2"].per_second
            print(f"{name:>20} {one:>10.0f} {two:>10.0f} {two / one:>6.2f}")


def memory(options: argparse.Namespace) -> None:
    """Print resident memory while requests come in: 60 of polarization to 30 waveforms, 8 patterns and 2 bad ones."""
    parts = [(60, polarization(1)), (30, waveform(1)), (8, aggregates(1)), (2, BAD)]
    with serving() as service:
        seen = []
        for check in range(CHECKS + 1):
            if check:
                asyncio.run(_mixed(service.port, parts, options.requests // CHECKS))
            seen.append(memory_mib(service.process))
            print(f"{check * (options.requests // CHECKS):>9,} requests: {seen[-1]:7.1f} MiB", flush=True)
        change = (seen[-1] / seen[1] - 1.0) * 100.0
        most = memory_mib(service.process, "VmHWM")
        print(f"since the first {options.requests // CHECKS:,}: {change:+.1f} %; most {most:.1f} MiB")


async def _mixed(port: int, parts: Sequence[tuple[int, Target]], requests: int) -> None:
    runs = [
        load(replace(target, port=port), clients=4, requests=requests * share // 100, seconds=3600.0)
        for share, target in parts
    ]
    await asyncio.gather(*runs)


MEASUREMENTS = {"start": start, "items": items, "workers": workers, "memory": memory}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", help=f"of {', '.join(MEASUREMENTS)}; all by default")
    parser.add_argument("--requests", type=int, default=100_000, help="for the memory")
    parser.add_argument("--seconds", type=float, default=4.0, help="longest time of a round")
    parser.add_argument("--clients", type=int, default=16, help="concurrent connections to one and two workers")
    options = parser.parse_args()
    unknown = set(options.which) - MEASUREMENTS.keys()
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    for name in options.which or MEASUREMENTS:
        print(f"\n{name}")
        MEASUREMENTS[name](options)


if __name__ == "__main__":
    main()
