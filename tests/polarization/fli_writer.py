"""Synthetic `.fli` files: the columns of the real ones, numbers from a formula."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

START = datetime(2030, 5, 4, 10, 0)  # noqa: DTZ001 local time of the instrument


@dataclass(frozen=True)
class Decay:
    """P(t) = A tanh(phi exp(-t/T1)), measured every `step_h`."""

    amplitude: float = 0.93
    phi: float = 1.5
    lifetime_h: float = 100.0
    sigma: float = 0.002
    step_h: float = 3.0
    rows: int = 8

    def at(self, hours: float) -> float:
        return self.amplitude * math.tanh(self.phi * math.exp(-hours / self.lifetime_h))


def header(
    cell_id: str = "ge18004",
    filled: datetime = START,
    *,
    role: str = "polariser",
    pressure: float = 2.3,
    lab: float = 0.79,
) -> str:
    return (
        f"{role} cell info {cell_id} pressure/init. polar {pressure:.2f} {lab:.2f} "
        f"initial date/time {filled:%d %m %y @ %H:%M}"
    )


def row(
    number: int,
    time: datetime,
    polarization: float,
    sigma: float = 0.002,
    *,
    reflection: Sequence[float] = (1, 1, 1),
    directions: str = "+z +z",
    seconds: str = "    300.00",
    remark: str = "",
) -> str:
    h, k, l_index = reflection
    ratio = (1 + polarization) / (1 - polarization) if polarization != 1 else math.inf
    ratio_sigma = 2 * sigma / (1 - polarization) ** 2 if polarization != 1 else math.nan
    return (
        f"{number:8d}{h:8.3f}{k:8.3f}{l_index:8.3f} {time:%d/%m/%y %H:%M:%S}{2.0:11.2f}  {directions:5s} "
        f"{polarization:10.4f}{sigma:10.4f}{ratio:10.4f}{ratio_sigma:10.4f} {seconds}{remark}"
    )


def decay_rows(
    decay: Decay = Decay(),
    first: datetime = START + timedelta(minutes=5),
    *,
    number: int = 100,
    reflection: Sequence[float] = (1, 1, 1),
    directions: str = "+z +z",
    seconds: str = "    300.00",
) -> list[str]:
    return [
        row(
            number + index,
            first + timedelta(hours=decay.step_h * index),
            decay.at(decay.step_h * index),
            decay.sigma,
            reflection=reflection,
            directions=directions,
            seconds=seconds,
        )
        for index in range(decay.rows)
    ]


def fli(*lines: str | Sequence[str]) -> str:
    flat = [text for line in lines for text in ([line] if isinstance(line, str) else line)]
    return "\n".join(flat) + "\n"
