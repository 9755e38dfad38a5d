"""Parts that several answers have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UsedModel:
    """A model that answered; ``alias`` is how it was asked for, if it was by one."""

    name: str
    version: int
    alias: str | None


@dataclass(frozen=True)
class Remark:
    """Something to know of an answer: a stable code, and the same in words."""

    code: str
    message: str


@dataclass(frozen=True)
class FieldProblem:
    """One field that failed: where, what was expected, and the name of the check."""

    loc: list[int | str]
    msg: str
    type: str
