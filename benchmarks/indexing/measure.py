"""Wall time, processor time and memory of this process and all below it (Linux)."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Clock:
    """A moment: wall time and the processor time used so far, seconds."""

    wall_s: float
    cpu_s: float

    def since(self, start: Clock) -> tuple[float, float]:
        """Return wall and processor seconds between two moments."""
        return self.wall_s - start.wall_s, self.cpu_s - start.cpu_s


def now() -> Clock:
    """Read the clocks: this process, its finished children and its living descendants."""
    finished = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Clock(time.perf_counter(), finished + _living_descendants_s())


def peak_memory_mb() -> float:
    """Return the largest resident size of this process so far, in 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _living_descendants_s() -> float:
    parents, seconds = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        seconds[pid] = sum(int(field) for field in fields[11:15]) * _TICK_S
    below, total = {os.getpid()}, 0.0
    while found := {pid for pid, parent in parents.items() if parent in below} - below:
        total += sum(seconds[pid] for pid in found)
        below |= found
    return total
