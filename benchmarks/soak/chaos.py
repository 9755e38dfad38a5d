"""What is done to the service: models are swapped, job workers and one server process are killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from app.model_registry.manifest import ModelDraft
from app.model_registry.store import ModelStore
from benchmarks.soak.customers import Town, alone
from benchmarks.soak.questions import SWAPPED, Question
from benchmarks.soak.service import SERVERS, Service, kill

EVERY_S: Final = 6.0
"""Between two deeds."""
BACK_S: Final = 120.0
"""A killed server process must be back within this time, on a machine however busy."""
FIRST: Final = 1
SEEN_S: Final = 2.0
"""After so long every process has seen a new version."""
ROUNDS: Final = 4
"""So often is everything asked of a version to warm up: two processes answer in turn."""


class Chaos:
    """One deed after another, for ever."""

    def __init__(self, service: Service, town: Town, every_s: float = EVERY_S) -> None:
        self._service = service
        self._town = town
        self._every_s = every_s
        self._models = ModelStore(service.store)
        self._turn = 0

    async def warm_up(self, ready: Sequence[Question]) -> None:
        """Swap every model once: two versions are in memory together for the first time."""
        for name in SWAPPED:
            for _ in range(2):
                await asyncio.to_thread(self._publish_again, name)
                await asyncio.sleep(SEEN_S)
                for question in [*ready] * ROUNDS:
                    await alone(self._town.client, question)

    async def run(self) -> None:
        """Do what there is to do, in turn, for ever."""
        deeds = (self._kill_worker, self._publish, self._kill_worker, self._roll_back, self._kill_server, self._publish)
        while True:
            for deed in deeds:
                await self._town.pause(2 * self._every_s)
                await deed()
            self._turn += 1

    async def _publish(self) -> None:
        """A new version with the same contents: whichever answers, the answer is the same."""
        name = SWAPPED[self._turn % len(SWAPPED)]
        await asyncio.to_thread(self._publish_again, name)
        self._town.ledger.done["versions published and promoted"] += 1

    def _publish_again(self, name: str) -> None:
        shipped = self._models.read(name, FIRST)
        draft = ModelDraft.model_validate(shipped.manifest.model_dump(include=set(ModelDraft.model_fields)))
        self._models.publish(draft, shipped.contents, promote=("stable",))

    async def _roll_back(self) -> None:
        name = SWAPPED[self._turn % len(SWAPPED)]
        await asyncio.to_thread(self._models.rollback, name)
        self._town.ledger.done["rollbacks"] += 1

    async def _kill_worker(self) -> None:
        workers = self._service.workers()
        if workers:
            kill(workers[int(self._town.rng.integers(len(workers)))])
            self._town.ledger.done["job workers killed"] += 1

    async def _kill_server(self) -> None:
        """Kill the youngest; the eldest lives on, so that its memory can be watched."""
        servers = self._service.servers()
        if len(servers) < SERVERS:
            return
        started = self._service.log().count('"event":"service started"')
        self._town.ledger.kills.append(time.monotonic())
        kill(servers[-1])
        self._town.ledger.done["server processes killed"] += 1
        end = time.monotonic() + BACK_S
        while self._service.log().count('"event":"service started"') == started:
            if time.monotonic() > end:
                self._town.ledger.complain(f"a killed server process is not back after {BACK_S:g} s")
                return
            await asyncio.sleep(0.5)
        # Connections break until the new process answers, which may take long on a busy machine.
        self._town.ledger.kills.append(time.monotonic())
