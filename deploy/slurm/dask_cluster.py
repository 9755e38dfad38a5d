"""A Dask cluster on Slurm for the jobs of the model server; see docs/cluster.md.

Run it where the service runs, or on another machine that may call `sbatch` and that the nodes can reach, in the
environment and the folder of the project: `python deploy/slurm/dask_cluster.py --workers 8`. It holds the scheduler and
submits a Slurm job for each worker; those that end are submitted again. Stop it, and the workers end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from dask_jobqueue import SLURMCluster
from dask_jobqueue.slurm import SLURMJob

PROJECT: Final = Path(__file__).resolve().parents[2]
PORT: Final = 8786


def recipe(
    *,
    queue: str | None = None,
    account: str | None = None,
    memory: str = "4GB",
    walltime: str = "08:00:00",
    gpu: bool = False,
    interface: str | None = None,
    logs: Path = Path("slurm-logs"),
) -> dict[str, Any]:
    """Give the arguments of `SLURMCluster` for Slurm jobs that each have one worker of one thread.

    Args:
        queue: Slurm's partition.
        account: whom Slurm bills.
        memory: of one worker and the process that runs its jobs, together.
        walltime: of one Slurm job; longer than a job of the service may run (BEAMLINE_JOB_MAX_S).
        gpu: give each worker a GPU.
        interface: of the network between scheduler and nodes, such as ``ib0``.
        logs: folder for what the workers write.
    """
    optional = {"queue": queue, "account": account, "interface": interface}
    return {
        "cores": 1,
        "processes": 1,
        "memory": memory,
        "walltime": walltime,
        "job_name": "beamline-jobs",
        "job_extra_directives": ["--gres=gpu:1"] if gpu else [],
        # The workers import the project; each process that runs jobs has one thread.
        "job_script_prologue": [f"export PYTHONPATH={PROJECT}", "export OMP_NUM_THREADS=1", f"cd {PROJECT}"],
        "worker_extra_args": ["--no-dashboard"],
        "log_directory": str(logs),
    } | {name: value for name, value in optional.items() if value is not None}


def job_script(address: str, **options: Any) -> str:
    """Write the Slurm job of one worker for a scheduler of this address, without starting anything."""
    return SLURMJob(address, name="worker", **recipe(**options)).job_script()


def main(
    workers: Annotated[int, typer.Option(help="Slurm jobs, each with one worker.")] = 2,
    queue: Annotated[str | None, typer.Option(help="Slurm's partition.")] = None,
    account: Annotated[str | None, typer.Option(help="Whom Slurm bills.")] = None,
    memory: Annotated[str, typer.Option(help="Memory of one worker.")] = "4GB",
    walltime: Annotated[str, typer.Option(help="Of one Slurm job.")] = "08:00:00",
    gpu: Annotated[bool, typer.Option(help="A GPU for each worker.")] = False,
    interface: Annotated[str | None, typer.Option(help="Network between scheduler and nodes, such as ib0.")] = None,
    host: Annotated[str | None, typer.Option(help="Address that the scheduler listens on.")] = None,
    port: Annotated[int, typer.Option(help="Of the scheduler.")] = PORT,
    address_file: Annotated[Path, typer.Option(help="Where the scheduler's address is written.")] = Path(
        "dask-scheduler.address"
    ),
    show: Annotated[bool, typer.Option(help="Print the Slurm job and end.")] = False,
) -> None:
    """Keep a Dask cluster on Slurm until this is stopped."""
    options = {"queue": queue, "account": account, "memory": memory, "walltime": walltime, "gpu": gpu}
    options["interface"] = interface
    if show:
        typer.echo(job_script(f"tcp://{host or 'SCHEDULER'}:{port}", **options))
        return
    sys.path.insert(0, str(PROJECT))  # the scheduler, which is in this process, imports the project
    listens = {"interface": interface} if interface else {"host": host} if host else {}
    scheduler = {"port": port, "dashboard": False, "dashboard_address": "127.0.0.1:0", **listens}
    with SLURMCluster(**recipe(**options), scheduler_options=scheduler) as cluster:
        _write(address_file, cluster.scheduler_address)
        typer.echo(f"BEAMLINE_DASK_SCHEDULER={cluster.scheduler_address}")
        cluster.adapt(minimum_jobs=workers, maximum_jobs=workers)  # one that ends is submitted again
        _wait_for_stop()


def _write(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(text + "\n")
    os.replace(new, path)  # noqa: PTH105  readers see the old one or the new one


def _wait_for_stop() -> None:
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()


if __name__ == "__main__":
    typer.run(main)
