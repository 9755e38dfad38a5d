"""What `serve` hands to its workers."""

from __future__ import annotations

import os
import socket

import pytest
import uvicorn

from app import cli
from app.cli import listening_socket


def test_connections_of_several_workers_send_without_delay() -> None:
    config = uvicorn.Config("app.main:service", port=0, log_config=None)
    with listening_socket(config) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()[:2]), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


BLAS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@pytest.mark.parametrize(("given", "expected"), [({}, ["1", "1", "1"]), ({"OMP_NUM_THREADS": "4"}, ["4", "1", "1"])])
def test_each_of_several_workers_has_one_blas_thread_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: list[str]
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "unused")
    for name in BLAS:
        monkeypatch.setenv(name, given.get(name, ""))
        if name not in given:
            monkeypatch.delenv(name)
    monkeypatch.setattr(cli, "configure_logs", lambda **_: None)
    seen: list[str] = []
    monkeypatch.setattr(cli, "_run_workers", lambda _: seen.extend(os.environ[name] for name in BLAS))
    cli.serve(port=0, workers=2)
    assert seen == expected
