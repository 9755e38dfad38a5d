"""Whether the service came through: every check of the soak, and the report that tells of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.jobs.records import Records
from benchmarks.soak.customers import ENDS, Town
from benchmarks.soak.gauges import Gauges, Trend
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.questions import difference
from benchmarks.soak.service import Service, usage

LAST_JOBS_S: Final = 600.0
"""For as long the last jobs are waited for."""
GROWTH_MIB: Final = 8.0
GROWTH_SHARE: Final = 0.04
"""Memory may grow by so much after settling, whichever is more."""
SETTLES_S: Final = 300.0
"""Of a run as short as this the bound is twice that: the most that is ever needed at once is still to come."""
SPREAD: Final = 10.0
"""So many descriptors or threads the straight line through them may rise: connections come and go, and over two minutes
a line through them has risen by 3 where over thirty it fell. What leaks does so for each of thousands of requests."""
EXPECTED: Final = frozenset({("warning", "a worker was ended"), ("warning", "jobs of a lost process were found")})
"""Lines of the log, above the level info, that kills explain."""
FOREIGN: Final = "INFO: Created TensorFlow Lite XNNPACK delegate"
"""Written by the runtime of networks itself, once in each process."""


@dataclass(frozen=True)
class Check:
    """One thing that must hold."""

    what: str
    found: str
    holds: bool


async def all_jobs_ended(town: Town, service: Service) -> list[Check]:
    """Wait for the last jobs, then compare every one that was accepted with its right answer."""
    counts = await asyncio.to_thread(_counts_at_the_end, service)
    found = await _states(town)
    return [
        Check("every job in the database has ended", _told(counts), not set(counts) - set(ENDS)),
        Check("every accepted job is done and answered as alone", _told(found), not set(found) - {"done", "cancelled"}),
    ]


def _counts_at_the_end(service: Service) -> Counter[str]:
    """Jobs by state, once none waits or runs, or patience has ended."""
    records = Records(f"sqlite:///{service.database}")
    end = time.monotonic() + LAST_JOBS_S
    try:
        while set(counts := records.count()) - set(ENDS) and time.monotonic() < end:
            time.sleep(0.5)
    finally:
        records.close()
    return Counter(counts)


async def _states(town: Town) -> Counter[str]:
    found: Counter[str] = Counter()
    for job_id, accepted in town.ledger.accepted.items():
        answer = await town.client.get(f"/jobs/{job_id}")
        state = answer.json().get("state", "lost") if answer.status_code == 200 else "lost"
        told = difference(answer.json()["result"], accepted.right) if state == "done" else ""
        if told:
            state = "another answer"
        elif state == "cancelled" and not accepted.may_be_cancelled:
            state = "cancelled by nobody"
        if state not in ("done", "cancelled"):
            town.ledger.complain(f"job {job_id} ({accepted.question}): {state} {told or answer.text[:300]}")
        found[state] += 1
    return found


def answers_were_right(ledger: Ledger) -> Check:
    """No request failed that a kill does not explain, and no answer was another one."""
    return Check("requests answered rightly, and never 5xx but near a kill", f"{ledger.wrong_count} wrong",
                 ledger.wrong_count == 0)  # fmt: skip


def log_is_clean(log: str) -> Check:
    """No line above the level info but those that kills explain."""
    found: Counter[str] = Counter()
    for line in log.splitlines():
        if line.startswith(FOREIGN):
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            found[line[:120]] += 1
            continue
        key = (entry.get("level"), entry.get("event"))
        if key[0] not in ("info", "debug") and key not in EXPECTED:
            found[line[:300]] += 1
    return Check("no line in the log that a kill does not explain", _told(found) or "none", not found)


def nothing_grows(gauges: Gauges) -> Iterator[Check]:
    """Memory, descriptors and threads of the process that was never killed."""
    if gauges.is_gone or len(gauges.samples) < 10:
        yield Check("the eldest server process lives", "it is gone", holds=False)
        return
    memory = gauges.trend("memory_mib")
    bound = max(GROWTH_MIB, GROWTH_SHARE * memory.begin) * (1 + SETTLES_S / memory.length_s)
    yield Check(f"memory grows by less than {bound:.1f} MiB", _trend(memory, " MiB"), memory.growth < bound)
    for name in ("descriptors", "threads"):
        trend = gauges.trend(name)
        yield Check(f"{name} stay", _trend(trend, ""), trend.growth < SPREAD)


def all_gone(processes: list[int]) -> Check:
    """No process is left behind."""
    end = time.monotonic() + 10
    while left := [pid for pid in processes if usage(pid) is not None]:
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    return Check("it leaves no process behind", f"{len(left)} left", not left)


def _trend(trend: Trend, unit: str) -> str:
    return (
        f"{trend.begin:.1f} -> {trend.end:.1f}{unit}, {trend.per_hour:+.1f}{unit} an hour, at most {trend.highest:.1f}"
    )


def _told(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counted.most_common())


def report(checks: list[Check], ledger: Ledger, minutes: float) -> str:
    """Everything as text."""
    lines = [f"# {minutes:.1f} minutes", "", "| done to the service | times |", "|---|---|"]
    lines += [f"| {what} | {times} |" for what, times in sorted(ledger.done.items())]
    lines += ["", "| asked | answered |", "|---|---|"]
    for name in sorted({name for name, _ in ledger.answers}):
        by_status = Counter({status: n for (of, status), n in ledger.answers.items() if of == name})
        lines.append(f"| {name} | {', '.join(f'{n} x {status}' for status, n in by_status.most_common())} |")
    lines += ["", f"Explained by a kill: {_told(ledger.excused) or 'nothing'}."]
    lines += [f"Versions that answered: {len(ledger.versions)}."]
    lines += ["", "| check | found | |", "|---|---|---|"]
    lines += [f"| {check.what} | {check.found} | {'holds' if check.holds else 'FAILS'} |" for check in checks]
    return "\n".join([*lines, "", *(f"- {line}" for line in ledger.wrong)])
