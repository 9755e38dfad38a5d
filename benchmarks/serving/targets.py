"""What the service set out to reach, held against what was measured. Ratios are taken within a round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.serving.rows import Row
from benchmarks.serving.run import Findings
from benchmarks.serving.servers import FASTAPI_ECHO, OURS, OURS_TWO, PEER_NAMES, RAW_ECHO

PEER_TIMES = 3.0
POLARIZATION = "polarization-json"
ECHO_TIMES = 1.2
OWN_TIMES = 1.4
OWN_ROWS = ("cnn1d-binary", "waveform-binary", "waveform-npy")
TAIL_TIMES = 4.0
TWO_TIMES = 1.8


@dataclass(frozen=True)
class Verdict:
    """One target.

    Attributes:
        found: median of the rounds.
        lowest, highest: of the rounds.
        bound: what was set out.
        at_least: the bound is the least allowed; otherwise the most.
        note: whom it is compared with.
    """

    target: str
    found: float
    lowest: float
    highest: float
    bound: float
    at_least: bool
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the median keeps to the bound."""
        return self.found >= self.bound if self.at_least else self.found <= self.bound


def verdicts(findings: Findings, rows: Sequence[Row]) -> list[Verdict]:
    """Every target that was measured."""
    found: list[Verdict] = []
    for row in rows:
        clients = sorted({cell[2] for cell in findings.cells if cell[0] == row.name})
        found += [verdict for count in clients for verdict in _of_cell(findings, row, count)]
    return found


def fastest_peer(findings: Findings, row: str, clients: int) -> str | None:
    """The peer with the most requests a second."""
    rates = {
        peer: float(np.median([one.per_second for one in findings.cells[row, peer, clients]]))
        for peer in PEER_NAMES
        if findings.cells.get((row, peer, clients))
    }
    return max(rates, key=lambda peer: rates[peer]) if rates else None


def ratio(findings: Findings, row: str, clients: int, one: str, other: str, of: str = "per_second") -> list[float]:
    """A figure of one server over that of another, in each round."""
    pair = (findings.cells.get((row, name, clients), []) for name in (one, other))
    return [getattr(a, of) / getattr(b, of) for a, b in zip(*pair, strict=False)]


def _of_cell(findings: Findings, row: Row, clients: int) -> Iterator[Verdict]:
    where = f"{row.name}, {_counted(clients)}"
    peer = fastest_peer(findings, row.name, clients)
    if peer is not None:
        bound = PEER_TIMES if row.form == "json" else 1.0
        # Some peers compute on every core whatever they are told, so two workers are compared with them as well.
        for who, ours in (("", OURS), (" of two workers", OURS_TWO)):
            rates = ratio(findings, row.name, clients, ours, peer)
            target = f"requests/s{who} over the fastest peer's: {where}"
            yield from _verdict(target, rates, bound, at_least=True, note=peer)
    if row.name == POLARIZATION:
        rates = ratio(findings, row.name, clients, OURS, FASTAPI_ECHO)
        yield from _verdict(f"requests/s over the FastAPI echo's: {where}", rates, ECHO_TIMES, at_least=True)
    if clients == 1:
        yield from _alone(findings, row, where)
    if clients == 64:
        tails = [one.p99_ms / one.p50_ms for one in findings.cells.get((row.name, OURS, clients), [])]
        yield from _verdict(f"p99 over p50: {where}", tails, TAIL_TIMES, at_least=False)
    if clients > 1:
        rates = ratio(findings, row.name, clients, OURS_TWO, OURS)
        yield from _verdict(f"requests/s of two workers over one: {where}", rates, TWO_TIMES, at_least=True)


def _alone(findings: Findings, row: Row, where: str) -> Iterator[Verdict]:
    """What one client sees."""
    if row.name == POLARIZATION:
        medians = ratio(findings, row.name, 1, OURS, FASTAPI_ECHO, "p50_ms")
        yield from _verdict(f"p50 over the FastAPI echo's: {where}", medians, 1.0, at_least=False)
    if row.name in OWN_ROWS:
        ours, echo = (findings.cells.get((row.name, name, 1), []) for name in (OURS, RAW_ECHO))
        own = findings.own_ms.get(row.model, [])
        times = [(a.p50_ms - b.p50_ms) / alone for a, b, alone in zip(ours, echo, own, strict=False)]
        note = f"{np.median(own):.3f} ms" if own else ""
        yield from _verdict(
            f"p50 above the raw echo's, in the model's own time: {where}", times, OWN_TIMES, at_least=False, note=note
        )


def _counted(clients: int) -> str:
    return "1 client" if clients == 1 else f"{clients} clients"


def _verdict(
    target: str, rounds: Sequence[float], bound: float, *, at_least: bool, note: str = ""
) -> Iterator[Verdict]:
    if rounds:
        yield Verdict(target, float(np.median(rounds)), min(rounds), max(rounds), bound, at_least, note)
