"""What the models cost by themselves, called in this process: the part of a request that no server can save."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from app.errors import NotFound
from app.model_registry.registry import Registry
from app.model_registry.store import ModelStore
from app.waveform.models import waveform_model
from app.waveform.predict import Ask, predict
from benchmarks.serving.networks import Prepared
from benchmarks.serving_arrays import waveforms

WAVEFORM = "waveform-s2"


def own_calls(prepared: Prepared) -> dict[str, Callable[[], object]]:
    """For each model that a target is measured by: one answer to the benchmark's question, arrays in, arrays out.

    A network is run alone; the waveform model is `app.waveform.predict.predict`, which finds the pulse too.
    """
    registry = Registry(ModelStore(prepared.store))
    registry.refresh()
    calls = {name: _network(registry, name, asked.inputs) for name, asked in prepared.asked.items()}
    try:
        model = waveform_model(registry.resolve(WAVEFORM))
    except NotFound:
        return calls
    ask = Ask(waveforms(1))
    return calls | {WAVEFORM: lambda: predict(ask, model)}


def _network(registry: Registry, name: str, inputs: Mapping[str, np.ndarray]) -> Callable[[], object]:
    run = registry.resolve(name).run
    return lambda: run(inputs)


def median_ms(call: Callable[[], object], seconds: float) -> float:
    """Median time of a call, repeated for so long [milliseconds]."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    call()
    while not times or time.perf_counter() < until:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return 1e3 * float(np.median(times))
