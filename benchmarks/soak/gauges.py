"""Memory, file descriptors and threads of the processes over time, and whether they grow."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.soak.service import Service, Usage, usage

SETTLING = 1 / 3
"""Share of the time that is not counted: caches fill, the numbers of connections settle."""


@dataclass(frozen=True)
class Trend:
    """How one figure went, after settling.

    Attributes:
        begin, end: of the straight line through it.
        highest: of all samples.
        per_hour: slope of that line.
        length_s: time from its begin to its end.
    """

    begin: float
    end: float
    highest: float
    per_hour: float
    length_s: float

    @property
    def growth(self) -> float:
        return self.end - self.begin


@dataclass
class Gauges:
    """Samples of one server process that lives from the beginning to the end."""

    process: int
    times_s: list[float] = field(default_factory=list)
    samples: list[Usage] = field(default_factory=list)
    is_gone: bool = False

    async def watch(self, every_s: float) -> None:
        """Take samples until cancelled."""
        while True:
            found = usage(self.process)
            if found is None:
                self.is_gone = True
                return
            self.times_s.append(time.monotonic())
            self.samples.append(found)
            await asyncio.sleep(every_s)

    def trend(self, name: str) -> Trend:
        """The straight line through one figure.

        Args:
            name: a field of `Usage`.
        """
        skipped = int(len(self.samples) * SETTLING)
        times_s = np.array(self.times_s[skipped:])
        values = np.array([getattr(sample, name) for sample in self.samples[skipped:]], float)
        slope, begin = np.polyfit(times_s - times_s[0], values, 1)
        length_s = float(times_s[-1] - times_s[0])
        return Trend(float(begin), float(begin + slope * length_s), float(values.max()), float(slope * 3600), length_s)

    def save(self, path: Path) -> None:
        """Write all samples as CSV."""
        lines = [
            f"{time_s - self.times_s[0]:.1f},{sample.memory_mib:.2f},{sample.descriptors},{sample.threads}"
            for time_s, sample in zip(self.times_s, self.samples, strict=True)
        ]
        path.write_text("\n".join(["time_s,memory_mib,descriptors,threads", *lines, ""]))


def eldest(service: Service) -> Gauges:
    """Gauges of the server process that has run for longest: the one that is never killed."""
    return Gauges(service.servers()[0])
