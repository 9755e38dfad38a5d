"""Make the offline bundle, install it with the network cut, and ask what was installed: `make bundle-test`.

The installation runs under bubblewrap, in a network of its own that holds nothing but a loopback, and sees neither this
repository nor any cache of packages. Needs Linux, and root where bubblewrap must be installed first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Annotated, Final

import typer

REPOSITORY: Final = Path(__file__).resolve().parents[1]
PYTHON: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"
INTERPRETER: Final = str(Path(sys.executable).resolve())
"""The machine's own, which the project's environment is made from."""
NO_NETWORK: Final = """
import socket, sys
try:
    socket.create_connection(("192.0.2.1", 443), timeout=3)
except OSError as error:
    sys.exit(0 if "unreachable" in str(error) else f"the network is not cut: {error}")
sys.exit("the network is not cut")
"""


def main(uv: Annotated[Path, typer.Option(help="The project's uv.")]) -> None:
    """Make, damage, install, ask."""
    reason = why_not()
    if reason:
        typer.echo(f"bundle-test skipped: {reason}")
        return
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="bundle-test-") as name:
        scratch = Path(name)
        folder = unpacked(uv, scratch)
        said(f"bundle after {time.monotonic() - began:.0f} s")
        sandboxed(scratch, INTERPRETER, "-c", NO_NETWORK)
        refuses_what_is_damaged(folder, scratch)
        install = [str(folder / "install"), "--prefix", str(scratch / "opt"), "--python", INTERPRETER]
        sandboxed(scratch, *install)
        said(f"installed after {time.monotonic() - began:.0f} s")
        again = sandboxed(scratch, *install, fails=True)
        assert "is there already" in again, again
        ask(scratch)
    said(f"done after {time.monotonic() - began:.0f} s")


def why_not() -> str:
    """Say what makes the test impossible here, after installing what can be installed; empty if nothing does."""
    if sys.platform != "linux":
        return "it needs Linux"
    if shutil.which("bwrap"):
        return ""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "bubblewrap is not installed"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
    subprocess.run(["apt-get", "install", "-y", "-qq", "bubblewrap"], check=True, env=environment)
    return ""


def unpacked(uv: Path, scratch: Path) -> Path:
    """Make the bundle for this Python as `make bundle` does, and unpack it."""
    command = [sys.executable, str(REPOSITORY / "tools" / "bundle.py"), "--uv", str(uv.absolute())]
    subprocess.run([*command, "--out", str(scratch), "--pythons", PYTHON], check=True, cwd=REPOSITORY)
    (made,) = scratch.glob("*.tar")
    with tarfile.open(made) as tar:
        tar.extractall(scratch, filter="data")
    made.unlink()
    return scratch / made.stem


def refuses_what_is_damaged(folder: Path, scratch: Path) -> None:
    """A file of another content must stop the installation before it begins."""
    harmed = folder / "project" / "app" / "__init__.py"
    sound = harmed.read_bytes()
    harmed.write_bytes(sound + b"#")
    said_there = sandboxed(scratch, str(folder / "install"), "--prefix", str(scratch / "opt"), fails=True)
    assert "the bundle is damaged" in said_there, said_there
    assert not (scratch / "opt").exists()
    harmed.write_bytes(sound)


def ask(scratch: Path) -> None:
    """Serve what was installed, from another folder, and ask the four questions."""
    shutil.copy(REPOSITORY / "tests" / "deploy" / "four_questions.py", scratch)
    current = scratch / "opt" / "current"
    questions = [str(current / ".venv" / "bin" / "python"), str(scratch / "four_questions.py")]
    sandboxed(scratch, *questions, "--", str(current / "bin" / "beamline"), "serve", "--port", "8000")


def sandboxed(scratch: Path, *command: str, fails: bool = False) -> str:
    """Run a command without a network, that may write to one folder only; give what it said where it must fail."""
    bwrap = ["bwrap", "--die-with-parent", "--unshare-net", "--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev"]
    bwrap += ["--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", str(REPOSITORY)]
    for cache in filter(Path.is_dir, (Path.home() / ".cache", Path("/var/cache"))):
        bwrap += ["--tmpfs", str(cache)]
    bwrap += ["--bind", str(scratch), str(scratch), "--chdir", str(scratch), "--setenv", "HOME", str(scratch)]
    pipe = subprocess.PIPE if fails else None
    sys.stdout.flush()
    done = subprocess.run([*bwrap, *command], stdout=pipe, stderr=subprocess.STDOUT, text=True, check=False)
    if (done.returncode != 0) != fails:
        raise SystemExit(
            f"bundle-test failed: {' '.join(command[:3])} ended with {done.returncode}\n{done.stdout or ''}"
        )
    return done.stdout or ""


def said(text: str) -> None:
    """Write a line of the test itself."""
    typer.echo(f"bundle-test: {text}")
    sys.stdout.flush()


if __name__ == "__main__":
    typer.run(main)
