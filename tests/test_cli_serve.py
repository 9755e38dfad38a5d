"""What `serve` hands to its workers."""

from __future__ import annotations

import os

import pytest

from app import cli

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
