"""Callers of the soak: each asks, waits, compares, pauses, and asks again, so that the rate is bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import numpy as np

from benchmarks.soak.ledger import Accepted, Ledger
from benchmarks.soak.questions import Question, difference

TIMEOUT_S: Final = 180.0
PREDICTION_PAUSE_S: Final = 0.2
JOB_PAUSE_S: Final = 0.5
POLL_S: Final = 0.3
CUT_S: Final = 0.15
"""So long a caller waits who then hangs up."""
DOCUMENTED: Final = {503: ("jobs-unavailable", "model-unavailable", "not-ready"), 429: ("busy",)}
"""What a service under attack may answer: come back later."""
ENDS: Final = ("done", "failed", "cancelled")
_AT_ONCE: Final = {"Prefer": "respond-async"}


@dataclass(frozen=True)
class Town:
    """What all callers share.

    Attributes:
        right: the answers, by name of the question, given while nothing else went on.
    """

    client: httpx.AsyncClient
    ledger: Ledger
    right: Mapping[str, Any]
    rng: np.random.Generator

    async def ask(
        self, method: str, path: str, name: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> httpx.Response | None:
        """Send a request; None where it broke, or was to come back later, and that is accounted for."""
        began_s = time.monotonic()
        try:
            answer = await self.client.request(method, path, content=body, headers=dict(headers or {}))
        except httpx.TransportError as error:
            self.ledger.answers[name, type(error).__name__] += 1
            self.ledger.excuse_or_complain(f"connection broke: {name}, {type(error).__name__} {error}", began_s)
            return None
        self.ledger.answers[name, str(answer.status_code)] += 1
        if answer.status_code in DOCUMENTED:
            self._come_back(answer, name, began_s)
            return None
        if answer.status_code >= 500:
            self.ledger.complain(f"{name}: {answer.status_code} {answer.text[:200]}")
        return answer

    def _come_back(self, answer: httpx.Response, name: str, began_s: float) -> None:
        kind = answer.json().get("type", "").rpartition("/")[2]
        if kind not in DOCUMENTED[answer.status_code] or "retry-after" not in answer.headers:
            self.ledger.complain(f"{name}: {answer.status_code} that is not documented: {answer.text[:200]}")
        self.ledger.excuse_or_complain(f"answered {answer.status_code}: {name}, {kind}", began_s)

    def compare(self, name: str, answer: Any) -> None:
        """Complain of an answer that is another than the one given alone."""
        if told := difference(answer, self.right[name]):
            self.ledger.complain(f"{name}: another answer: {told[:300]}")

    async def pause(self, longest_s: float) -> None:
        """Wait, now shorter and now longer."""
        await asyncio.sleep(float(self.rng.uniform(0.5, 1.0)) * longest_s)


async def alone(client: httpx.AsyncClient, question: Question) -> Any:
    """What a question is answered while nothing else goes on.

    Raises:
        SystemExit: it is not answered.
    """
    answer = await client.post(question.path, content=question.body, headers=dict(question.headers))
    while answer.status_code == 202:
        await asyncio.sleep(POLL_S)
        job = (await client.get(answer.headers["Location"])).json()
        if job["state"] == "done":
            return job["result"]
        if job["state"] in ENDS:
            raise SystemExit(f"{question.name} fails while nothing else goes on: {job}")
    if answer.status_code != 200:
        raise SystemExit(f"{question.name} fails while nothing else goes on: {answer.text}")
    return answer.json()


async def predicting(town: Town, questions: Sequence[Question]) -> None:
    """Ask for predictions, one kind after another, for ever."""
    while True:
        for question in questions:
            answer = await town.ask("POST", question.path, question.name, body=question.body, headers=question.headers)
            if answer is not None and answer.status_code == 200:
                town.compare(question.name, answer.json())
                _note_version(town, answer.json())
            elif answer is not None:
                town.ledger.complain(f"{question.name}: {answer.status_code} {answer.text[:200]}")
            await town.pause(PREDICTION_PAUSE_S)


def _note_version(town: Town, answer: Any) -> None:
    used = answer.get("model") if isinstance(answer, dict) else None
    if isinstance(used, dict):
        town.ledger.versions.add((used["name"], used["version"]))


async def probing(town: Town) -> None:
    """Look as a supervisor, Prometheus and an operator do, for ever."""
    while True:
        for path in ("/health/live", "/health/ready", "/metrics", "/models", "/v2/models/stats", "/openapi.json"):
            answer = await town.ask("GET", path, "probe")
            if answer is not None and answer.status_code != 200:
                town.ledger.complain(f"{path}: {answer.status_code}")
        await town.pause(2.0)


async def leaving(town: Town, questions: Sequence[Question]) -> None:
    """Clients that are gone in the middle of what they send, or before they are answered, for ever."""
    where = urlsplit(str(town.client.base_url))
    while True:
        question = questions[int(town.rng.integers(len(questions)))]
        head = [f"POST {question.path} HTTP/1.1", f"Host: {where.netloc}", f"Content-Length: {len(question.body)}"]
        head += [f"{name}: {value}" for name, value in question.headers.items()]
        message = "\r\n".join((*head, "", "")).encode() + question.body
        sent = message[: int(town.rng.integers(1, len(message) + 1))] if town.rng.random() < 0.5 else message
        with suppress(OSError):
            _, writer = await asyncio.open_connection(where.hostname, where.port)
            writer.write(sent)
            await town.pause(CUT_S)
            writer.transport.abort()
            town.ledger.done["clients that left"] += 1
        await town.pause(1.0)


class JobCustomer:
    """Has one job after another done, each in another way, for ever."""

    def __init__(self, town: Town, questions: Sequence[Question], number: int) -> None:
        self._town = town
        self._questions = questions
        self._number = number
        self._ways = (self._polls, self._follows, self._waits, self._comes_back, self._cancels)

    async def run(self) -> None:
        """Have jobs done for ever."""
        turn = self._number
        while True:
            question = self._questions[turn % len(self._questions)]
            way = self._ways[int(self._town.rng.integers(len(self._ways)))]
            await way(question, f"soak-{self._number}-{turn}")
            turn += 1
            await self._town.pause(JOB_PAUSE_S)

    async def _submit(self, question: Question, key: str, *, wait: bool = False) -> str | None:
        """Send until it is accepted, as careful clients do; give the address, or None where it was answered."""
        headers = {**question.headers, "Idempotency-Key": key, **({} if wait else _AT_ONCE)}
        while True:
            answer = await self._town.ask("POST", question.path, question.name, body=question.body, headers=headers)
            if answer is None:
                await self._town.pause(1.0)
            elif answer.status_code == 202:
                return self._accepted(question, answer)
            else:
                if answer.status_code == 200:
                    self._town.compare(question.name, answer.json())
                else:
                    self._town.ledger.complain(f"{question.name}: {answer.status_code} {answer.text[:200]}")
                return None

    def _accepted(self, question: Question, answer: httpx.Response) -> str:
        address = answer.headers["Location"]
        job_id = address.rpartition("/")[2]
        self._town.ledger.accepted.setdefault(job_id, Accepted(question.name, self._town.right[question.name]))
        return address

    async def _polls(self, question: Question, key: str) -> None:
        address = await self._submit(question, key)
        while address is not None:
            answer = await self._town.ask("GET", address, "look at a job")
            if answer is not None and answer.json().get("state") in ENDS:
                return
            await self._town.pause(POLL_S)

    async def _waits(self, question: Question, key: str) -> None:
        if address := await self._submit(question, key, wait=True):
            self._town.ledger.done["jobs that outlasted their caller's patience"] += 1
            await self._town.ask("GET", address, "look at a job")

    async def _comes_back(self, question: Question, key: str) -> None:
        """Hang up, and ask again with the same key."""
        headers = {**question.headers, "Idempotency-Key": key}
        with suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(CUT_S):
                await self._town.client.post(question.path, content=question.body, headers=headers)
        self._town.ledger.done["callers that came back"] += 1
        await self._polls(question, key)

    async def _cancels(self, question: Question, key: str) -> None:
        address = await self._submit(question, key)
        if address is None:
            return
        self._town.ledger.accepted[address.rpartition("/")[2]].may_be_cancelled = True
        await self._town.pause(CUT_S)
        while (answer := await self._town.ask("DELETE", address, "cancel a job")) is None:
            await self._town.pause(1.0)
        if answer.status_code not in (200, 202):
            self._town.ledger.complain(f"cancelling: {answer.status_code} {answer.text[:200]}")

    async def _follows(self, question: Question, key: str) -> None:
        """Follow its events to the end; one stream in three is left in the middle."""
        address = await self._submit(question, key)
        if address is None:
            return
        leaves, last_id, told = self._town.rng.random() < 0.33, "", ""
        while told not in ENDS:
            began_s = time.monotonic()
            headers = {"Last-Event-ID": last_id} if last_id else {}
            try:
                async with self._town.client.stream("GET", f"{address}/events", headers=headers) as events:
                    self._town.ledger.answers["events", str(events.status_code)] += 1
                    if events.status_code == 204:
                        return
                    async for line in events.aiter_lines():
                        name, _, value = line.partition(": ")
                        last_id = value if name == "id" else last_id
                        told = value if name == "event" else told
                        if leaves and told:
                            return
            except httpx.TransportError as error:
                self._town.ledger.excuse_or_complain(f"events broke: {type(error).__name__}", began_s)
                await self._town.pause(1.0)
