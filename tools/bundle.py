"""Gather everything that an installation without a network needs into one tar: `make bundle`.

The wheels are those of `uv.lock`, with its digests, for each Python that is asked for; the project, its models and its
pages come from the working tree as git knows it. `docs/offline.md` says how to install it.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from packaging.requirements import Requirement

REPOSITORY: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from app import __version__  # noqa: E402  the project is no package

PROJECT: Final = ("app", "model_store", "docs", "deploy", "LICENSE", "README.md", "pyproject.toml", "uv.lock")
"""What is taken of the working tree."""
PIP: Final = "pip==25.3"
"""Installs the wheels where Python was packaged without it."""
PYTHONS: Final = ("3.11", "3.12", "3.13")
"""Those that every package of the lock has wheels for."""
GLIBC: Final = 28
"""Newest minor version of glibc 2 that a wheel may ask for: that of Debian 10, Red Hat 8 and Ubuntu 20.04."""


def main(
    uv: Annotated[Path, typer.Option(help="The project's uv.")],
    out: Annotated[Path, typer.Option(help="Folder for the tar.")] = REPOSITORY / "runs" / "bundle",
    pythons: Annotated[str, typer.Option(help="Versions of Python, separated by blanks.")] = " ".join(PYTHONS),
    groups: Annotated[str, typer.Option(help="Groups of packages; `service cluster` for jobs on Dask.")] = "service",
) -> None:
    """Write beamline-model-server-VERSION-linux-MACHINE.tar and its digest."""
    name = f"beamline-model-server-{__version__}-linux-{platform.machine()}"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        folder = Path(scratch) / name
        (folder / "wheels").mkdir(parents=True)
        locked = _locked(uv, groups.split())
        _download(uv, folder / "wheels", pythons.split()[0], [PIP], checked=False)
        for python in pythons.split():
            chosen = folder / f"requirements-{python}.txt"
            chosen.write_text("\n".join(_for_python(locked, python)) + "\n")
            _download(uv, folder / "wheels", python, ["-r", str(chosen)], checked=True)
        _copy_project(folder / "project")
        shutil.copy(REPOSITORY / "deploy" / "offline" / "install", folder / "install")
        (folder / "VERSION").write_text(f"{__version__}\n")
        _write_digests(folder)
        target = out / f"{name}.tar"
        _pack(folder, target)
    typer.echo(f"{target}: {target.stat().st_size / 1e6:.0f} MB for Python {pythons}")


def _locked(uv: Path, groups: Sequence[str]) -> list[str]:
    """The lines of the locked requirements, each with its marker and digests."""
    chosen = [word for group in groups for word in ("--group", group)]
    command = [str(uv), "export", "--quiet", "--locked", "--no-default-groups", "--no-header", "--no-annotate", *chosen]
    listed = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    return [line for line in listed.replace("\\\n", " ").splitlines() if line.strip()]


def _for_python(locked: Sequence[str], python: str) -> Iterator[str]:
    """Those for this Python on this kind of machine, without their markers."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": platform.machine(),
    }
    for line in locked:
        words, *digests = line.split("--hash=")
        wanted = Requirement(words)
        if wanted.marker is None or wanted.marker.evaluate(environment):
            yield " ".join([f"{wanted.name}{wanted.specifier}", *(f"--hash={digest.strip()}" for digest in digests)])


def _download(uv: Path, wheels: Path, python: str, what: Sequence[str], *, checked: bool) -> None:
    short = python.replace(".", "")
    command = [
        str(uv),
        "run",
        "--quiet",
        "--no-project",
        "--isolated",
        "--with",
        PIP,
        "python",
        "-m",
        "pip",
        "download",
    ]
    command += ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--dest", str(wheels)]
    command += ["--implementation", "cp", "--python-version", python]
    command += [word for abi in (f"cp{short}", "abi3", "none") for word in ("--abi", abi)]
    command += [word for tag in _platforms() for word in ("--platform", tag)]
    # The lock has decided what suits this Python: like uv it passes over upper limits that a package has guessed.
    command += ["--require-hashes", "--ignore-requires-python"] if checked else []
    subprocess.run([*command, *what], check=True)


def _platforms() -> Iterator[str]:
    machine = platform.machine()
    for minor in range(GLIBC, 4, -1):
        yield f"manylinux_2_{minor}_{machine}"
    yield from (f"{old}_{machine}" for old in ("manylinux2014", "manylinux2010", "manylinux1", "linux"))


def _copy_project(folder: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--", *PROJECT],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, target)


def _write_digests(folder: Path) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}" for path in paths]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def _pack(folder: Path, target: Path) -> None:
    """Write the tar with nobody's name and no times in it: the same content gives the same bytes."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = "root"
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    with tarfile.open(target, "w") as tar:
        tar.add(folder, folder.name, filter=plain)
    digest = hashlib.file_digest(target.open("rb"), "sha256").hexdigest()
    target.with_name(f"{target.name}.sha256").write_text(f"{digest}  {target.name}\n")


if __name__ == "__main__":
    typer.run(main)
