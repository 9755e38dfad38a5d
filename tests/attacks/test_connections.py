"""Clients that come in crowds, say half of something, and leave: nothing of them stays."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.attacks.raw import connected, head
from tests.faults.service import AT_ONCE, ENDLESS, Service, until

CROWD = 200
SLACK = 5
LONGEST_S = 30.0


class Held(NamedTuple):
    """What the server process holds: threads, open files and sockets."""

    threads: int
    descriptors: int


def held(service: Service) -> Held:
    folder = Path(f"/proc/{service.pid}")
    return Held(len(list((folder / "task").iterdir())), len(list((folder / "fd").iterdir())))


def settled(service: Service) -> Held:
    """What it holds while nothing happens, once its pools of threads are full."""
    found = held(service)
    for _ in range(100):
        time.sleep(0.1)
        found, before = held(service), found
        if found == before:
            break
    return found


def send_each(service: Service, messages: list[bytes], *, read: bool) -> None:
    """From as many sockets at once, all of which are closed without a word."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(connected(service))) for _ in messages]
        for one, message in zip(sockets, messages, strict=True):
            with suppress(ConnectionError):
                one.sendall(message)
        for one in sockets if read else ():
            assert one.recv(64).startswith(b"HTTP/1.1 200")


@pytest.fixture
def endless(service: Service) -> str:
    """A job that runs as long as nobody cancels it."""
    address = service.submit(ENDLESS)
    until(lambda: service.job(address)["state"] == "running", "the job is not begun")
    return address


def assert_nothing_stays(service: Service, storm: Callable[[], None]) -> None:
    storm()  # pools of threads and connections to the database fill once
    before = settled(service)
    for _ in range(3):
        storm()
    end = time.monotonic() + LONGEST_S
    # A pool may take one more thread or connection at any time; what leaks does so for each of hundreds.
    while not all(now <= then + SLACK for now, then in zip(held(service), before, strict=True)):
        assert time.monotonic() < end, f"something stays: {before} before, {held(service)} after"
        time.sleep(0.1)


def test_a_storm_of_followers_leaves_nothing(service: Service, endless: str) -> None:
    message = head("GET", f"{endless}/events")
    try:
        assert_nothing_stays(service, lambda: send_each(service, [message] * CROWD, read=True))
        assert service.job(endless)["state"] in ("running", "done"), "who follows a job may leave it"
    finally:
        service.http.delete(endless)


def test_connections_that_say_nothing_leave_nothing(service: Service) -> None:
    assert_nothing_stays(service, lambda: send_each(service, [b""] * CROWD, read=False))


def test_requests_that_are_broken_off_leave_nothing(service: Service) -> None:
    body = json.dumps({"experiments": []}).encode()
    whole = head("POST", "/polarization/predict", Content_Type="application/json", Content_Length=str(len(body))) + body
    upload = head("POST", "/waveform/file", Content_Type="multipart/form-data; boundary=x", Content_Length="1000000")
    cut = [whole[: len(whole) * n // CROWD] for n in range(CROWD // 2)] + [upload + b"--x\r\n" * 100] * (CROWD // 2)
    assert_nothing_stays(service, lambda: send_each(service, cut, read=False))


def test_callers_who_hang_up_leave_no_job(service: Service) -> None:
    """Each waits for a search of a minute, and leaves: none of the searches goes on."""
    body = json.dumps(ENDLESS).encode()
    message = head("POST", "/indexing/solve", Content_Type="application/json", Content_Length=str(len(body))) + body

    def jobs() -> float:
        lines = service.http.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("beamline_jobs{"))

    def storm() -> None:
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(closing(connected(service))).sendall(message)
            until(lambda: jobs() >= 20, "the searches are not accepted")
        until(lambda: jobs() == 0, "searches go on although nobody waits for them")

    assert_nothing_stays(service, storm)


def test_a_pipeline_of_requests_is_answered_in_order(service: Service) -> None:
    ask = b"".join(head("GET", f"/problems/{kind}") for kind in ("not-found", "conflict")) * 40
    with closing(connected(service)) as connection:
        connection.sendall(ask + head("GET", "/health/live", Connection="close"))
        seen = b""
        while more := connection.recv(1 << 20):
            seen += more
    assert seen.count(b"HTTP/1.1 200 OK") == 81
    assert seen.rstrip().endswith(b'{"status":"live"}')


def test_a_job_that_is_sent_again_and_again_with_one_key_is_one(service: Service) -> None:
    headers = AT_ONCE | {"Idempotency-Key": "storm"}
    found = {service.http.post("/indexing/solve", json=ENDLESS, headers=headers).headers["Location"] for _ in range(50)}
    assert len(found) == 1
    service.http.delete(found.pop())
