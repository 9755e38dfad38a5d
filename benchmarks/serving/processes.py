"""Servers as processes: all that one starts is counted as its own, and ends with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
START_S = 120.0
STOP_S = 15.0
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


class NotStarted(Exception):
    """A server did not come up; the message ends with what it wrote last."""


@dataclass(frozen=True)
class Running:
    """A server that listens.

    Attributes:
        port: on this machine.
        process: the first of its processes.
        log: what it writes.
    """

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def last_words(self) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-600:].strip()

    def processor_s(self) -> float:
        """Processor time of all its live processes [seconds]; 0 where there is no /proc."""
        return sum(_TICK_S * (int(one.fields[11]) + int(one.fields[12])) for one in _family(self.process.pid))

    def memory_mib(self) -> float:
        """Memory of all its processes, shared pages once [MiB]; 0 where there is no /proc."""
        return sum(_proportional_mib(one.number) for one in _family(self.process.pid))

    def stop(self) -> None:
        """End all its processes: asked at first, then killed."""
        family = _family(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # What a server leaves behind when its first process ends.
        left = {(one.number, one.started) for one in _processes()}
        for one in family:
            if (one.number, one.started) in left and one.number != self.process.pid:
                _kill(one.number)


def start(command: Sequence[str], environment: Mapping[str, str], port: int, log: Path) -> Running:
    """Start a server in the repository's folder and wait until it listens.

    Raises:
        NotStarted: it ended, or did not listen within `START_S`.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Running(port, process, log)
    try:
        _wait(running)
    except BaseException:  # the run may be stopped just now
        running.stop()
        raise
    return running


def _wait(running: Running) -> None:
    deadline = time.monotonic() + START_S
    while not _listens(running.port):
        ended = running.process.poll()
        if ended is not None:
            raise NotStarted(f"exit status {ended}: {running.last_words()}")
        if time.monotonic() > deadline:
            raise NotStarted(f"does not listen after {START_S:g} s: {running.last_words()}")
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


@dataclass(frozen=True)
class _Process:
    """A process with the fields of its stat file that follow its name."""

    number: int
    fields: Sequence[str]

    @property
    def parent(self) -> int:
        return int(self.fields[1])

    @property
    def started(self) -> str:
        """Tells a process from a later one with the same number."""
        return self.fields[19]


def _family(first: int) -> list[_Process]:
    """A process, those it started, those that they started, and the rest of their sessions."""
    everyone = _processes()
    numbers, sessions = {first}, {first}
    size = 0
    while size != len(numbers):
        size = len(numbers)
        for one in everyone:
            if one.parent in numbers or int(one.fields[3]) in sessions:
                numbers.add(one.number)
                sessions.add(int(one.fields[3]))
    return [one for one in everyone if one.number in numbers]


def _processes() -> list[_Process]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may have just ended
            found.append(_Process(int(folder.name), (folder / "stat").read_text().rpartition(")")[2].split()))
    return found


def _proportional_mib(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024.0
