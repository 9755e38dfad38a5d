"""What /metrics says of the memory of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from app.metrics import Metrics
from app.process_memory import NAME, PROC, MemoryCollector, server_pids

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="only Linux tells what its processes hold")
MIB = 1024 * 1024


def bytes_of(role: str, collector: MemoryCollector) -> float:
    registry = CollectorRegistry()
    registry.register(collector)
    found = registry.get_sample_value(NAME, {"role": role})
    assert found is not None
    return found


HOLDING = f"held = bytearray({64 * MIB}); print('holding', flush=True); input()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLDING!r}])"


def test_what_a_child_holds_is_a_workers() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        of_parent = MemoryCollector(lambda: [parent.pid])
        assert bytes_of("worker", of_parent) > 64 * MIB > bytes_of("server", of_parent) > MIB
        # A server process that another one has started is no worker.
        (child,) = (PROC / str(parent.pid) / "task" / str(parent.pid) / "children").read_text().split()
        assert bytes_of("worker", MemoryCollector(lambda: [parent.pid, int(child)])) == 0
        parent.communicate(b"\n")
    assert bytes_of("worker", of_parent) == 0


def test_a_process_that_has_ended_holds_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert bytes_of("server", MemoryCollector(lambda: [child.pid])) == 0


def test_several_server_processes_are_known_by_their_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_pids() == {os.getpid()}
    for name in ("counter_17.db", "gauge_livemax_17.db", "histogram_23.db"):
        (tmp_path / name).touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert server_pids() == {17, 23}


def test_the_service_tells_its_own() -> None:
    lines = [line for line in Metrics().render().decode().splitlines() if line.startswith(f'{NAME}{{role="server"}}')]
    assert float(lines[0].split()[1]) > 10 * MIB
