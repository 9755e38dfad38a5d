"""What callers send cannot forge a line of the log, nor speak to the terminal of who reads it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from app.logs import configure_logs
from tests.attacks.raw import asked, head
from tests.faults.service import Service

FORGED = 'x\r\n{"event":"forged","level":"info"}\n2026-01-01 [info] forged'
SPEAKS = "\x1b[2J\x1b[31mowned\x07\x9b1m\u202eback\u2028next"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose log is text for people."""
    folder = tmp_path_factory.mktemp("terminal")
    variables = {"log_format": "console", "log_level": "debug", "job_workers": "0"}
    service = Service(folder, f"sqlite:///{folder}/jobs.sqlite3", **variables).start()
    yield service
    service.stop()
    service.http.close()


def attack(service: Service) -> None:
    """Send what forges and what speaks wherever something might be logged."""
    for text in (FORGED, SPEAKS):
        encoded = "".join(f"%{byte:02x}" for byte in text.encode())
        in_header = text.replace("\r\n", " ").replace("\n", " ").encode("utf-8").decode("latin-1")
        headers = {"X-Request-ID": in_header, "User-Agent": in_header, "Authorization": in_header}
        for path in (
            f"/{encoded}",
            f"/models/{encoded}",
            f"/v2/models/{encoded}/ready",
            f"/jobs/{encoded}",
            f"/?{encoded}",
        ):
            asked(service, [head("GET", path, **headers)])
        asked(service, [f"{text} / HTTP/1.1\r\n\r\n".encode()])
        question = {"d_ang": [3.1, 1.9, 1.6, 1.3, 1.2, 1.1], "name": text, "models": {"odds": text}}
        service.http.post("/indexing/solve", json=question, headers={"Prefer": "respond-async"})
        service.http.post("/polarization/predict", json={text: text})
        service.http.post("/aggregates/file", files={"file": (f"{in_header}.npy", b"x")})


def test_every_line_is_one_record_of_ours(service: Service) -> None:
    start = len(service.log())
    attack(service)
    # The runtime of networks writes a line of its own, once in each process.
    lines = [line for line in service.log()[start:].splitlines() if not line.startswith("INFO: Created TensorFlow")]
    assert len(lines) >= 10
    assert not CONTROL.search("\n".join(lines))
    assert "forged" not in {json.loads(line)["event"] for line in lines}


def test_a_terminal_is_shown_nothing_that_speaks_to_it(terminal: Service) -> None:
    start = len(terminal.log())
    attack(terminal)
    log = terminal.log()[start:]
    assert len(log.splitlines()) >= 10
    assert not CONTROL.search(log)
    assert not [line for line in log.splitlines() if line.startswith(("2026-01-01", '{"event":"forged"'))]


@pytest.fixture(params=["console", "json"])
def configured(request: pytest.FixtureRequest) -> Iterator[str]:
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    configure_logs(level="info", form=request.param)
    yield request.param
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_what_the_code_logs_is_one_line_whatever_it_holds(
    configured: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The message itself, a value, a key, a list, and the records of other libraries."""
    log = structlog.stdlib.get_logger("test")
    for text in (FORGED, SPEAKS):
        log.warning("said", value=text, several=[text, {text: text}], path=tmp_path / "a\nb")
        log.warning(text)
        logging.getLogger("library").warning("said %s", text)
    written = capsys.readouterr().err
    assert len(written.splitlines()) == 6, configured
    assert not CONTROL.search(written)


def test_a_traceback_is_readable_and_its_error_forges_nothing(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = structlog.stdlib.get_logger("test")
    try:
        raise ValueError(SPEAKS)
    except ValueError:
        log.exception("failed")
    written = capsys.readouterr().err
    assert "ValueError" in written
    assert not CONTROL.search(written)
    assert (len(written.splitlines()) == 1) == (configured == "json")
