"""Build the image of the Dockerfile without a container engine, run it hardened, and ask it: `make image-test`.

Debian's buildah does the steps of the Dockerfile in a chroot, on a base that debootstrap makes in place of the one that
the Dockerfile names. The service then runs from the image as user 10001 without a capability, with a read-only root
and no network but its own loopback, started and checked by the commands of the image. Needs root and apt-get.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import typer

REPOSITORY: Final = Path(__file__).resolve().parents[1]
WORK: Final = REPOSITORY / ".tools" / "image"
SUITE: Final = "trixie"
"""Debian of the Dockerfile's base."""
PACKAGES: Final = {"buildah": "buildah", "debootstrap": "debootstrap", "bwrap": "bubblewrap"}
"""Program -> Debian's package."""
BASE: Final = "localhost/debian-for-tests:latest"
IMAGE: Final = "localhost/beamline-model-server:test"
STACK_TOOLS: Final = "localhost/stack-tools:latest"
AUTHORITIES: Final = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
UNWANTED: Final = ("gcc", "cc", "make", "pip", "pip3", "uv", "curl", "wget")
"""Programs that have no business in the image."""
KEY: Final = "image-test-0123456789abcdef"


@dataclass(frozen=True)
class Image:
    """An image whose files lie in a folder.

    Attributes:
        root: the folder.
        config: the image's configuration, as Docker has it.
    """

    root: Path
    config: Mapping[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.config["Env"])

    @property
    def command(self) -> list[str]:
        return [*self.config["Entrypoint"], *self.config["Cmd"]]

    @property
    def health(self) -> list[str]:
        return self.config["Healthcheck"]["Test"][1:]


def main(
    keep: Annotated[bool, typer.Option(help="Keep the image for another look.")] = False,
    install: Annotated[bool, typer.Option(help="Install what is missing by apt-get.")] = True,
) -> None:
    """Build, look, run, ask."""
    reason = why_not(install=install)
    if reason:
        typer.echo(f"image-test skipped: {reason}")
        return
    began = time.monotonic()
    make_base()
    said(f"base after {time.monotonic() - began:.0f} s")
    build()
    said(f"image after {time.monotonic() - began:.0f} s")
    check_stack()
    said(f"stack checked after {time.monotonic() - began:.0f} s")
    with mounted(IMAGE) as image:
        look(image)
        ask_service(image)
        ask_cluster(image)
    if not keep:
        buildah("rmi", "--force", IMAGE)
    said(f"done after {time.monotonic() - began:.0f} s")


def why_not(*, install: bool) -> str:
    """Say what makes the test impossible here, after installing what can be installed; empty if nothing does."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it needs root on Linux"
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not missing:
        return ""
    if not install or shutil.which("apt-get") is None:
        return f"{', '.join(missing)} are not installed"
    run("apt-get", "update", "-qq")
    run(
        "apt-get",
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
        *missing,
        env={"DEBIAN_FRONTEND": "noninteractive"},
    )
    return ""


def make_base() -> None:
    """Make Debian's smallest system, once, and name it as an image."""
    kept = WORK / f"{SUITE}.tar"
    if not kept.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        new = WORK / f"{SUITE}.new.tar"
        shutil.rmtree(WORK / "base", ignore_errors=True)
        run("debootstrap", "--variant=minbase", SUITE, str(WORK / "base"))
        run("tar", "-C", str(WORK / "base"), "--exclude=./var/cache/apt/archives/*.deb", "-cf", str(new), ".")
        shutil.rmtree(WORK / "base")
        new.rename(kept)
    if is_there(BASE):
        return
    container = buildah("from", "scratch").strip()
    buildah("add", "--quiet", container, str(kept), "/")
    buildah("commit", "--quiet", "--rm", container, BASE)


def build() -> None:
    """Do the steps of the Dockerfile up to the service."""
    revision = run("git", "rev-parse", "HEAD").strip()
    options = ["--isolation", "chroot", "--pull-never", "--format", "docker", "--target", "api", "--tag", IMAGE]
    options += ["--build-arg", f"BASE={BASE}", "--build-arg", f"REVISION={revision}"]
    if AUTHORITIES.exists():
        options += ["--secret", f"id=ca,src={AUTHORITIES}"]
    buildah("bud", *options, str(REPOSITORY), quiet=False)


def check_stack() -> None:
    """Have compose itself read docker-compose.yml, and Prometheus its files, with Debian's packages of both."""
    if not is_there(STACK_TOOLS):
        container = buildah("from", "--pull-never", BASE).strip()
        install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends docker-compose prometheus"
        buildah("run", "--isolation", "chroot", container, "--", "sh", "-c", f"({install}) >/dev/null 2>&1")
        buildah("commit", "--quiet", "--rm", container, STACK_TOOLS)
    over = ["-f", "docker-compose.yml", "-f", "deploy/grafana/publish.yml", "-f", "deploy/models.yml"]
    with mounted(STACK_TOOLS) as image:
        command = ["bwrap", "--unshare-net", "--ro-bind", str(image.root), "/", "--tmpfs", "/tmp", "--dev", "/dev"]
        command += ["--proc", "/proc", "--dir", "/tmp/project", "--chdir", "/tmp/project"]
        for name in ("docker-compose.yml", "deploy"):
            command += ["--ro-bind", str(REPOSITORY / name), f"/tmp/project/{name}"]
        command += ["--clearenv", "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/tmp"]
        command += ["--setenv", "MODEL_STORE", "/srv/models"]
        for profile in ("small", "full", "gpu"):
            for files in ([], over):
                run(*command, "docker-compose", *files, "--profile", profile, "config", "--quiet")
        run(*command, "promtool", "check", "config", "deploy/prometheus/prometheus.yml")


def look(image: Image) -> None:
    """See that nothing is in the image that should not be, and say how large it is."""
    assert image.config["User"] == "10001:10001"
    for folder in image.environment["PATH"].split(":"):
        found = [name for name in UNWANTED if (image.root / folder.lstrip("/") / name).exists()]
        assert not found, f"{found} in {folder}"
    packages = {path.name.lower() for path in (image.root / "opt/venv/lib").glob("python3*/site-packages/*")}
    assert not packages & {"tensorflow", "keras", "pip", "setuptools"}, "training's or building's packages"
    raised = [path for path in image.root.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o6000]
    assert not [path for path in raised if path.is_file()], raised
    sizes = {name: used(image.root / name) for name in ("", "opt/venv", "app", "models", "usr")}
    said("size [MB]: " + ", ".join(f"/{name} {size / 1e6:.0f}" for name, size in sizes.items()))


def ask_service(image: Image) -> None:
    """Make a key, serve with it, ask the four questions; then see that nothing was compiled."""
    with sandbox(image) as (command, state):
        key = run(*command, *image.config["Entrypoint"], "keys", "create", *KEY_OPTIONS).split()[-1]
        asking = [*ASKING, "--read-only", "--health", " ".join(image.health), "--key", key]
        run(*command, *asking, "--", *image.command, quiet=False)
        run(*command, "python", "-c", COMPILED_ANEW, quiet=False)
        said("left in /state: " + ", ".join(sorted(path.name for path in state.iterdir())))


KEY_OPTIONS: Final = ("--name", "test", "--scope", "predict", "--scope", "solve")
ASKING: Final = ("python", "/tmp/check/four_questions.py")
COMPILED_ANEW: Final = """
import sys
from app.indexing.compiled import CACHE
from app.indexing.job import warm_up
before = {path for path in CACHE.rglob("*") if path.is_file()}
assert before and all(path.is_symlink() for path in before), f"{CACHE} is not the image's"
warm_up()
warm_up("/models")
new = [path.name for path in CACHE.rglob("*") if path.is_file() and not path.is_symlink()]
sys.exit(f"compiled anew: {new}" if new else 0)
"""


def ask_cluster(image: Image) -> None:
    """The same through a Dask scheduler and a worker, started from the same image as docker-compose.yml does."""
    scheduler = "dask scheduler --host 127.0.0.1 --port 8786 --no-dashboard --dashboard-address 127.0.0.1:8787"
    worker = (
        "dask worker tcp://127.0.0.1:8786 --host 127.0.0.1 --nthreads 1 --no-nanny --memory-limit 0"
        " --local-directory /tmp --no-dashboard --dashboard-address 127.0.0.1:8788"
    )
    settings = {"BEAMLINE_DASK_SCHEDULER": "tcp://127.0.0.1:8786", "BEAMLINE_SINGLE_USER_KEY": KEY}
    with sandbox(image, settings) as (command, _):
        asking = [*ASKING, "--health", " ".join(image.health), "--key", KEY, "--before", scheduler, "--before", worker]
        run(*command, *asking, "--", *image.command, quiet=False)


@contextmanager
def sandbox(image: Image, settings: Mapping[str, str] | None = None) -> Iterator[tuple[list[str], Path]]:
    """The beginning of a command that runs in the image as `docker run --read-only --cap-drop ALL --tmpfs /tmp
    --security-opt no-new-privileges --network none --volume STATE:/state` would, and the folder that is /state.
    """
    state = WORK / "state"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    os.chown(state, 10001, 10001)
    command = ["bwrap", "--die-with-parent", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    command += ["--ro-bind", str(image.root), "/", "--bind", str(state), "/state", "--perms", "1777", "--tmpfs", "/tmp"]
    command += ["--proc", "/proc", "--dev", "/dev", "--ro-bind", str(REPOSITORY / "tests" / "deploy"), "/tmp/check"]
    command += ["--chdir", image.config["WorkingDir"], "--clearenv"]
    for name, value in (image.environment | dict(settings or {})).items():
        command += ["--setenv", name, value]
    # Root's rights last as long as it takes to become nobody.
    command += [word for name in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{name}")]
    command += ["setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "--no-new-privs"]
    command += ["--inh-caps=-all", "--bounding-set=-all"]
    yield command, state
    shutil.rmtree(state)


@contextmanager
def mounted(name: str) -> Iterator[Image]:
    """The files and the configuration of an image."""
    container = buildah("from", "--pull-never", name).strip()
    try:
        root = Path(buildah("mount", container).strip())
        yield Image(root, json.loads(buildah("inspect", "--type", "image", name))["Docker"]["config"])
    finally:
        buildah("rm", container)


def used(folder: Path) -> int:
    """Bytes of the files in a folder."""
    found = (path.lstat() for path in folder.rglob("*"))
    return sum(status.st_size for status in found)


def is_there(name: str) -> bool:
    """Whether our storage has an image."""
    return subprocess.run(buildah_command("inspect", name), capture_output=True, check=False).returncode == 0


def buildah_command(*words: str) -> list[str]:
    """A command of buildah over a storage of our own."""
    storage = ["--storage-driver", storage_driver(), "--root", str(WORK / "storage"), "--runroot", str(WORK / "run")]
    return ["buildah", *storage, *words]


def buildah(*words: str, quiet: bool = True) -> str:
    """Run buildah, as `run` does."""
    return run(*buildah_command(*words), quiet=quiet)


@cache
def storage_driver() -> str:
    """The driver overlay where the kernel lets us; else vfs, which copies every layer."""
    with tempfile.TemporaryDirectory(dir=WORK) as scratch:
        lower, upper, work, merged = (Path(scratch, name) for name in ("lower", "upper", "work", "merged"))
        for folder in (lower, upper, work, merged):
            folder.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        command = ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            return "vfs"
        run("umount", str(merged))
        return "overlay"


def run(*command: str, quiet: bool = True, env: Mapping[str, str] | None = None) -> str:
    """Run a command; with its output on the terminal unless quiet, and then given back."""
    pipe = subprocess.PIPE if quiet else None
    sys.stdout.flush()
    done = subprocess.run(
        command, stdout=pipe, text=True, check=False, env=os.environ | dict(env or {}), cwd=REPOSITORY
    )
    if done.returncode != 0:
        raise SystemExit(f"image-test failed: {' '.join(command[:8])} ... ended with {done.returncode}")
    return done.stdout or ""


def said(text: str) -> None:
    """Write a line of the test itself."""
    typer.echo(f"image-test: {text}")
    sys.stdout.flush()


if __name__ == "__main__":
    typer.run(main)
