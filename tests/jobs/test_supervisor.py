"""Who is gone, and what dies with a worker."""

from __future__ import annotations

import subprocess
import sys

from app.jobs.supervisor import is_gone, new_owner


def owner_of_a_dead_process() -> str:
    script = "from app.jobs.supervisor import new_owner; print(new_owner())"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def test_a_live_process_is_not_gone_and_its_engines_have_different_names() -> None:
    first, second = new_owner(), new_owner()
    assert first != second
    assert not is_gone(first)


def test_a_process_that_has_ended_is_gone() -> None:
    assert is_gone(owner_of_a_dead_process())


def test_a_number_that_another_process_has_now_is_gone() -> None:
    machine, pid, start, token = new_owner().rsplit(" ", 3)
    assert is_gone(f"{machine} {pid} {int(start) - 1} {token}")


def test_nothing_is_said_of_other_machines() -> None:
    _, pid, start, token = owner_of_a_dead_process().rsplit(" ", 3)
    assert not is_gone(f"elsewhere {pid} {start} {token}")
