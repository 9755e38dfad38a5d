"""The servers that are compared: how each is started, what it runs, and which requests it understands."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from benchmarks.serving.networks import Prepared
from benchmarks.serving.processes import REPOSITORY, Running, free_ports, start

HERE: Final = Path(__file__).parent
PEERS: Final = HERE / "peers"
ENVIRONMENTS: Final = REPOSITORY / ".tools" / "peers"

Speaks = Literal["echo", "parsed-echo", "service", "open-inference", "open-inference-json", "own"]
"""`own` is the peer's way from the form of a Python function to JSON: the arrays by name, nested, at `/<network>`."""

_UVICORN: Final = (
    *("{python}", "-m", "uvicorn", "--factory", "--port", "{port}", "--loop", "asyncio", "--http", "httptools"),
    *("--no-access-log", "--log-level", "warning"),
)
_BENTOML: Final = (
    *("{bin}/bentoml", "serve", "--production", "--host", "127.0.0.1", "--port", "{port}"),
    *("--working-dir", "{here}", "service:Networks"),
)
_SERVE: Final = ("{python}", "-m", "app", "serve", "--port", "{port}")


@dataclass(frozen=True)
class Server:
    """One server.

    Attributes:
        runs: what answers, in words for the report.
        speaks: which requests it understands.
        command: with {python}, {port}, {bin} and {here} to be filled in.
        is_peer: compared with ours, and installed in an environment of its own.
        shares: another server whose process this one is a further path of.
        path: of an echo.
    """

    name: str
    runs: str
    speaks: Speaks
    command: tuple[str, ...] = ()
    is_peer: bool = False
    shares: str = ""
    path: str = "/echo"


OURS: Final = "ours"
OURS_TWO: Final = "ours, 2 workers"
RAW_ECHO: Final = "raw echo"
FASTAPI_ECHO: Final = "FastAPI echo"
PARSED_ECHO: Final = "FastAPI echo, parsed"
NAIVE: Final = "naive"

_ALL: Final = (
    Server(RAW_ECHO, "bare ASGI, uvicorn", "echo", (*_UVICORN, "benchmarks.serving.echo:raw")),
    Server(FASTAPI_ECHO, "bytes in, bytes out, uvicorn", "echo", (*_UVICORN, "benchmarks.serving.echo:fastapi")),
    Server(PARSED_ECHO, "JSON to a dict and back, uvicorn", "parsed-echo", shares=FASTAPI_ECHO, path="/parsed"),
    Server(OURS, "python -m app serve", "service", _SERVE),
    Server(OURS_TWO, "python -m app serve --workers 2", "service", (*_SERVE, "--workers", "2")),
    Server(NAIVE, "FastAPI, pydantic, keras model.predict", "own", ("{python}", "{here}/server.py"), is_peer=True),
    Server(
        "bentoml",
        "asynchronous np.ndarray API, LiteRT",
        "own",
        _BENTOML,
        is_peer=True,
    ),
    Server("litserve", "LitAPI, LiteRT", "own", ("{python}", "{here}/server.py"), is_peer=True),
    Server(
        "mlserver",
        "MLModel, parallel_workers 0, LiteRT",
        "open-inference-json",
        ("{python}", "{here}/server.py"),
        is_peer=True,
    ),
    Server("kserve", "kserve.Model, LiteRT", "open-inference", ("{python}", "{here}/server.py"), is_peer=True),
    Server("pytriton", "Triton with @batch, LiteRT", "open-inference", ("{python}", "{here}/server.py"), is_peer=True),
)
SERVERS: Final[Mapping[str, Server]] = {server.name: server for server in _ALL}
PEER_NAMES: Final = tuple(server.name for server in _ALL if server.is_peer)


def start_server(server: Server, prepared: Prepared, scratch: Path, *, peer_workers: int = 1) -> Running:
    """Start one server on free ports.

    Args:
        prepared: networks and store.
        scratch: an existing folder for logs and state.
        peer_workers: processes that answer, of a peer.

    Raises:
        NotStarted: it did not come up.
    """
    ports = free_ports(3)
    folder = scratch / server.name.replace(", ", "-").replace(" ", "-")
    folder.mkdir()
    own = ENVIRONMENTS / server.name / "bin"
    python = str(own / "python") if has_environment(server) else sys.executable
    values = {"python": python, "bin": str(own), "port": str(ports[0]), "here": str(PEERS / server.name)}
    command = [part.format(**values) for part in server.command]
    environment = _environment(server, prepared, folder) | {
        "BENCHMARK_WORKERS": str(peer_workers),
        **{f"BENCHMARK_PORT{suffix}": str(port) for suffix, port in zip(("", "_2", "_3"), ports, strict=True)},
    }
    return start(command, environment, ports[0], folder / "log.txt")


def has_environment(server: Server) -> bool:
    """Whether the server is installed apart from the project; the naive one needs what training needs."""
    return server.is_peer and (PEERS / server.name / "requirements.txt").is_file()


def _environment(server: Server, prepared: Prepared, folder: Path) -> dict[str, str]:
    """What this process has, so that settings of the service can be tried; one thread for each network, as there."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    kept |= {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    if not server.is_peer:
        jobs = f"sqlite:///{folder}/jobs.sqlite3"
        return kept | {"BEAMLINE_MODEL_STORE": str(prepared.store), "BEAMLINE_JOBS_DATABASE": jobs}
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(PEERS / "common"), str(PEERS / server.name)]),
        "BENCHMARK_NETWORKS": str(prepared.networks),
        "BENCHMARK_SCRATCH": str(folder),
        # Triton's Python back end loads the interpreter's library, and takes the system's for it where it finds that.
        "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(folder / "bentoml"),
    }
