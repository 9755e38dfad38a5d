"""Server-sent events, from the bytes of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
"""Only these end a line; `str.splitlines` also takes others, such as U+2028, which may stand in JSON."""


@dataclass(frozen=True)
class Event:
    """One event."""

    event: str
    data: str
    id: str | None


@dataclass
class EventDecoder:
    """Reads events out of a stream that comes in pieces of any length."""

    _held: bytes = b""
    _pieces: list[bytes] = field(default_factory=list[bytes])
    _name: str = ""
    _data: list[str] = field(default_factory=list[str])
    _id: str | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this piece completes."""
        found: list[Event] = []
        for line in self._lines(chunk):
            if line:
                self._take(line)
            elif (event := self._event()) is not None:
                found.append(event)
        return found

    def _lines(self, chunk: bytes) -> list[bytes]:
        text = self._held + chunk
        # A \r at the end may be half of a \r\n: it waits for what follows.
        self._held = text[-1:] if text.endswith(b"\r") else b""
        *lines, rest = _LINE_END.split(text[: len(text) - len(self._held)])
        if lines:
            lines[0] = b"".join([*self._pieces, lines[0]])
            self._pieces.clear()
        self._pieces.append(rest)
        return lines

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        if name == b"data":
            self._data.append(text)
        elif name == b"event":
            self._name = text
        elif name == b"id" and "\0" not in text:
            self._id = text

    def _event(self) -> Event | None:
        data, name = self._data, self._name
        self._data, self._name = [], ""
        return Event(name or "message", "\n".join(data), self._id) if data else None
