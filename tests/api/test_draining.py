"""Questions that wait together are answered together, each with its own answer, and none suffers from another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app.api.draining import Draining


class Squares:
    """Squares numbers, and remembers how they came."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append(list(numbers))
        if 13 in numbers:
            raise ValueError("13 is refused")
        return [number**2 for number in numbers]


def parity(number: int) -> int:
    return number % 2


def test_one_question_is_answered() -> None:
    work = Squares()
    assert asyncio.run(Draining(parity, work, most=4)(3)) == 9
    assert work.calls == [[3]]


async def _all(draining: Draining[int, int], numbers: Sequence[int]) -> list[int | BaseException]:
    return await asyncio.gather(*map(draining, numbers), return_exceptions=True)


def test_what_waits_is_worked_on_together_up_to_the_most_and_by_its_key() -> None:
    work = Squares()
    numbers = [1, 2, 3, 4, 5, 6, 7, 9, 11]
    assert asyncio.run(_all(Draining(parity, work, most=4), numbers)) == [number**2 for number in numbers]
    assert work.calls == [[1, 3, 5, 7], [2, 4, 6], [9, 11]]


def test_one_failure_is_its_own() -> None:
    found = asyncio.run(_all(Draining(lambda _: 0, Squares(), most=8), [2, 13, 4]))
    assert (found[0], found[2]) == (4, 16)
    assert isinstance(found[1], ValueError)


def test_nobody_works_for_a_caller_who_has_left() -> None:
    work = Squares()

    async def leaving() -> int:
        draining = Draining(parity, work, most=8)
        left = asyncio.ensure_future(draining(1))
        stays = asyncio.ensure_future(draining(3))
        await asyncio.sleep(0)
        left.cancel()
        return await stays

    assert asyncio.run(leaving()) == 9
    assert work.calls[-1] == [3]


def test_questions_that_come_during_the_work_are_answered() -> None:
    async def in_turn() -> list[int]:
        draining = Draining(parity, Squares(), most=1)
        first = asyncio.ensure_future(draining(2))
        await asyncio.sleep(0)
        return [await draining(4), await first]

    assert asyncio.run(in_turn()) == [16, 4]


def test_the_most_bounds_every_part() -> None:
    work = Squares()
    asyncio.run(_all(Draining(lambda _: 0, work, most=3), list(range(20, 30))))
    assert max(map(len, work.calls)) == 3
    assert [number for call in work.calls for number in call] == list(range(20, 30))


def test_it_serves_another_event_loop_after_one_that_ended_with_a_question() -> None:
    draining = Draining(parity, Squares(), most=4)

    async def begun() -> None:
        coroutine = draining(3)
        coroutine.send(None)  # it waits; nobody will call back
        coroutine.close()

    asyncio.run(begun())
    assert asyncio.run(draining(5)) == 25
