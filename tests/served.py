"""A service in a process of its own, as an operator starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


@contextmanager
def served(model_store: Path, *, workers: int = 1, **settings: str) -> Iterator[str]:
    """Serve a store on 127.0.0.1 until the end of the block.

    Args:
        settings: names in lower case without the prefix, and their values.

    Yields:
        ``host:port``, when every worker process has started.
    """
    variables = {f"BEAMLINE_{name.upper()}": value for name, value in settings.items()}
    variables |= {"BEAMLINE_MODEL_STORE": str(model_store), "BEAMLINE_LOG_FORMAT": "json"}
    command = [sys.executable, "-m", "app", "serve", "--port", "0", "--workers", str(workers)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | variables, stderr=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(120, process.kill)  # a service that says nothing must not hang the tests
        watchdog.start()
        try:
            address = _address(process, workers)
            watchdog.cancel()
            draining = threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True)
            draining.start()
            yield address
        finally:
            watchdog.cancel()
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[str], workers: int) -> str:
    address, started, lines = None, 0, []
    for line in process.stderr or ():
        lines.append(line)
        address = address or re.search(r"running on http://([\d.]+:\d+)", line)
        started += '"event":"service started"' in line
        if address and started == workers:
            return address[1]
    raise AssertionError("the service did not start:\n" + "".join(lines[-20:]))
