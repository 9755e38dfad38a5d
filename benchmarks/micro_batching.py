"""What is gained where requests that wait are answered together, or in threads, in place of one after another.

    python -m benchmarks.micro_batching [--seconds 4] [--clients 1 16 64] [--keras]

First, in this process, what one item costs alone and in batches: of each shipped network by itself, and of all that is
done for a request. Batching can pay where t(32)/32 is well below t(1) and t(1) is not small beside what HTTP costs.
Then the real server three times, in the same rounds: `together` answers what waits as one (as it is shipped, where that
gains), `in turn` one request after another in the event loop, `threads` each in a thread of its own. `--keras` adds the
networks in the Keras runtime, which answers where no compiled form is at hand; it needs TensorFlow.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
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
from app.api import waveform
from app.api.draining import Draining
from app.api.fast_path import FastRequest, FastRoute
from app.main import service
from app.model_registry.registry import LoadedModel, Registry
from app.model_registry.runtime import KerasModel
from app.model_registry.store import ModelStore
from app.settings import Settings
from app.waveform.models import waveform_model
from app.waveform.predict import Ask, predict
from benchmarks.load import Load, Target, compared, server
from benchmarks.serving_arrays import CASES, pattern, waveforms
from benchmarks.serving_polarization import PAYLOAD

BATCHES = (1, 4, 16, 32, 64)
THREADS = 4

# --- servers ----------------------------------------------------------------------------------------------------------


def together() -> FastAPI:
    """The service as it is."""
    return service()


def in_turn() -> FastAPI:
    """The service that answers one request after another."""
    return _with_draining(lambda key, work, most: Draining(key, work, most=1))


def threads() -> FastAPI:
    """The service that answers each request in a thread."""
    app = _with_draining(_Threaded)
    limiter = anyio.CapacityLimiter(THREADS)
    app.state.fast_routes = [replace(route, handle=_in_thread(route, limiter)) for route in app.state.fast_routes]
    return app


def _with_draining(draining: Callable[..., Any]) -> FastAPI:
    shipped, waveform.Draining = waveform.Draining, draining
    try:
        return service()
    finally:
        waveform.Draining = shipped


class _Threaded:
    """What waits is not collected: each question has a thread."""

    def __init__(self, key: Any, work: Callable[[list[Any]], list[Any]], *, most: int) -> None:
        self._work = work
        self._limiter = anyio.CapacityLimiter(THREADS)

    async def __call__(self, question: Any) -> Any:
        return (await anyio.to_thread.run_sync(self._work, [question], limiter=self._limiter))[0]


def _in_thread(route: FastRoute, limiter: anyio.CapacityLimiter) -> Callable[[FastRequest], Awaitable[Response | None]]:
    async def handle(request: FastRequest) -> Response | None:
        if route.path == "/waveform":
            answer = route.handle(request)
            return await answer if isinstance(answer, Awaitable) else answer
        return await anyio.to_thread.run_sync(route.handle, request, limiter=limiter)  # type: ignore[return-value]

    return handle


# --- one item alone and in batches ------------------------------------------------------------------------------------


def seconds(work: Callable[[], object], budget_s: float = 0.5) -> float:
    """Median duration of a call within a budget of time."""
    for _ in range(3):
        work()
    taken, until = [], time.perf_counter() + budget_s
    while time.perf_counter() < until or len(taken) < 5:
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
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


def _keras(registry: Registry, loaded: LoadedModel) -> KerasModel:
    stored = registry.store.read(loaded.name, loaded.version)
    assert loaded.manifest.network is not None
    return KerasModel(stored.contents[loaded.manifest.network], loaded.manifest.inputs)


# --- over HTTP --------------------------------------------------------------------------------------------------------


def targets(ports: Mapping[str, int], name: str) -> dict[str, Target]:
    """The same request to each server."""
    if name == "polarization, JSON":
        import orjson

        return {server: Target(port, "/polarization/predict", orjson.dumps(PAYLOAD)) for server, port in ports.items()}
    case = CASES[name]
    body = case.body()
    return {server: Target(port, case.path, body, case.headers) for server, port in ports.items()}


HEADER = f"{'clients':>7} {'server':>9} {'requests/s':>11} {'p50 ms':>8} {'p99 ms':>8} {'x in turn':>10}"
REQUESTS = ("polarization, JSON", "1 waveform, open inference", "1 waveform, JSON", "1 pattern, npy")


def over_http(options: argparse.Namespace) -> None:
    """Print requests per second and latencies of the three servers."""
    names = ("together", "in_turn", "threads")
    with (
        server("benchmarks.micro_batching:together") as first,
        server("benchmarks.micro_batching:in_turn") as second,
        server("benchmarks.micro_batching:threads") as third,
    ):
        ports = dict(zip(names, (first, second, third), strict=True))
        for name in REQUESTS:
            print(f"\n{name}\n{HEADER}")
            for clients in options.clients:
                found = compared(targets(ports, name), clients=clients, requests=20_000, seconds=options.seconds)
                for server_name, load in found.items():
                    print(_measured(clients, server_name, load, found["in_turn"]), flush=True)


def _measured(clients: int, name: str, load: Load, base: Load) -> str:
    latencies = f"{load.percentile_ms(50):>8.3f} {load.percentile_ms(99):>8.3f}"
    return f"{clients:>7} {name:>9} {load.per_second:>11.0f} {latencies} {load.per_second / base.per_second:>10.2f}"


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
