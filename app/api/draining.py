"""Questions that wait at the same time, worked on together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Waiting(Generic[Question, Answer]):
    question: Question
    key: Hashable
    answer: asyncio.Future[Answer]


class Draining(Generic[Question, Answer]):
    """Works on all questions that the event loop has read by now, as one; no question waits for a timer.

    The event loop reads every connection that has something to say before it goes on to what was asked for meanwhile:
    a single caller is answered at once, and the more callers there are the more questions come together. The work runs
    in the event loop; between two parts of `most` questions, answers are sent and others are read.
    """

    def __init__(
        self,
        key: Callable[[Question], Hashable],
        work: Callable[[Sequence[Question]], Sequence[Answer]],
        *,
        most: int,
    ) -> None:
        """Set up.

        Args:
            key: questions with equal keys may be worked on together.
            work: gives the answers in the order of the questions. What it raises for several is found out by asking
                each by itself, so that no question suffers from another.
            most: questions worked on together.
        """
        self._key = key
        self._work = work
        self._most = most
        self._waiting: list[_Waiting[Question, Answer]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, question: Question) -> Answer:
        """The answer, or what the work raises for this question."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # what waited in a loop that has ended waits no more
            self._loop, self._waiting = loop, []
        answer: asyncio.Future[Answer] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._drain)
        self._waiting.append(_Waiting(question, self._key(question), answer))
        return await answer

    def _drain(self) -> None:
        """Answer the first question that waits, and those after it with the same key."""
        key = self._waiting[0].key
        alike = [one for one in self._waiting if one.key == key][: self._most]
        chosen = set(map(id, alike))
        self._waiting = [one for one in self._waiting if id(one) not in chosen]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._drain)
        self._answer([one for one in alike if not one.answer.done()])  # done: its caller has left

    def _answer(self, waiting: Sequence[_Waiting[Question, Answer]]) -> None:
        try:
            answers = self._work([one.question for one in waiting]) if waiting else ()
        except Exception as error:
            if len(waiting) == 1:
                waiting[0].answer.set_exception(error)
                return
            for one in waiting:
                self._answer([one])
            return
        for one, answer in zip(waiting, answers, strict=True):
            one.answer.set_result(answer)
