"""What the offline bundle would hold, and what its installer refuses. `make bundle-test` makes and installs one."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.tags import Tag, cpython_tags
from packaging.utils import parse_wheel_filename

REPOSITORY = Path(__file__).resolve().parents[2]
INSTALL = REPOSITORY / "deploy" / "offline" / "install"


def _loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bundle = _loaded("bundle")


@pytest.fixture(scope="module")
def locked() -> list[str]:
    found = sorted((REPOSITORY / ".tools").glob("uv-*"))
    if not found:
        pytest.skip("uv is not set up; `make test` does so")
    return bundle._locked(found[-1], ["service", "cluster"])


@pytest.mark.parametrize("python", bundle.PYTHONS)
def test_each_python_gets_each_package_once_by_its_digest(python: str, locked: list[str]) -> None:
    lines = list(bundle._for_python(locked, python))
    wanted = [Requirement(line.partition(" --hash=")[0]) for line in lines]
    names = [one.name for one in wanted]
    assert len(set(names)) == len(names)
    assert {"numpy", "fastapi", "ai-edge-litert", "uvicorn", "dask"} <= set(names)
    assert not {"tensorflow", "tensorflow-cpu", "pytest"} & set(names)
    assert all(one.marker is None and str(one.specifier).startswith("==") for one in wanted)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", line) for line in lines)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", bundle.PYTHONS)
def test_each_package_has_a_wheel_for_it_that_is_locked(
    python: str, machine: str, locked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle.platform, "machine", lambda: machine)
    by_digest = _locked_wheels()
    usable = _usable(python)
    for line in bundle._for_python(locked, python):
        wheels = [by_digest[digest] for digest in re.findall(r"sha256:[0-9a-f]{64}", line) if digest in by_digest]
        assert any(parse_wheel_filename(name)[3] & usable for name in wheels), line.partition(" ")[0]


def _locked_wheels() -> dict[str, str]:
    packages = tomllib.loads((REPOSITORY / "uv.lock").read_text())["package"]
    wheels = (wheel for package in packages for wheel in package.get("wheels", []))
    return {wheel["hash"]: wheel["url"].rpartition("/")[2] for wheel in wheels}


def _usable(python: str) -> frozenset[Tag]:
    major, minor = map(int, python.split("."))
    platforms = [*bundle._platforms(), "any"]
    tags = set(cpython_tags((major, minor), platforms=platforms))
    plain = (f"py{major}", f"py{major}{minor}", *(f"py{major}{older}" for older in range(minor)), f"cp{major}{minor}")
    return frozenset(tags | {Tag(name, "none", one) for name in plain for one in platforms})


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """A bundle that has nothing but its frame."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "install").write_bytes(INSTALL.read_bytes())
    (folder / "install").chmod(0o755)
    (folder / "VERSION").write_text("9.9.9\n")
    (folder / "requirements-2.7.txt").write_text("")
    bundle._write_digests(folder)
    return folder


def installed(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "install", *options], capture_output=True, text=True)


def test_digests_are_those_of_sha256sum(unpacked: Path) -> None:
    lines = [line.split("  ") for line in (unpacked / "SHA256SUMS").read_text().splitlines()]
    assert [hashlib.sha256(b"9.9.9\n").hexdigest(), "VERSION"] in lines
    assert {name for _, name in lines} == {"VERSION", "install", "requirements-2.7.txt"}


def test_a_damaged_bundle_is_refused(unpacked: Path, tmp_path: Path) -> None:
    (unpacked / "VERSION").write_text("9.9.8\n")
    done = installed(unpacked, "--prefix", str(tmp_path / "opt"))
    assert done.returncode == 1
    assert "the bundle is damaged" in done.stderr
    assert not (tmp_path / "opt").exists()


def test_a_python_without_wheels_is_refused(unpacked: Path, tmp_path: Path) -> None:
    done = installed(unpacked, "--prefix", str(tmp_path / "opt"), "--python", sys.executable)
    assert done.returncode == 1
    assert "no Python found that the bundle has wheels for: 2.7" in done.stderr
    assert not (tmp_path / "opt").exists()


def test_an_unknown_option_is_answered_with_what_there_is(unpacked: Path) -> None:
    done = installed(unpacked, "--profix", "x")
    assert done.returncode == 2
    assert "--prefix" in done.stdout
