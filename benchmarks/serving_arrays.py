"""Latency and requests per second of `POST /waveform` and `POST /aggregates` beside a bare echo, in one run.

Run it with `make bench-arrays`, or `python -m benchmarks.serving_arrays --help`. Each body goes to the service and, in
the same rounds, to a FastAPI application that gives it back: `echo` the bytes as they are, `parsed` through FastAPI's
own way of reading JSON. The published models answer; a model that is not in the store is left out.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from app.model_registry.store import ModelStore
from app.settings import Settings
from benchmarks.load import Load, Target, compared, server

SAMPLES = 5000
BATCH = 1000


# --- payloads ---------------------------------------------------------------------------------------------------------


def waveforms(n: int) -> np.ndarray:
    """S2 pulses of 300 to 3,000 electrons on electronic noise, in photons; float32."""
    rng = np.random.default_rng(1)
    time = np.arange(SAMPLES) - 2500.0
    width, d = rng.uniform(60.0, 120.0, (n, 1)), rng.uniform(0.0, 800.0, (n, 1))
    shape = np.exp(-0.5 * ((time - d / 2) / width) ** 2) + np.exp(-0.5 * ((time + d / 2) / width) ** 2)
    light = rng.uniform(12_000.0, 120_000.0, (n, 1)) * shape / shape.sum(axis=1, keepdims=True)
    return (rng.poisson(light) + rng.normal(0.0, 0.5, light.shape)).astype(np.float32)


def pattern() -> np.ndarray:
    """Photons behind two touching discs of radius 5 in 128 x 128 points, the middle 64 x 64; uint16."""
    row, column = np.indices((128, 128)) - 64.0
    disc = (np.hypot(row, column - 5.0) < 5.0) | (np.hypot(row, column + 5.0) < 5.0)
    far = np.abs(np.fft.fftshift(np.fft.fft2(disc)))[32:96, 32:96] ** 2
    return np.random.default_rng(2).poisson(1e5 * far / far.sum()).astype(np.uint16)


def npy(array: np.ndarray) -> bytes:
    """The array as a file."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@dataclass(frozen=True)
class Case:
    """One body, and where it goes."""

    model: str
    path: str
    body: Callable[[], bytes]
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    requests: int = 2000

    @property
    def is_json(self) -> bool:
        return self.headers["Content-Type"] == "application/json"


def _tensor_head(array: np.ndarray) -> bytes:
    tensor = {"name": "waveforms", "shape": array.shape, "datatype": "FP32"}
    return json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": array.nbytes}}]}).encode()


def _tensor_body() -> bytes:
    array = waveforms(1)
    return _tensor_head(array) + array.tobytes()


_NPY = {"Content-Type": "application/x-npy"}
_BINARY = {
    "Content-Type": "application/octet-stream",
    "Inference-Header-Content-Length": str(len(_tensor_head(np.empty((1, SAMPLES), np.float32)))),
}
_WAVEFORM, _AGGREGATES = "waveform-s2", "aggregates-count"
CASES: dict[str, Case] = {
    "1 waveform, JSON": Case(
        _WAVEFORM, "/waveform", lambda: json.dumps({"waveforms": waveforms(1).round(4).astype(float).tolist()}).encode()
    ),
    "1 waveform, npy": Case(_WAVEFORM, "/waveform", lambda: npy(waveforms(1)), _NPY),
    "1 waveform, open inference": Case(_WAVEFORM, "/waveform", _tensor_body, _BINARY),
    "1,000 waveforms, npy": Case(_WAVEFORM, "/waveform", lambda: npy(waveforms(BATCH)), _NPY, requests=20),
    "1 pattern, npy": Case(_AGGREGATES, "/aggregates?radius_px=5", lambda: npy(pattern()), _NPY),
    "1 pattern, JSON": Case(
        _AGGREGATES,
        "/aggregates",
        lambda: json.dumps({"patterns": [pattern().tolist()], "radius_px": 5}).encode(),
    ),
}


# --- measuring --------------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure and print a table for each body."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="longest time of a round")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16], help="concurrent connections")
    parser.add_argument("--only", default="", help="measure only the bodies whose name holds this")
    parser.add_argument("--service", default="app.main:service", help="factory of the application to measure")
    options = parser.parse_args()
    store = {model.name for model in ModelStore(Settings().model_store).list()}
    own = options.service == "app.main:service"
    with server("benchmarks.serving.echo:fastapi") as echo_port, server(options.service) as port:
        for name, case in CASES.items():
            if own and case.model not in store:
                print(f"{name}: the store has no {case.model}")
            elif options.only in name:
                _measure(name, case, echo_port, port, options)


def _measure(name: str, case: Case, echo_port: int, port: int, options: argparse.Namespace) -> None:
    body = case.body()
    targets = {
        "service": Target(port, case.path, body, case.headers),
        "echo": Target(echo_port, "/echo", body, case.headers),
    }
    if case.is_json:
        targets["parsed"] = Target(echo_port, "/parsed", body, case.headers)
    print(f"\n{name} ({len(body):,} bytes)")
    print(f"{'clients':>7} {'server':>8} {'requests/s':>11} {'p50 ms':>9} {'p99 ms':>9} {'p50 / echo':>11}")
    for clients in options.clients if case.requests > 100 else options.clients[:1]:
        found = compared(targets, clients=clients, requests=case.requests, seconds=options.seconds)
        for server_name, load in found.items():
            print(_line(clients, server_name, load, found["echo"]))


def _line(clients: int, name: str, load: Load, bare: Load) -> str:
    ratio = load.percentile_ms(50) / bare.percentile_ms(50)
    figures = f"{load.per_second:>11.1f} {load.percentile_ms(50):>9.3f} {load.percentile_ms(99):>9.3f}"
    return f"{clients:>7} {name:>8} {figures} {ratio:>11.2f}"


if __name__ == "__main__":
    main()
