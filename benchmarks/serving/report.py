"""The findings as tables for the terminal and as a record for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.serving.rows import Row
from benchmarks.serving.run import Findings, Measured
from benchmarks.serving.servers import FASTAPI_ECHO, OURS, OURS_TWO, RAW_ECHO, SERVERS
from benchmarks.serving.targets import Verdict, fastest_peer, ratio, verdicts


def text(findings: Findings, rows: Sequence[Row]) -> str:
    """All tables."""
    parts = [_row_table(findings, row) for row in rows]
    parts += [_memory(findings), _generator(findings), _failures(findings), _targets(verdicts(findings, rows))]
    return "\n\n".join(part for part in parts if part)


def record(findings: Findings, rows: Sequence[Row]) -> dict[str, Any]:
    """Everything that was measured, for JSON."""
    cells = [
        {"row": row, "server": server, "clients": clients, "rounds": [asdict(one) for one in rounds]}
        for (row, server, clients), rounds in findings.cells.items()
    ]
    return {
        "cells": cells,
        "own_ms": dict(findings.own_ms),
        "body_bytes": findings.body_bytes,
        "memory_mib": findings.memory_mib,
        "failed": [{"row": row, "server": server, "why": why} for (row, server), why in findings.failed.items()],
        "targets": [asdict(one) | {"met": one.met} for one in verdicts(findings, rows)],
    }


def _median(rounds: Sequence[Measured], of: str) -> float:
    return float(np.median([getattr(one, of) for one in rounds]))


def _row_table(findings: Findings, row: Row) -> str:
    measured = {(server, clients) for name, server, clients in findings.cells if name == row.name}
    counts = sorted({clients for _, clients in measured})
    names = [name for name in SERVERS if any(server == name for server, _ in measured)]
    if not names:
        return f"{row.title}: nothing was measured"
    groups = "".join(f" | {_centred(count):^26}" for count in counts)
    head = "".join(f" | {'p50 ms':>8}{'p99 ms':>9}{'1/s':>9}" for _ in counts)
    lines = [
        f"{row.title} ({findings.body_bytes.get(row.name, 0):,} bytes)",
        f"{'':<22}{groups}",
        f"{'':<22}{head} | CPU us",
    ]
    lines += [f"{name:<22}{_figures(findings, row.name, name, counts)}" for name in names]
    return "\n".join([*lines, *_ratios(findings, row.name, counts), *_own(findings, row)])


def _centred(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"


def _figures(findings: Findings, row: str, server: str, counts: Sequence[int]) -> str:
    found = ""
    for count in counts:
        rounds = findings.cells.get((row, server, count))
        if not rounds:
            found += f" | {'-':>26}"
            continue
        p50, p99, rate = (_median(rounds, of) for of in ("p50_ms", "p99_ms", "per_second"))
        found += f" | {p50:>8.3f}{p99:>9.2f}{rate:>9.0f}" if p50 < 1000 else f" | {p50:>8.0f}{p99:>9.0f}{rate:>9.1f}"
    last = findings.cells.get((row, server, counts[-1]))
    return found + (f" | {_median(last, 'processor_us'):>6.0f}" if last else "")


def _ratios(findings: Findings, row: str, counts: Sequence[int]) -> list[str]:
    pairs = [(ours, other) for other in (None, RAW_ECHO, FASTAPI_ECHO) for ours in (OURS, OURS_TWO)]
    lines = [_ratio_line(findings, row, counts, ours, other) for ours, other in pairs]
    return [line for line in lines if line]


def _ratio_line(findings: Findings, row: str, counts: Sequence[int], ours: str, other: str | None) -> str:
    """Requests a second over those of another server, or of the fastest peer."""
    found = []
    for count in counts:
        than = other or fastest_peer(findings, row, count)
        rates = ratio(findings, row, count, ours, than) if than else []
        if rates:
            found.append(f"{np.median(rates):.2f} x" + ("" if other else f" ({than})"))
    return f"  requests/s, {ours} over {other or 'the fastest peer'}: {', '.join(found)}" if found else ""


def _own(findings: Findings, row: Row) -> list[str]:
    own = findings.own_ms.get(row.model)
    return [f"  the model by itself, in process: {np.median(own):.3f} ms"] if own else []


def _memory(findings: Findings) -> str:
    lines = [f"  {name:<22}{mib:>7.0f}" for name, mib in findings.memory_mib.items()]
    return "\n".join(["Memory after the last round, all processes, shared pages once [MiB]", *lines])


def _generator(findings: Findings) -> str:
    """How far the load generator stood in the way: on two cores it takes from a server with several processes."""
    busiest = max(findings.cells.items(), key=lambda item: _median(item[1], "busy"), default=None)
    if busiest is None:
        return ""
    (row, server, clients), rounds = busiest
    ours = [one.busy for (_, name, _), all_rounds in findings.cells.items() if name == OURS for one in all_rounds]
    spent_us = 1e6 * _median(rounds, "busy") / _median(rounds, "per_second")
    return (
        f"The load generator took {_median(rounds, 'busy'):.0%} of a core at most "
        f"({server}, {row}, {_centred(clients)}: "
        f"{spent_us:.0f} us a request, so no more than {1e6 / spent_us:,.0f} requests/s)"
        + (f", {max(ours):.0%} at most with ours." if ours else ".")
    )


def _failures(findings: Findings) -> str:
    if not findings.failed:
        return ""
    lines = [f"  {server}, {row or 'every row'}: {why}" for (row, server), why in findings.failed.items()]
    return "\n".join(["Not measured", *lines])


def _targets(found: Sequence[Verdict]) -> str:
    lines = [_line(one) for one in found]
    met = sum(one.met for one in found)
    return "\n".join([f"Targets: {met} of {len(found)} met (median of the rounds, lowest to highest)", *lines])


def _line(one: Verdict) -> str:
    spread = f"({one.lowest:.2f} to {one.highest:.2f})"
    bound = f"{'>=' if one.at_least else '<='} {one.bound:g}"
    note = f"  {one.note}" if one.note else ""
    return f"  {'met   ' if one.met else 'MISSED'} {one.found:>6.2f} {spread:<18} {bound:<7} {one.target}{note}"
