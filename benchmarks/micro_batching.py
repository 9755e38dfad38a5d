"""What is gained where requests that wait are answered together, or in threads, in place of one after another.

    OMP_NUM_THREADS=1 python -m benchmarks.micro_batching [--seconds 4] [--clients 1 16 64] [--keras]

First, in this process, what one item costs alone and in batches: of each shipped network by itself, and of all that is
done for a request. Batching can pay where t(32)/32 is well below t(1) and t(1) is not small beside what HTTP costs.
Then the real server three times, in the same rounds: `shipped` answers waveforms that wait as one and patterns in
threads, `in_turn` one request after another in the event loop, `threads` each in a thread of its own. `--keras` adds
the networks in the Keras runtime, which answers where no compiled form is at hand; it needs TensorFlow. What a second
of a core achieves tells more than a second by the clock where others use the machine too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
from fastapi import FastAPI
from starlette.responses import Response

from app.aggregates.intake import prepare
from app.aggregates.measurement import Measurement
from app.aggregates.models import aggregate_model
from app.aggregates.predict import predict as predict_aggregates
from app.api import aggregates, waveform
from app.api.draining import Draining
from app.api.fast_path import FastRequest, FastRoute
from app.api.polarization_cases import cases_from_experiments
from app.api.polarization_models import Choice, solved
from app.api.polarization_schema import PredictRequest
from app.main import service
from app.model_registry.registry import LoadedModel, Registry
from app.model_registry.runtime import KerasModel
from app.model_registry.store import ModelStore
from app.polarization.case import Case
from app.settings import Settings
from app.waveform.models import waveform_model
from app.waveform.predict import Ask, predict
from benchmarks.load import ROUNDS, Load, Target, load, server
from benchmarks.serving_arrays import CASES, pattern, waveforms
from benchmarks.serving_growth import children, processor_s
from benchmarks.serving_polarization import PAYLOAD

BATCHES = (1, 4, 16, 32, 64)
THREADS = 4

# --- servers ----------------------------------------------------------------------------------------------------------


def shipped() -> FastAPI:
    """The service as it is."""
    return service()


def in_turn() -> FastAPI:
    """The service that answers one request after another."""
    aggregates.run_sync = _at_once  # type: ignore[assignment]
    return _with_draining(lambda key, work, most: Draining(key, work, most=1))


async def _at_once(work: Callable[..., Any], *arguments: Any, limiter: object) -> Any:
    return work(*arguments)


def threads() -> FastAPI:
    """The service that answers each request in a thread."""
    app = _with_draining(_Threaded)
    limiter = anyio.CapacityLimiter(THREADS)
    app.state.fast_routes = [replace(route, handle=_in_thread(route, limiter)) for route in app.state.fast_routes]
    return app


def _with_draining(draining: Callable[..., Any]) -> FastAPI:
    before, waveform.Draining = waveform.Draining, draining
    try:
        return service()
    finally:
        waveform.Draining = before


class _Threaded:
    """What waits is not collected: each question has a thread."""

    def __init__(self, key: Any, work: Callable[[list[Any]], list[Any]], *, most: int) -> None:
        self._work = work
        self._limiter = anyio.CapacityLimiter(THREADS)

    async def __call__(self, question: Any) -> Any:
        return (await anyio.to_thread.run_sync(self._work, [question], limiter=self._limiter))[0]


def _in_thread(route: FastRoute, limiter: anyio.CapacityLimiter) -> Callable[[FastRequest], Awaitable[Response | None]]:
    async def handle(request: FastRequest) -> Response | None:
        if route.path in ("/waveform", "/aggregates"):
            answer = route.handle(request)
            return await answer if isinstance(answer, Awaitable) else answer
        return await anyio.to_thread.run_sync(route.handle, request, limiter=limiter)  # type: ignore[return-value]

    return handle


# --- one item alone and in batches ------------------------------------------------------------------------------------


def seconds(work: Callable[[], object], budget_s: float = 0.5) -> float:
    """Median time that a processor works for a call, called again and again within a budget of time."""
    for _ in range(3):
        work()
    taken, until = [], time.perf_counter() + budget_s
    while time.perf_counter() < until or len(taken) < 5:
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


def alone_and_together(registry: Registry, with_keras: bool) -> None:
    """Print what one item costs in batches of each size."""
    print(f"{'microseconds an item in batches of':>44} " + " ".join(f"{n:>8}" for n in BATCHES) + "  t(32)/32t(1)")
    for stored in registry.store.list():
        loaded = registry.resolve(stored.name)
        if not loaded.manifest.inputs:
            continue
        _line(f"{stored.name}, network", lambda n, loaded=loaded: partial(loaded.run, _inputs(loaded, n)))
        if with_keras:
            network = _keras(registry, loaded)
            _line(f"{stored.name}, Keras", lambda n, loaded=loaded, run=network: partial(run, _inputs(loaded, n)))
    model = waveform_model(registry.resolve("waveform-s2"))
    _line("waveform-s2, whole request", lambda n: partial(predict, Ask(waveforms(n)), model))
    _line("polarization, whole request", lambda n: partial(solved, _cases(n), registry, Choice(None)))
    counter = aggregate_model(registry.resolve("aggregates-count"))
    images = np.repeat(pattern()[None], max(BATCHES), axis=0)
    _line(
        "aggregates-count, whole request",
        lambda n: lambda: predict_aggregates(prepare(images[:n], None, None, Measurement(radius_px=5.0)), counter),
    )


def _line(name: str, work: Callable[[int], Callable[[], object]]) -> None:
    each = {n: seconds(work(n)) / n * 1e6 for n in BATCHES}
    print(f"{name:>44} " + " ".join(f"{each[n]:>8.1f}" for n in BATCHES) + f"  {each[32] / each[1]:.2f}", flush=True)


def _inputs(loaded: LoadedModel, n: int) -> dict[str, np.ndarray]:
    return {s.name: np.ones((n, *(size or 1 for size in s.shape[1:])), s.dtype) for s in loaded.manifest.inputs}


def _cases(n: int) -> list[Case]:
    asked = PredictRequest.model_validate_json(json.dumps({"experiments": PAYLOAD["experiments"] * n}))
    return cases_from_experiments(asked.experiments, asked.correction, 10**6)


def _keras(registry: Registry, loaded: LoadedModel) -> KerasModel:
    stored = registry.store.read(loaded.name, loaded.version)
    assert loaded.manifest.network is not None
    return KerasModel(stored.contents[loaded.manifest.network], loaded.manifest.inputs)


# --- over HTTP --------------------------------------------------------------------------------------------------------


def target(name: str) -> Target:
    """A request of this name, to nowhere yet."""
    if name == "polarization, JSON":
        return Target(0, "/polarization/predict", json.dumps(PAYLOAD).encode())
    case = CASES[name]
    return Target(0, case.path, case.body(), case.headers)


COLUMNS = ("server", "requests/s", "p50 ms", "p99 ms", "per core s", "x in turn")
HEADER = f"{'clients':>7}" + "".join(f"{column:>12}" for column in COLUMNS)
REQUESTS = ("polarization, JSON", "1 waveform, open inference", "1 waveform, JSON", "1 pattern, npy")
SERVERS = ("shipped", "in_turn", "threads")


@dataclass(frozen=True)
class Round:
    """One round of requests, and how many of them a second of a core answers."""

    load: Load
    per_core_second: float


@contextmanager
def started(name: str) -> Iterator[tuple[int, int]]:
    """Start one of the servers; give its port and its process."""
    before = children("self")
    with server(f"benchmarks.micro_batching:{name}") as port:
        (process,) = children("self") - before
        yield port, process


def over_http(options: argparse.Namespace) -> None:
    """Print requests per second, of the clock and of a core, and latencies of the three servers."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(started(name)) for name in SERVERS}
        for name in REQUESTS:
            print(f"\n{name}\n{HEADER}")
            for clients in options.clients:
                rounds: dict[str, list[Round]] = {one: [] for one in servers}
                for _ in range(ROUNDS):
                    for one, (port, process) in servers.items():
                        asked = replace(target(name), port=port)
                        rounds[one].append(_round(asked, process, clients, options.seconds))
                medians = {one: _median(found) for one, found in rounds.items()}
                for one, found in medians.items():
                    print(_measured(clients, one, found, medians["in_turn"]), flush=True)


def _round(asked: Target, process: int, clients: int, seconds: float) -> Round:
    before = processor_s(process)
    found = asyncio.run(load(asked, clients=clients, requests=10**6, seconds=seconds))
    return Round(found, len(found.latencies_s) / (processor_s(process) - before))


def _median(rounds: list[Round]) -> Round:
    by_core = sorted(rounds, key=lambda one: one.per_core_second)[len(rounds) // 2]
    by_latency = sorted(rounds, key=lambda one: one.load.percentile_ms(50))[len(rounds) // 2]
    return Round(by_latency.load, by_core.per_core_second)


def _measured(clients: int, name: str, found: Round, base: Round) -> str:
    rate, p50, p99 = found.load.per_second, found.load.percentile_ms(50), found.load.percentile_ms(99)
    ratio = found.per_core_second / base.per_core_second
    return f"{clients:>7}{name:>12}{rate:>12.0f}{p50:>12.3f}{p99:>12.3f}{found.per_core_second:>12.0f}{ratio:>12.2f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="longest time of a round")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64], help="concurrent connections")
    parser.add_argument("--keras", action="store_true", help="the Keras runtime too; needs TensorFlow")
    options = parser.parse_args()
    os.environ["BEAMLINE_JOB_WORKERS"] = "0"
    registry = Registry(ModelStore(Settings().model_store))
    registry.refresh()
    alone_and_together(registry, options.keras)
    over_http(options)


if __name__ == "__main__":
    main()
