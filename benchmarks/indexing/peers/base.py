"""How another program is asked: one fresh process a pattern, which says itself how long its solve took."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.indexing.cases import Case
from benchmarks.indexing.criterion import niggli_of
from benchmarks.indexing.measure import now
from benchmarks.indexing.outcome import Found, Outcome, judge

PEERS_FOLDER = Path(__file__).resolve().parents[3] / ".tools" / "peers"
_CENTRING = {"hP": "P", "hR": "R"}


@dataclass(frozen=True)
class Peer:
    """A program that is set up.

    Attributes:
        name: with its version.
        command: starts the worker, which reads one JSON object from its input and writes one as its last line.
        environment: variables that the worker needs besides the usual ones.
        options: passed to the worker with each pattern.
        lattices: Bravais lattices that the program searches as it is run here.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    options: dict[str, Any]
    lattices: tuple[str, ...]


def ask(peer: Peer, case: Case, *, max_seconds: float) -> Outcome:
    """Give one pattern to the program and judge its answer by the same criterion.

    Wall and processor time are those of the solve alone, as the worker measures them; of a run that is cut off, those
    of the whole process.
    """
    start = now()
    try:
        answer = _answer(peer, case, max_seconds)
    except subprocess.TimeoutExpired:
        return _nothing(case, start, f"stopped after {max_seconds:g} s")
    except (ChildProcessError, json.JSONDecodeError, IndexError) as error:
        return _nothing(case, start, f"{peer.name} failed: {error}")
    found = [found_of(cell["bravais"], cell["cell"], cell["m20"]) for cell in answer["cells"]]
    return replace(judge(case, found), wall_s=answer["wall_s"], cpu_s=answer["cpu_s"])


def found_of(bravais: str, cell: Sequence[float], m20: float) -> Found:
    """Reduce an answered conventional cell; its centring may be any, `oA` and `mI` included."""
    centring = _CENTRING.get(bravais, bravais[1])
    constants = (*cell[:3], 90.0, 90.0, 120.0) if bravais[0] == "h" else tuple(cell)
    return Found(bravais=bravais, niggli=niggli_of(constants, centring), m20=m20)


def _answer(peer: Peer, case: Case, max_seconds: float) -> dict[str, Any]:
    question = {"q2": case.peaks.q2_inv_ang2[:20].tolist(), "max_seconds": max_seconds, **peer.options}
    with subprocess.Popen(
        peer.command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", **peer.environment},
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, complaint = process.communicate(json.dumps(question), timeout=max_seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        last = (complaint.strip().splitlines() or ["it said nothing"])[-1]
        raise ChildProcessError(f"it ended with {process.returncode}: {last}")
    return json.loads(output.strip().splitlines()[-1])


def _nothing(case: Case, start: Any, problem: str) -> Outcome:
    wall, cpu = now().since(start)
    return Outcome(case.id, case.bravais, wall_s=wall, cpu_s=cpu, problem=problem)
