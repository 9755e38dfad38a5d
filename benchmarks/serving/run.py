"""Rounds in which every server is asked in turn, so that each is measured in the same weather as the others."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.serving.client import Load, LoadFailed, exchange, load
from benchmarks.serving.own_time import median_ms
from benchmarks.serving.processes import Running
from benchmarks.serving.rows import Request, Row, WrongAnswer
from benchmarks.serving.servers import Server

READY_S = 30.0
WARM_UP_S = 0.15
TOO_SLOW = 4.0
"""A measurement that takes so many times as long as was planned is not repeated."""
QUIET = 0.05
"""Share of one core that all the servers together may take while nothing asks them."""

Cell = tuple[str, str, int]
"""Row, server, clients."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        clients: numbers of connections.
        seconds: length of one measurement.
    """

    clients: Sequence[int]
    rounds: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """One measurement.

    Attributes:
        busy: share of a core that the load generator took.
        processor_us: processor time of the server for each answer [microseconds]; 0 where it is not known.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    busy: float
    processor_us: float


@dataclass
class Findings:
    """All that was measured, a list entry for each round.

    Attributes:
        cells: row, server, clients -> measurements.
        own_ms: model -> its own time [milliseconds].
        failed: row, server -> why it is not measured.
        body_bytes: row -> length of the body that the echo got.
        memory_mib: server -> memory after the last round.
        once: cells whose server is too slow to be asked again.
    """

    cells: dict[Cell, list[Measured]] = field(default_factory=lambda: defaultdict(list))
    own_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[tuple[str, str], str] = field(default_factory=dict)
    body_bytes: dict[str, int] = field(default_factory=dict)
    memory_mib: dict[str, float] = field(default_factory=dict)
    once: set[Cell] = field(default_factory=set)


@dataclass(frozen=True)
class Contest:
    """Servers that listen, and what they are asked."""

    running: Mapping[str, tuple[Server, Running]]
    rows: Sequence[Row]
    own_calls: Mapping[str, Callable[[], object]]
    say: Callable[[str], None]


def measure(contest: Contest, plan: Plan) -> Findings:
    """Check every server's answer to every row, then measure in rounds; every other round goes backwards."""
    findings = Findings()
    requests = _checked(contest, findings)
    settle([process for _, process in contest.running.values()], contest.say)
    for number in range(plan.rounds):
        for row in contest.rows:
            contest.say(f"round {number + 1} of {plan.rounds}: {row.title}")
            if row.model in contest.own_calls and len(findings.own_ms[row.model]) <= number:
                findings.own_ms[row.model].append(median_ms(contest.own_calls[row.model], plan.seconds / 4))
            for clients in plan.clients:
                names = [name for name in contest.running if (row.name, name) in requests]
                for name in names if number % 2 == 0 else reversed(names):
                    _measure_cell(contest, findings, (row.name, name, clients), requests[row.name, name], plan.seconds)
    findings.memory_mib |= {name: process.memory_mib() for name, (_, process) in contest.running.items()}
    return findings


def _measure_cell(contest: Contest, findings: Findings, cell: Cell, request: Request, seconds: float) -> None:
    row, name, clients = cell
    if (row, name) in findings.failed or cell in findings.once:
        return
    process, started = contest.running[name][1], time.monotonic()
    try:
        load(process.port, request.content, clients=min(clients, 4), seconds=min(WARM_UP_S, seconds), at_least=1)
        before = process.processor_s()
        seen = load(process.port, request.content, clients=clients, seconds=seconds)
        findings.cells[cell].append(_measured(seen, process.processor_s() - before))
        if time.monotonic() - started > TOO_SLOW * (seconds + WARM_UP_S):
            findings.once.add(cell)
    except LoadFailed as error:
        findings.failed[row, name] = f"{clients} clients: {error}"
        contest.say(f"  {name}: {error}")


def _measured(seen: Load, processor_s: float) -> Measured:
    spent_us = 1e6 * processor_s / len(seen.latencies_s)
    return Measured(seen.per_second, seen.percentile_ms(50), seen.percentile_ms(99), seen.busy, spent_us)


def _checked(contest: Contest, findings: Findings) -> dict[tuple[str, str], Request]:
    """The requests whose answers are right."""
    requests: dict[tuple[str, str], Request] = {}
    ready: set[tuple[str, str]] = set()
    for row in contest.rows:
        for name, (server, process) in contest.running.items():
            request = row.request(server)
            if request is None:
                continue
            if server.speaks == "echo":
                findings.body_bytes[row.name] = request.body_bytes
            try:
                _check(process, request, 0.0 if (name, row.model) in ready else READY_S)
                requests[row.name, name] = request
            except (LoadFailed, WrongAnswer) as error:
                findings.failed[row.name, name] = str(error)
                contest.say(f"{name} does not answer {row.name}: {error}")
            ready.add((name, row.model))
    return requests


def _check(process: Running, request: Request, ready_s: float) -> None:
    """Ask until the server has loaded its models; one that has answered before gets no time for it.

    Raises:
        LoadFailed: it has not answered, or with another status than 200.
        WrongAnswer: it answers something else than Keras.
    """
    deadline = time.monotonic() + ready_s
    while True:
        try:
            head, body = exchange(process.port, request.content)
            if head.split(b" ", 2)[1] == b"200":
                break
            problem = f"answered {head[9:12].decode()}: {body[:160].decode(errors='replace')}"
        except LoadFailed as error:
            problem = str(error)
        if time.monotonic() > deadline:
            raise LoadFailed(problem)
        time.sleep(0.2)
    request.check(head, body)


def settle(processes: Sequence[Running], say: Callable[[str], None]) -> None:
    """Wait until the servers rest, and say so where they do not."""
    deadline = time.monotonic() + READY_S
    while (share := _share(processes, 1.0)) > QUIET:
        if time.monotonic() > deadline:
            say(f"The servers take {share:.0%} of a core while nothing asks them.")
            return


def _share(processes: Sequence[Running], seconds: float) -> float:
    before, started = np.array([process.processor_s() for process in processes]), time.monotonic()
    time.sleep(seconds)
    after = np.array([process.processor_s() for process in processes])
    return float(np.sum(after - before)) / (time.monotonic() - started)
