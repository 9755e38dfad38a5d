"""The table of jobs: what each kind of long work runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

Run = Callable[[bytes, Callable[[bytes], None], Callable[[], bool]], bytes]
"""``run(payload, report, cancelled) -> result``, a pure function of its payload; all bytes are JSON.

It may call ``report(progress)`` at any time, and should return soon, with what it has, once ``cancelled()`` is true. An
`AppError` that it raises is told to the caller; of any other error only that it happened. Where its module has a
function ``warm_up(place)``, every worker calls it once before the first job of that module, with the kind's place.
"""

Join = Callable[[bytes, Sequence[bytes]], bytes]
"""``join(payload, results) -> result``, of a job made of parts: the results of all parts, in the order of the parts."""


@dataclass(frozen=True)
class Kind:
    """What runs the jobs of one kind. The modules are imported by the workers, never by the service.

    Attributes:
        run: ``module:function``, a `Run`; for each part where a job is made of parts.
        join: ``module:function``, a `Join`; without one, jobs of this kind cannot be made of parts.
        eager: imported and warmed up when a worker starts; else with its first job.
        place: of what its jobs read beside their payload, as the workers see it: a folder of models.
    """

    run: str
    join: str = ""
    eager: bool = True
    place: str = ""


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "indexing.solve": Kind("app.indexing.job:run"),
        "indexing.batch": Kind("app.indexing.batch_job:run", join="app.indexing.batch_job:join"),
        "indexing.files": Kind("app.indexing.files_job:run", join="app.indexing.files_job:join"),
        "polarization.leave-one-out": Kind(
            "training.polarization.job:run", join="training.polarization.job:join", eager=False
        ),
    }
)
"""Kind of job -> what runs it."""
WITH_MODELS: Final = frozenset({"indexing.solve", "indexing.batch", "indexing.files"})
"""Kinds whose place is the model store."""
