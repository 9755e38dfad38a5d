"""Writes MLServer's settings and starts it; small networks are fastest with `parallel_workers` 0."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from lite_network import NAMES, PORT, WORKERS

folder = Path(os.environ["BENCHMARK_SCRATCH"]) / "mlserver"
for name in NAMES:
    (folder / name).mkdir(parents=True, exist_ok=True)
    settings = {"name": name, "implementation": "runtime.LiteRuntime"}
    (folder / name / "model-settings.json").write_text(json.dumps(settings))
ports = {
    "http_port": PORT,
    "grpc_port": int(os.environ["BENCHMARK_PORT_2"]),
    "metrics_port": int(os.environ["BENCHMARK_PORT_3"]),
}
quiet = {"debug": False, "parallel_workers": WORKERS if WORKERS > 1 else 0, "use_structured_logging": False}
(folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", **ports, **quiet}))
command = Path(sys.executable).with_name("mlserver")
os.execv(command, [str(command), "start", str(folder)])  # noqa: S606  its own command, in place of this process
