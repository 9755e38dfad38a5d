"""Requests per second and latency of `/polarization/predict` beside a bare FastAPI echo of the same payload.

    python -m benchmarks.serving_polarization [--requests 3000] [--seconds 20]

One experiment, 50 times asked, the published `polarization-crystalline`. The service is `python -m app serve`, the echo
FastAPI under uvicorn as it comes, each with one worker; both are asked in the same run, in turn, over kept connections
from one client process. The echo is what FastAPI does by itself: the body into a pydantic model, the model back out as
JSON. Other load falls on both, but not alike: ratios are worth most on an idle machine.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.load import Target, compared, server

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


def main() -> None:
    """Measure and print one line for each concurrency."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000, help="requests in each round")
    parser.add_argument("--seconds", type=float, default=20.0, help="longest time of a round")
    options = parser.parse_args()
    body = json.dumps(PAYLOAD).encode()
    with server("benchmarks.serving_polarization:echo") as echo_port, server("app.main:service") as port:
        targets = {"echo": Target(echo_port, "/echo", body), "predict": Target(port, "/polarization/predict", body)}
        print(f"{'clients':>7} {'server':>8} {'requests/s':>11} {'p50 ms':>8} {'p99 ms':>8}")
        for clients in (1, 16, 64):
            _compare(targets, clients, options.requests, options.seconds)


def _compare(targets: dict[str, Target], clients: int, requests: int, seconds: float) -> None:
    median = compared(targets, clients=clients, requests=requests, seconds=seconds)
    for name, load in median.items():
        figures = f"{load.per_second:>11.0f} {load.percentile_ms(50):>8.3f} {load.percentile_ms(99):>8.3f}"
        print(f"{clients:>7} {name:>8} {figures}")
    predict, echo = median["predict"], median["echo"]
    slower = predict.percentile_ms(50) / echo.percentile_ms(50)
    more, tail = predict.per_second / echo.per_second, predict.percentile_ms(99) / predict.percentile_ms(50)
    print(f"{clients:>7} predict / echo: p50 {slower:.2f}, requests/s {more:.2f}; predict: p99 / p50 {tail:.1f}")


if __name__ == "__main__":
    main()
