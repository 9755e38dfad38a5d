"""The table of jobs: what each kind of long work runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

Run = Callable[[bytes, Callable[[bytes], None], Callable[[], bool]], bytes]
"""``run(payload, report, cancelled) -> result``, a pure function of its payload; all bytes are JSON.

It may call ``report(progress)`` at any time, and should return soon, with what it has, once ``cancelled()`` is true. An
`AppError` that it raises is told to the caller; of any other error only that it happened. Where its module has a
function ``warm_up()``, every worker calls it once before the first job.
"""

KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {"indexing.solve": "app.indexing.job:run", "indexing.batch": "app.indexing.job:run_batch"}
)
"""Kind of job -> ``module:function``, a `Run`. The module is imported by the workers, never by the service."""
