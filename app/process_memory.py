"""How much memory the processes of this service hold, as Linux tells it; elsewhere nothing is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PROC: Final = Path("/proc")
NAME: Final = "beamline_resident_memory_bytes"


class MemoryCollector(Collector):
    """Looks when Prometheus asks, in less than a millisecond.

    Args:
        servers: gives the ids of the processes that answer requests.
    """

    def __init__(self, servers: Callable[[], Iterable[int]]) -> None:
        self._servers = servers

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        servers = set(self._servers())
        workers = {child for pid in servers for child in _descendants(pid)} - servers
        family = GaugeMetricFamily(
            NAME,
            "Memory of the processes that answer (server) and of those that do long work for them (worker); pages that "
            "they share are counted in each",
            labels=("role",),
        )
        for role, pids in (("server", servers), ("worker", workers)):
            family.add_metric((role,), sum(map(_resident_bytes, pids)))
        if PROC.is_dir():
            yield family


def server_pids() -> set[int]:
    """The processes that count requests: this one, or all workers, which share their counters through files."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return {os.getpid()}
    names = (path.stem.rpartition("_")[2] for path in Path(folder).glob("*.db"))
    return {int(name) for name in names if name.isdigit()}


def _resident_bytes(pid: int) -> int:
    with suppress(OSError):  # it has ended
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    return 0


def _descendants(pid: int) -> Iterator[int]:
    for listed in (PROC / str(pid) / "task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            for child in listed.read_text().split():
                yield int(child)
                yield from _descendants(int(child))
