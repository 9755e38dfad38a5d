"""A scan of the real run engine with the example as its callback; run with bluesky's own environment.

Usage: python bluesky_session.py ADDRESS < key

Prints what became of each pattern, as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import event_model
import numpy as np
from bluesky import RunEngine
from bluesky_indexing import IndexEachPattern, Indexed

from beamline_client import BeamlineError, Client

TWO_THETA = np.arange(15.0, 110.0, 0.02)


class Diffractometer:
    """A detector that counts what it is told to."""

    name = "diffractometer"
    parent = None

    def __init__(self) -> None:
        self.counts = np.zeros_like(TWO_THETA)

    def read(self) -> dict[str, Any]:
        now = time.time()
        values = {"twotheta": TWO_THETA, "intensity": self.counts}
        return {name: {"value": value, "timestamp": now} for name, value in values.items()}

    def describe(self) -> dict[str, Any]:
        key = {"source": "simulated", "dtype": "array", "shape": list(TWO_THETA.shape)}
        return {"twotheta": key, "intensity": key}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        return {}


def cubic(a_ang: float) -> np.ndarray:
    squares = np.array([n for n in range(1, 20) if n not in (7, 15)])
    sines = 1.5406 * np.sqrt(squares) / (2 * a_ang)
    lines = 2 * np.degrees(np.arcsin(sines[sines < 0.8]))
    expected = 20 + 2000 * np.exp(-0.5 * ((TWO_THETA[:, None] - lines) / 0.05) ** 2).sum(axis=1)
    return np.random.default_rng(1).poisson(expected).astype(float)


def plan(detector: Diffractometer, patterns: list[np.ndarray], **told: Any) -> Iterator[Any]:
    @bpp.run_decorator(md=told)
    def scan() -> Iterator[Any]:
        detector.counts = patterns[0]
        yield from bps.trigger_and_read([detector], name="baseline")
        for detector.counts in patterns:
            yield from bps.trigger_and_read([detector], name="primary")

    yield from scan()


def told(found: Indexed) -> dict[str, Any]:
    best, error = found.best, found.error
    return {
        "run": found.asked.run_uid,
        "seq_num": found.asked.seq_num,
        "bravais": best and best.bravais,
        "a_ang": best and best.cell.a_ang,
        "name": found.answer and found.answer.name,
        "error": error and type(error).__name__,
    }


class Stuck:
    """A service that answers when it is let."""

    def __init__(self) -> None:
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def solve_file(self, *_: Any, **__: Any) -> Any:
        self.asked.set()
        self.may_answer.wait(60)
        raise BeamlineError("let go")


def crowded() -> list[str]:
    """Three patterns, one page of them, for a service that is stuck with the first, and room for one to wait."""
    found: list[str] = []

    def listen(indexed: Indexed) -> None:
        found.append(f"{indexed.asked.seq_num} {type(indexed.error).__name__}")
        raise RuntimeError("whoever listens fails")

    service: Any = Stuck()
    index = IndexEachPattern(service, on_result=listen, most_waiting=1)
    run = event_model.compose_run(metadata={"wavelength_ang": 1.5406})
    stream = run.compose_descriptor(name="primary", data_keys=Diffractometer().describe())
    index("start", run.start_doc)
    index("descriptor", stream.descriptor_doc)
    data = {"twotheta": TWO_THETA, "intensity": cubic(4.1569)}
    events = [stream.compose_event(data=data, timestamps=dict.fromkeys(data, 0.0)) for _ in range(3)]
    index("event", events[0])
    service.asked.wait(60)
    index("event_page", event_model.pack_event_page(*events[1:]))
    index("stop", run.compose_stop())
    service.may_answer.set()
    index.close()
    return found


def main() -> None:
    found: list[Indexed] = []
    detector = Diffractometer()
    with Client(sys.argv[1], api_key=sys.stdin.read() or None) as service:
        index = IndexEachPattern(service, on_result=found.append, max_seconds=5.0)
        engine = RunEngine()
        engine.subscribe(index)
        flat = np.full_like(TWO_THETA, 20.0)
        runs = engine(plan(detector, [cubic(4.1569), flat, cubic(5.4309)], wavelength_ang=1.5406))
        runs += engine(plan(detector, [cubic(4.1569)]))
        index.close()
    print(json.dumps({"runs": runs, "found": [told(one) for one in found], "crowded": crowded()}))  # noqa: T201


main()
