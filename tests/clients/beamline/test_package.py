"""The package installs with pip's ordinary means, brings httpx and nothing else, and works without NumPy."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.clients.environment import uv
from tests.served import REPOSITORY

PROJECT = REPOSITORY / "clients" / "python"
OLDEST = "3.10"
SESSION = """
import asyncio, sys
from importlib.metadata import distributions, version
from beamline_client import AsyncClient, Client, NotFound

url, key = sys.argv[1], sys.stdin.read()
with Client(url, api_key=key) as service:
    (one,) = service.waveform([0.0] * 5000).waveforms
    assert one.number_of_s2 == 0, one
    assert service.model_version("waveform-s2").created.utcoffset() is not None
    (entry,) = service.solve_batch([{"d_ang": [1.0]}], on_progress=lambda job: job.created.year).answers
    assert entry.error.kind == "invalid-input", entry
    try:
        service.jobs.get("unknown")
    except NotFound as error:
        assert error.request_id

async def main():
    async with AsyncClient(url, api_key=key) as service:
        job = await service.jobs.submit_solve_batch([{"d_ang": [1.0]}])
        states = [state.state async for state in service.jobs.events(job)]
        assert states[-1] == "done", states

asyncio.run(main())
names = {one.metadata["Name"].lower() for one in distributions()}
assert "numpy" not in names, names
print(version("beamline-client"), *sorted(names))
"""
BROUGHT = {"anyio", "certifi", "h11", "httpcore", "httpx", "idna"}


def interpreter(version: str) -> str:
    """The path of a Python, or the test is skipped. pyenv's own come first: its shims need not lead anywhere."""
    of_pyenv = sorted(
        Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv").glob(f"versions/{version}.*/bin/python")
    )
    found = str(of_pyenv[-1]) if of_pyenv else shutil.which(f"python{version}")
    if found is None:
        pytest.skip(f"there is no Python {version} on this machine")
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = shutil.copytree(PROJECT, folder / "source")
    uv("build", "--wheel", str(source), "--out-dir", str(folder))
    (made,) = folder.glob("beamline_client-*-py3-none-any.whl")
    return made


def test_the_wheel_holds_every_module_and_its_types(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    written = {path.relative_to(PROJECT / "src").as_posix() for path in (PROJECT / "src").rglob("*.py")}
    assert written | {"beamline_client/py.typed"} <= packed


@pytest.mark.parametrize(
    "version", [OLDEST, *(pytest.param(newer, marks=pytest.mark.slow) for newer in ("3.11", "3.12", "3.13", "3.14"))]
)
def test_the_wheel_installs_and_works(wheel: Path, version: str, address: str, key: str, tmp_path: Path) -> None:
    uv("venv", "--no-project", "--python", interpreter(version), str(tmp_path / "environment"))
    python = tmp_path / "environment" / "bin" / "python"
    uv("pip", "install", "--python", str(python), str(wheel))
    command = [str(python), "-I", "-W", "error", "-c", SESSION, address]
    done = subprocess.run(command, input=key, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    number, *names = done.stdout.split()
    assert number == "0.1.0"
    assert set(names) - {"beamline-client", "exceptiongroup", "typing_extensions", "typing-extensions"} == BROUGHT
