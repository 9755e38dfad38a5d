"""When leases may be believed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from app.jobs.calm import Calm

SETTLED_S = 11


@dataclass
class Time:
    wall_s: float = 1_000_000.0
    steady_s: float = 50.0

    def calm(self) -> Calm:
        return Calm(lambda: self.wall_s, lambda: self.steady_s)

    def passes(self, seconds: float) -> None:
        self.wall_s += seconds
        self.steady_s += seconds


def looks(calm: Calm, time: Time, seconds: int) -> list[bool]:
    """Look once a second."""
    found = []
    for _ in range(seconds):
        time.passes(1)
        found.append(calm.answered())
    return found


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def calm(time: Time) -> Calm:
    """Where leases count."""
    made = time.calm()
    assert looks(made, time, SETTLED_S)[-1]
    return made


def test_a_new_service_first_lets_the_others_prolong_theirs(time: Time) -> None:
    found = looks(time.calm(), time, SETTLED_S)
    assert not any(found[:9])
    assert found[-1]


def test_looking_often_keeps_the_calm(calm: Calm, time: Time) -> None:
    assert all(looks(calm, time, 60))


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 5.0, -5.0])
def test_a_clock_that_is_set_disturbs_it_for_a_while(calm: Calm, time: Time, step_s: float) -> None:
    time.wall_s += step_s
    found = looks(calm, time, SETTLED_S)
    assert not any(found[:9])
    assert found[-1]


def test_a_clock_that_is_kept_right_by_slewing_does_not(calm: Calm, time: Time) -> None:
    for _ in range(1000):
        time.wall_s += 0.0005
        assert looks(calm, time, 1) == [True]


def test_an_outage_disturbs_it_from_its_end(calm: Calm, time: Time) -> None:
    time.passes(60)
    found = [calm.answered(), *looks(calm, time, SETTLED_S)]
    assert not any(found[:9])
    assert found[-1]


def test_a_machine_that_sleeps_disturbs_it(calm: Calm, time: Time) -> None:
    time.wall_s += 8 * 3600  # the steady clock sleeps with it
    assert not calm.answered()
