"""Half an hour of mixed load while models are swapped and processes are killed; then every promise is checked.

    python -m benchmarks.soak [--minutes 30] [--seed 1] [--keep FOLDER]

A service of two server processes, each with a job worker, over a copy of the model store. Callers ask for predictions
of all kinds, look at health, metrics and models, have jobs done in every way, follow their events, cancel, hang up and
come back, all at a bounded rate. Meanwhile versions are published, promoted and rolled back, job workers and one of
the server processes are killed. The exit status is 0 where every check holds.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
import numpy as np

from benchmarks.soak import verdict
from benchmarks.soak.chaos import Chaos
from benchmarks.soak.customers import TIMEOUT_S, JobCustomer, Town, alone, leaving, predicting, probing
from benchmarks.soak.gauges import Gauges, eldest
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.questions import Question, jobs, predictions
from benchmarks.soak.service import REPOSITORY, Service, serving

PREDICTORS: Final = 4
JOB_CUSTOMERS: Final = 4
SAMPLES: Final = 600


def main() -> None:
    """Run it and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long the load lasts")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is left to chance")
    parser.add_argument(
        "--keep", type=Path, help="folder for log, database and memory over time, which are thrown away otherwise"
    )
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(TemporaryDirectory(prefix="soak-")))
        folder.mkdir(parents=True, exist_ok=True)
        service = stack.enter_context(serving(folder))
        checks, ledger = asyncio.run(_soak(service, options.minutes * 60, options.seed))
        processes = [*service.workers(), *service.servers()]
        status = service.stop()
        checks.append(verdict.Check("it stops when asked", f"exit status {status}", status == 0))
        checks.append(verdict.all_gone(processes))
        checks.append(verdict.log_is_clean(service.log()))
    print(verdict.report(checks, ledger, options.minutes))
    sys.exit(0 if all(check.holds for check in checks) else 1)


async def _soak(service: Service, seconds: float, seed: int) -> tuple[list[verdict.Check], Ledger]:
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=32)
    async with httpx.AsyncClient(base_url=service.url, timeout=TIMEOUT_S, limits=limits) as client:
        ready, long = predictions(REPOSITORY), jobs()
        right = {question.name: await alone(client, question) for question in [*ready, *long]}
        town = Town(client, Ledger(), right, np.random.default_rng(seed))
        gauges, chaos = eldest(service), Chaos(service, town)
        await chaos.warm_up(ready)
        await _for(seconds, [chaos.run(), *_everybody(town, gauges, ready, long, seconds)])
        town.ledger.kills.clear()
        gauges.save(service.log_path.with_name("eldest.csv"))
        checks = await verdict.all_jobs_ended(town, service)
        checks += [verdict.answers_were_right(town.ledger), *verdict.nothing_grows(gauges)]
        return checks, town.ledger


def _everybody(
    town: Town, gauges: Gauges, ready: list[Question], long: list[Question], seconds: float
) -> list[Coroutine[Any, Any, None]]:
    """All callers, and who watches."""
    turned = [ready[number % len(ready) :] + ready[: number % len(ready)] for number in range(PREDICTORS)]
    return [
        gauges.watch(seconds / SAMPLES),
        probing(town),
        leaving(town, [*ready, *long]),
        *(predicting(town, questions) for questions in turned),
        *(JobCustomer(town, long, number).run() for number in range(JOB_CUSTOMERS)),
    ]


async def _for(seconds: float, endless: list[Coroutine[Any, Any, None]]) -> None:
    """Let all go on for so long; an error in one of them ends it."""
    tasks = [asyncio.ensure_future(one) for one in endless]
    end = time.monotonic() + seconds
    try:
        while (left := end - time.monotonic()) > 0:
            done, _ = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            if len(done) == len(tasks):
                return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    main()
