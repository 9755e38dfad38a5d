"""Kinds of jobs for the tests, run by real worker processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from app.errors import InvalidInput
from app.jobs.kinds import Kind

Report = Callable[[bytes], None]
Cancelled = Callable[[], bool]

PLACE = "where the models are"
warm = 0
places: list[str] = []

KINDS = {
    name: Kind(f"tests.jobs.sample_kinds:{name}", join="tests.jobs.sample_kinds:joined", place=PLACE)
    for name in (
        "echo",
        "warmth",
        "refuse",
        "crash",
        "count",
        "stick",
        "die_once",
        "die",
        "print_out",
        "wrong_type",
        "stick_once",
        "refuse_one",
        "stick_or_echo",
        "meet",
        "loaded",
    )
}


def warm_up(place: str) -> None:
    global warm
    warm += 1
    places.append(place)


def echo(payload: bytes, _report: Report, _cancelled: Cancelled) -> bytes:
    return payload


def warmth(_payload: bytes, _report: Report, _cancelled: Cancelled) -> bytes:
    return orjson.dumps({"warm": warm, "pid": os.getpid(), "session": os.getsid(0), "places": places})


def refuse(_payload: bytes, _report: Report, _cancelled: Cancelled) -> bytes:
    raise InvalidInput("peak 3 is negative", details={"errors": [], "odd": {1, 2}.__class__})


def crash(_payload: bytes, _report: Report, _cancelled: Cancelled) -> bytes:
    secret = "/secret/path"
    raise RuntimeError(f"cannot open {secret}")


def count(payload: bytes, report: Report, cancelled: Cancelled) -> bytes:
    """Report 0, 1, 2 ... until as many seconds as the payload says have passed, or until it is cancelled."""
    begun = time.monotonic()
    number = 0
    while time.monotonic() - begun < orjson.loads(payload) and not cancelled():
        report(orjson.dumps({"number": number}))
        number += 1
        time.sleep(0.01)
    return orjson.dumps({"number": number, "cancelled": cancelled()})


def stick(_payload: bytes, report: Report, _cancelled: Cancelled) -> bytes:
    report(orjson.dumps({"pid": os.getpid()}))
    time.sleep(60)
    return b"null"


def die_once(payload: bytes, _report: Report, _cancelled: Cancelled) -> bytes:
    """Die by kill -9 in mid-job where the file that the payload names is not there, and make it."""
    mark = Path(orjson.loads(payload))
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return b'"second time"'


def die(_payload: bytes, _report: Report, _cancelled: Cancelled) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b"null"


def print_out(_payload: bytes, _report: Report, _cancelled: Cancelled) -> bytes:
    print("a library that prints")  # noqa: T201
    return b"null"


def wrong_type(_payload: bytes, _report: Report, _cancelled: Cancelled) -> bytes:
    return None  # type: ignore[return-value]


def stick_once(payload: bytes, report: Report, _cancelled: Cancelled) -> bytes:
    """Hang where the file that the payload names is not there, and make it."""
    mark = Path(orjson.loads(payload))
    if mark.exists():
        return b'"second time"'
    mark.touch()
    report(orjson.dumps({"pid": os.getpid()}))
    time.sleep(60)
    return b"null"


def refuse_one(payload: bytes, _report: Report, _cancelled: Cancelled) -> bytes:
    """Refuse "bad"."""
    if payload == b'"bad"':
        raise InvalidInput("pattern 3 is empty")
    return payload


def stick_or_echo(payload: bytes, _report: Report, cancelled: Cancelled) -> bytes:
    """Answer at once, but "long" only when it is cancelled."""
    while payload == b'"long"' and not cancelled():
        time.sleep(0.01)
    return payload


def meet(payload: bytes, _report: Report, cancelled: Cancelled) -> bytes:
    """Wait until as many workers as the payload says are here at the same time; tell which device this one has."""
    folder, number = orjson.loads(payload)
    (Path(folder) / str(os.getpid())).touch()
    while len(list(Path(folder).iterdir())) < number and not cancelled():
        time.sleep(0.01)
    return orjson.dumps({"pid": os.getpid(), "device": os.environ.get("CUDA_VISIBLE_DEVICES")})


def loaded(payload: bytes, _report: Report, _cancelled: Cancelled) -> bytes:
    """Whether this worker has imported the module that the payload names."""
    return orjson.dumps(orjson.loads(payload) in sys.modules)


def joined(payload: bytes, results: Sequence[bytes]) -> bytes:
    """What the job and its parts had, and where they were joined."""
    return orjson.dumps({"job": orjson.loads(payload), "parts": [orjson.loads(one) for one in results]})
