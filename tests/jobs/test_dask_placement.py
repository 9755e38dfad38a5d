"""Which run goes to which worker of a cluster."""

from __future__ import annotations

import asyncio

from app.jobs import dask_placement as placement
from app.jobs.dask_placement import Member, Pace, Run
from app.jobs.job import BATCH, INTERACTIVE, LOWEST, Claim


def member(address: str = "a", *, threads: int = 1, foreign: int = 0, **values: object) -> Member:
    return Member(address, threads, foreign, ready=True, **values)  # type: ignore[arg-type]


def give(to: Member, *, priority: int = BATCH, parent: str = "job", began_s: float | None = None) -> Run:
    claim = Claim(f"{parent}.{len(to.runs)}", "echo", priority, b"", 1, parent)
    run = Run(claim, asyncio.Future(loop=asyncio.new_event_loop()), to, began_s=began_s)
    run.over.get_loop().close()
    to.runs.append(run)
    return run


def pace(lasted_s: float, *, parent: str = "job") -> Pace:
    known = Pace()
    known.note(Claim("x", "echo", BATCH, b"", 1, parent), lasted_s)
    return known


def test_the_worker_with_most_free_threads_is_taken() -> None:
    busy, half, free = member("a"), member("b", threads=4, foreign=2), member("c", threads=3)
    give(busy)
    assert placement.idle([busy, half, free]) is free
    assert placement.idle([busy]) is None
    assert placement.idle([]) is None


def test_tasks_of_others_take_threads() -> None:
    assert placement.idle([member(foreign=1)]) is None


def test_a_paused_worker_and_one_that_lacks_a_kind_are_not_used() -> None:
    lacking, paused, whole = member(unavailable={"echo": "ImportError"}), member(threads=0), member()
    assert placement.usable([lacking, paused, whole, Member("new", 1)]) == [whole]
    assert placement.usable([lacking]) == [lacking]


def test_one_run_a_thread_waits_behind_short_ones() -> None:
    busy = member()
    give(busy, began_s=1.0)
    assert placement.soon_idle([busy], pace(0.1)) is busy
    give(busy)
    assert placement.soon_idle([busy], pace(0.1)) is None


def test_nothing_waits_behind_runs_that_are_long_or_unknown_or_of_others() -> None:
    busy = member()
    give(busy, began_s=1.0)
    assert placement.soon_idle([busy], pace(30.0)) is None
    assert placement.soon_idle([busy], Pace()) is None
    assert placement.soon_idle([busy], pace(0.1, parent="")) is None  # known of whole jobs only
    assert placement.soon_idle([member(foreign=1)], pace(0.1)) is None


def test_a_run_that_waits_while_another_worker_is_idle_is_found_the_most_urgent_first() -> None:
    crowded, just_given = member(), member()
    give(crowded, began_s=1.0)
    give(crowded)
    urgent = give(crowded, priority=INTERACTIVE)
    give(just_given)
    assert placement.stray([crowded, just_given]) is urgent
    assert placement.stray([just_given]) is None


def test_whole_jobs_of_a_batch_leave_a_thread_free_and_parts_do_not() -> None:
    first, second = member("a"), member("b")
    give(first, parent="")
    assert placement.min_priority([first, second]) == INTERACTIVE
    assert placement.min_priority([member("c"), member("d")]) == LOWEST
    parts = member("e", threads=2)
    give(parts)
    give(parts)
    assert placement.min_priority([parts]) == LOWEST


def test_the_part_that_has_lost_least_is_interrupted_where_nothing_is_free() -> None:
    first, second = member("a"), member("b")
    give(first, began_s=1.0)
    latest = give(second, began_s=2.0)
    assert placement.to_interrupt([first, second]) is latest
    assert placement.to_interrupt([first, second, member("c")]) is None
    latest.makes_room = True
    assert placement.to_interrupt([first, second]) is None


def test_single_jobs_and_what_has_not_begun_are_not_interrupted() -> None:
    only = member()
    give(only, priority=INTERACTIVE, began_s=1.0)
    give(only)
    assert placement.to_interrupt([only]) is None
