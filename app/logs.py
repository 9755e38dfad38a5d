"""Structured logs on standard error: our own records and those of the standard library through the same processors."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

REQUEST_ID_HEADER = b"x-request-id"
_VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}", re.ASCII)

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The request that the current task answers; None outside of requests."""


def accepted_request_id(offered: bytes | None) -> str:
    """Give the caller's request id where it is plain and short, else a new one.

    Anything else could forge log lines or headers, so it is replaced, not cleaned.
    """
    if offered is not None and _VALID_REQUEST_ID.fullmatch(offered):
        return offered.decode("ascii")
    return os.urandom(16).hex()


@dataclass(frozen=True)
class _Access:
    """How requests are logged.

    Attributes:
        threshold: least severe level that is written.
        as_json: as JSON, not for a terminal.
    """

    threshold: int
    as_json: bool


_access = _Access(logging.INFO, as_json=False)


def log_request(
    method: str, route: str, status: int, duration_ms: float, *, level: int = logging.INFO, caller: str = ""
) -> None:
    """Write the line of one answered request, the same as through structlog.

    As JSON it is written directly: structlog's processors cost a tenth of the whole request.

    Args:
        caller: whose key or token it came with, in plain characters; not written where there was none.
    """
    if level < _access.threshold:
        return
    line = {"method": method, "route": route, "status": status, "duration_ms": duration_ms, "event": "request"}
    if caller:
        line["caller"] = caller
    if not _access.as_json:
        _log.log(level, **line)
        return
    line |= {"request_id": request_id.get(), "level": _LEVELS[level], "timestamp": datetime.now(UTC)}
    sys.stderr.write(orjson.dumps(line, option=_LINE).decode())


_log = structlog.stdlib.get_logger("app.access")
_LEVELS = {logging.DEBUG: "debug", logging.INFO: "info"}
_LINE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


def configure_logs(*, level: str = "info", form: Literal["auto", "json", "console"] = "auto") -> None:
    """Send every log record of this process to standard error.

    Args:
        level: least severe level to write, in lower case.
        form: ``json``, ``console``, or ``auto``: text on a terminal and JSON elsewhere.
    """
    global _access
    threshold = logging.getLevelNamesMapping()[level.upper()]
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    _access = _Access(threshold, as_json=as_json)
    render = _json_renderers() if as_json else _console_renderers()
    structlog.configure(
        processors=[*_shared_processors(), *render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=_StderrLogger,
        cache_logger_on_first_use=False,
    )
    _configure_standard_library(threshold, render)


def _configure_standard_library(threshold: int, render: list[Processor]) -> None:
    handler = _StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_shared_processors(), structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(level=threshold, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # the edge writes one line a request


def _shared_processors() -> list[Processor]:
    return [_add_request_id, structlog.processors.add_log_level, structlog.processors.TimeStamper("iso", utc=True)]


def _json_renderers() -> list[Processor]:
    # Without local variables: they hold request bodies.
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer(serializer=_dumps)]


def _console_renderers() -> list[Processor]:
    # The formatter that structlog takes where Rich is installed shows local variables.
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_traceback)
    return [_escape_texts, console]


def _escape_texts(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape what would break a line or speak to the terminal; what is no text is shown by its escaping ``repr``."""
    return {key: _escaped(value) if isinstance(value, str) else value for key, value in event.items()}


def _write_traceback(target: TextIO, error: ExcInfo) -> None:
    text = StringIO()
    structlog.dev.plain_traceback(text, error)
    target.write("\n".join(map(_escaped, text.getvalue().split("\n"))))


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    current = request_id.get()
    if current is not None:
        event["request_id"] = current
    return event


def _dumps(event: EventDict, *, default: Callable[[Any], Any], **_options: Any) -> str:
    line = orjson.dumps(event, default=default, option=orjson.OPT_NON_STR_KEYS).decode()
    if line.isprintable():
        return line
    # JSON lets many characters stand that terminals obey; ASCII has none of them left.
    return json.dumps(orjson.loads(line), separators=(",", ":"))


class _StderrLogger:
    """Writes a rendered line to whatever `sys.stderr` is now (a test or a supervisor may have replaced it)."""

    def __init__(self, *_args: object) -> None:
        pass

    def msg(self, line: str) -> None:
        sys.stderr.write(line + "\n")

    debug = info = warning = error = critical = exception = log = msg


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)
