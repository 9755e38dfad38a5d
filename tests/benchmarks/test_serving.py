"""The comparison of servers: what its client sees, what it takes for an answer, and a whole small run of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from app.model_registry.registry import Registry
from app.model_registry.store import ModelStore
from benchmarks.serving import __main__ as command
from benchmarks.serving import environments, targets
from benchmarks.serving.client import LoadFailed, exchange, load
from benchmarks.serving.networks import Asked, Prepared
from benchmarks.serving.processes import NotStarted, free_ports, start
from benchmarks.serving.report import record, text
from benchmarks.serving.rows import Row, WrongAnswer, make_rows, network_row
from benchmarks.serving.run import Findings, Measured, Plan
from benchmarks.serving.servers import FASTAPI_ECHO, OURS, OURS_TWO, PARSED_ECHO, RAW_ECHO, SERVERS

REPOSITORY = Path(__file__).resolve().parents[2]
REQUEST = b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
NETWORK = "waveform-s2"


# --- the client -------------------------------------------------------------------------------------------------------


@contextmanager
def answering(*pieces: bytes) -> Iterator[int]:
    """A server that answers each request with these pieces, one send each; an empty piece closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, pieces), daemon=True).start()
        yield listening.getsockname()[1]


def _accept(listening: socket.socket, pieces: Sequence[bytes]) -> None:
    while True:
        try:
            accepted = listening.accept()[0]
        except OSError:  # the test has ended
            return
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_answer, args=(accepted, pieces), daemon=True).start()


def _answer(accepted: socket.socket, pieces: Sequence[bytes]) -> None:
    with accepted, suppress(OSError):  # the client may be gone already
        while accepted.recv(2**16):
            for piece in pieces:
                if not piece:
                    return
                accepted.sendall(piece)
                time.sleep(0.001)  # so that most pieces arrive apart; right whether they do or not


WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (WHOLE,),
        (WHOLE[:10], WHOLE[10:40], WHOLE[40:]),
        (CHUNKED,),
        (CHUNKED[:-3], CHUNKED[-3:]),
        (CHUNKED[:52], CHUNKED[52:]),
    ],
)
def test_an_answer_is_read_however_it_comes(pieces: tuple[bytes, ...]) -> None:
    with answering(*pieces) as port:
        assert exchange(port, REQUEST)[1] == b"hello"
        seen = load(port, REQUEST, clients=3, seconds=0.0, at_least=10)
    assert len(seen.latencies_s) == 10
    assert (seen.latencies_s > 0.0).all()
    assert seen.per_second == pytest.approx(10 / seen.duration_s)
    assert seen.percentile_ms(50) <= seen.percentile_ms(99)


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ((b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",), "503"),
        ((WHOLE + b"more",), "more than its content-length"),
        ((b"HTTP/1.1 200 OK\r\n\r\n",), "without a length"),
        ((WHOLE[:20], b""), "closed|Reset"),
    ],
)
def test_what_is_no_good_answer_ends_the_load(pieces: tuple[bytes, ...], why: str) -> None:
    with answering(*pieces) as port, pytest.raises(LoadFailed, match=why):
        load(port, REQUEST, clients=2, seconds=0.2)


def test_a_request_larger_than_the_buffers_is_sent_whole() -> None:
    body = b"x" * 3_000_000
    request = b"POST /echo HTTP/1.1\r\nContent-Type: a/b\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with _started_echo() as port:
        assert exchange(port, request)[1] == body
        assert len(load(port, request, clients=2, seconds=0.0, at_least=4).latencies_s) == 4


@contextmanager
def _started_echo() -> Iterator[int]:
    port = free_ports(1)[0]
    uvicorn = [sys.executable, "-m", "uvicorn", "--factory", "benchmarks.serving.echo:raw", "--port", str(port)]
    running = start(uvicorn, os.environ, port, Path(os.devnull))
    try:
        yield port
    finally:
        running.stop()


# --- processes --------------------------------------------------------------------------------------------------------

FAMILY = """
import socket, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="counts processes through /proc")
def test_all_that_a_server_started_ends_with_it(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    running = start([sys.executable, "-c", FAMILY, str(port)], os.environ, port, tmp_path / "log.txt")
    child = int((tmp_path / "log.txt").read_text())
    assert running.memory_mib() > 0.0
    running.stop()
    for _ in range(600):  # whoever adopted it has to notice
        if _state(child) in ("", "Z"):
            break
        time.sleep(0.05)
    assert _state(child) in ("", "Z")
    assert running.process.returncode is not None


def _state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="exit status 3: no such model"):
        start([sys.executable, "-c", "print('no such model'); exit(3)"], os.environ, free_ports(1)[0], tmp_path / "log")


# --- peers ------------------------------------------------------------------------------------------------------------


def test_every_peer_names_its_versions() -> None:
    locked = sorted((REPOSITORY / "benchmarks/serving/peers").glob("*/requirements.txt"))
    assert [file.parent.name for file in locked] == ["bentoml", "kserve", "litserve", "mlserver", "pytriton"]
    for file in locked:
        lines = [line for line in file.read_text().splitlines() if line and not line.lstrip().startswith("#")]
        assert all("==" in line for line in lines)
        assert any(line.startswith("ai-edge-litert==") for line in lines)


def test_a_peer_that_cannot_be_installed_is_reported(monkeypatch: pytest.MonkeyPatch, prepared: Prepared) -> None:
    def offline(*_: str) -> subprocess.CompletedProcess[str]:
        raise environments.NotInstalled("no network")

    monkeypatch.setattr(environments, "_run", offline)
    monkeypatch.setattr(environments, "ENVIRONMENTS", Path("/nonexistent/tools/peers"))
    monkeypatch.setattr(environments.shutil, "which", lambda _: "uv")
    findings = command.contest(prepared, [], [SERVERS["mlserver"]], Plan((1,), 1, 0.1))
    assert findings.failed["", "mlserver"] == "NotInstalled: no network"
    assert "mlserver, every row: NotInstalled: no network" in text(findings, [])


# --- a whole run ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The project's own models, so that nothing has to be built; the benchmark's networks need TensorFlow."""
    store = REPOSITORY / "model_store"
    registry = Registry(ModelStore(store))
    registry.refresh()
    model = registry.resolve(NETWORK)
    rng = np.random.default_rng(1)
    shapes = {spec.name: (2, *(n or 1 for n in spec.shape[1:])) for spec in model.manifest.inputs}
    inputs = {name: rng.normal(size=shape).round(3).astype(np.float32) for name, shape in shapes.items()}
    return Prepared(store, tmp_path_factory.mktemp("networks"), {NETWORK: Asked(NETWORK, inputs, model.run(inputs))})


@pytest.fixture(scope="module")
def rows(prepared: Prepared) -> list[Row]:
    asked = prepared.asked[NETWORK]
    polarization = make_rows(Prepared(prepared.store, prepared.networks, {"mlp": asked, "cnn1d": asked}))[
        "polarization-json"
    ]
    return [network_row("json", "A", asked, "json"), network_row("binary", "B", asked, "binary"), polarization]


@pytest.fixture(scope="module")
def findings(prepared: Prepared, rows: list[Row]) -> Findings:
    servers = [SERVERS[name] for name in (RAW_ECHO, FASTAPI_ECHO, PARSED_ECHO, OURS)]
    return command.contest(prepared, rows, servers, Plan((1, 4), 2, 0.05))


def test_each_row_is_measured_in_each_round(findings: Findings, rows: list[Row]) -> None:
    assert findings.failed == {}
    everyone = {RAW_ECHO, FASTAPI_ECHO, OURS}
    cells = {(row.name, server, clients) for row in rows for server in everyone for clients in (1, 4)}
    assert set(findings.cells) == cells | {("polarization-json", PARSED_ECHO, clients) for clients in (1, 4)}
    assert all(len(rounds) == 2 and all(one.per_second > 0.0 for one in rounds) for rounds in findings.cells.values())
    assert len(findings.own_ms[NETWORK]) == 2


def test_the_tables_name_all_that_was_measured(findings: Findings, rows: list[Row]) -> None:
    printed = text(findings, rows)
    for name in (RAW_ECHO, FASTAPI_ECHO, PARSED_ECHO, OURS, "polarization, 50 times, JSON"):
        assert name in printed
    written = record(findings, rows)
    assert len(written["cells"]) == len(findings.cells)
    assert {target["target"] for target in written["targets"]} >= {
        "p50 over the FastAPI echo's: polarization-json, 1 client",
        "requests/s over the FastAPI echo's: polarization-json, 4 clients",
    }


def test_another_answer_than_that_of_keras_is_refused(prepared: Prepared) -> None:
    asked = prepared.asked[NETWORK]
    name, right = next(iter(asked.expected.items()))
    request = network_row("json", "A", asked, "json").request(SERVERS[OURS])
    assert request is not None

    def answer(values: np.ndarray) -> bytes:
        return record_as_json(name, values)

    request.check(b"HTTP/1.1 200 OK", answer(right))
    with pytest.raises(WrongAnswer, match="differs from Keras"):
        request.check(b"HTTP/1.1 200 OK", answer(right + np.float32(1e-4)))
    with pytest.raises(WrongAnswer, match="another form"):
        request.check(b"HTTP/1.1 200 OK", b'{"outputs": []}')


def record_as_json(name: str, values: np.ndarray) -> bytes:
    data = ",".join(map(str, values.ravel().tolist()))
    return f'{{"outputs": [{{"name": "{name}", "shape": {list(values.shape)}, "data": [{data}]}}]}}'.encode()


# --- targets ----------------------------------------------------------------------------------------------------------


def _measured(per_second: float, p50_ms: float = 1.0, p99_ms: float = 2.0) -> Measured:
    return Measured(per_second, p50_ms, p99_ms, 0.1, 100.0)


def test_targets_compare_within_a_round(rows: list[Row]) -> None:
    findings = Findings()
    # In the second round the machine was ten times slower for everyone.
    findings.cells["json", OURS, 64] = [_measured(4000.0, 1.0, 5.0), _measured(400.0, 1.0, 5.0)]
    findings.cells["json", OURS_TWO, 64] = [_measured(7600.0), _measured(760.0)]
    findings.cells["json", "mlserver", 64] = [_measured(1000.0), _measured(100.0)]
    findings.cells["json", "bentoml", 64] = [_measured(500.0), _measured(50.0)]
    found = {one.target.partition(":")[0]: one for one in targets.verdicts(findings, rows)}
    peer = found["requests/s over the fastest peer's"]
    assert (peer.found, peer.lowest, peer.highest, peer.note, peer.met) == (4.0, 4.0, 4.0, "mlserver", True)
    assert found["requests/s of two workers over one"].found == pytest.approx(1.9)
    assert not found["p99 over p50"].met


def test_the_model_s_own_time_is_held_against_what_a_client_waits(prepared: Prepared) -> None:
    row = network_row("cnn1d-binary", "C", prepared.asked[NETWORK], "binary")
    findings = Findings()
    findings.cells[row.name, OURS, 1] = [_measured(1000.0, p50_ms=0.57)]
    findings.cells[row.name, RAW_ECHO, 1] = [_measured(10000.0, p50_ms=0.08)]
    findings.own_ms[NETWORK] = [0.35]
    (found,) = targets.verdicts(findings, [row])
    assert found.found == pytest.approx(1.4)
    assert found.met
