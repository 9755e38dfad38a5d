"""A Dask cluster that speaks TLS lets in who has a certificate of its authority, and nobody else."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest

from app.jobs.dask_cluster import ClusterAway, connect
from app.jobs.dask_engine import DaskEngine
from app.jobs.dask_worker import Preparation
from app.jobs.engine import EngineOptions
from app.jobs.service import Jobs
from tests.jobs.dask_processes import DaskProcesses, outcome, until
from tests.jobs.sample_kinds import KINDS


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def certificates(folder: Path) -> dict[str, str]:
    """Make an authority and one certificate of it, with the commands of the documentation."""
    folder.mkdir()
    key = ("-newkey", "rsa:2048", "-nodes")
    openssl(folder, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=beamline")
    openssl(folder, "req", *key, "-keyout", "dask.key", "-out", "dask.csr", "-subj", "/CN=dask")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    openssl(folder, "x509", "-req", "-in", "dask.csr", *signed, "-out", "dask.pem")
    return {name: str(folder / file) for name, file in {"ca": "ca.pem", "cert": "dask.pem", "key": "dask.key"}.items()}


def as_client(tls: dict[str, str]) -> dask.config.set:
    shown = {"ca-file": tls["ca"], "client.cert": tls["cert"], "client.key": tls["key"]}
    return dask.config.set({f"distributed.comm.tls.{name}": file for name, file in shown.items()})


@pytest.fixture
def ours(tmp_path: Path) -> dict[str, str]:
    return certificates(tmp_path / "ours")


@pytest.fixture
def cluster(tmp_path: Path, ours: dict[str, str]) -> Iterator[DaskProcesses]:
    options = ("--tls-ca-file", ours["ca"], "--tls-cert", ours["cert"], "--tls-key", ours["key"])
    processes = DaskProcesses(tmp_path, security=options, protocol="tls")
    processes.scheduler()
    processes.worker()
    yield processes
    processes.stop()


async def knock(address: str) -> None:
    await connect(address, Preparation("0", KINDS, "info", "auto"), on_news=print, on_gone=print, on_change=print)


def test_jobs_run_with_a_certificate_and_not_without(
    cluster: DaskProcesses, ours: dict[str, str], tmp_path: Path
) -> None:
    options = EngineOptions()
    jobs = Jobs(f"sqlite:///{tmp_path}/jobs", KINDS, options, engine=DaskEngine(KINDS, options, cluster.address))
    with as_client(ours):
        jobs.start()
        until(lambda: jobs.status().ready == 1)
        assert outcome(jobs, "echo", b"1").result == b"1"
        jobs.stop()
    with pytest.raises(ClusterAway, match="TLS"):
        asyncio.run(knock(cluster.address))
    with as_client(certificates(tmp_path / "theirs")), pytest.raises(ClusterAway, match="no connection"):
        asyncio.run(knock(cluster.address))
