"""Counts and times of inferences, as Triton's statistics extension has them, of one server process."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """Of one version. Times are sums in nanoseconds.

    Attributes:
        rows: rows that were answered; `runs` counts the requests that they came in.
        waited: in line for a thread.
        read: from bytes to checked arrays.
        computed: in the model.
        written: from arrays to bytes.
        failed, failed_ns: requests that were refused, or whose model failed.
        last_ms: when the last one was answered [ms since 1970].
    """

    rows: int = 0
    runs: int = 0
    waited: int = 0
    read: int = 0
    computed: int = 0
    written: int = 0
    failed: int = 0
    failed_ns: int = 0
    last_ms: int = 0


@dataclass(frozen=True)
class Statistics:
    """Counts by (model, version). Requests are counted in the event loop and in threads."""

    _by_version: dict[tuple[str, int], Counts] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, key: tuple[str, int], rows: int, spent_ns: tuple[int, int, int, int]) -> None:
        """Count one request that was answered.

        Args:
            spent_ns: waited, read, computed, written.
        """
        waited, read, computed, written = spent_ns
        with self._lock:
            counts = self._counts(key)
            counts.rows += rows
            counts.runs += 1
            counts.waited += waited
            counts.read += read
            counts.computed += computed
            counts.written += written
            counts.last_ms = time.time_ns() // 1_000_000

    def refused(self, key: tuple[str, int], spent_ns: int) -> None:
        """Count one request that was not."""
        with self._lock:
            counts = self._counts(key)
            counts.failed += 1
            counts.failed_ns += spent_ns

    def of(self, key: tuple[str, int]) -> Counts:
        """The counts of one version; zeros where nobody asked."""
        with self._lock:
            found = self._by_version.get(key, Counts())
            return Counts(*(getattr(found, name) for name in Counts.__dataclass_fields__))

    def _counts(self, key: tuple[str, int]) -> Counts:
        found = self._by_version.get(key)
        if found is None:
            found = self._by_version[key] = Counts()
        return found
