"""What the soak has seen: answers, what was wrong with them, accepted jobs, and what was done to the service."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

AFTERMATH_S: Final = 15.0
"""For as long after a kill a broken connection, or a documented 503, is no surprise: a process starts again."""
MOST_NOTES: Final = 40


@dataclass
class Accepted:
    """A job that the service has promised to do.

    Attributes:
        right: what it must answer.
        may_be_cancelled: its caller hung up or cancelled it.
    """

    question: str
    right: Any
    may_be_cancelled: bool = False


@dataclass
class Ledger:
    """Everything that is counted.

    Attributes:
        answers: by name of the question and status.
        wrong: one line for each thing that must not be.
        kills: when a server process was killed (monotonic clock).
        done: by what was done to the service.
    """

    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    wrong_count: int = 0
    accepted: dict[str, Accepted] = field(default_factory=dict)
    kills: list[float] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    versions: set[tuple[str, int]] = field(default_factory=set)

    def complain(self, line: str) -> None:
        """Note something that must not be."""
        self.wrong_count += 1
        if len(self.wrong) < MOST_NOTES:
            self.wrong.append(line)

    def is_excused(self, began_s: float) -> bool:
        """Whether a request that began then, and ends now, met the death of a server process."""
        return any(began_s - AFTERMATH_S <= kill <= time.monotonic() for kill in self.kills)

    def excuse_or_complain(self, what: str, began_s: float) -> None:
        """Count a failure that a kill explains; complain of any other."""
        if self.is_excused(began_s):
            self.excused[what.partition(":")[0]] += 1
        else:
            self.complain(what)
