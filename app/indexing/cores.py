"""The processor cores that a search may use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores that this process may run on: a worker that a scheduler has bound to one starts one thread."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
