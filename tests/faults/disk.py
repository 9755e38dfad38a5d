"""A disk of its own for a test: small, and filled on purpose."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

CHUNK = b"\0" * 4096
READY = "ready"
MOUNT = f'mount -t tmpfs -o size="$1" tmpfs "$2" && echo {READY} && exec cat'


class SmallDisk:
    """A file system in memory that only processes started with `prefix` see; it is gone when they and we are.

    Args:
        folder: where they see it.
        size: as the option of ``tmpfs`` has it.
    """

    def __init__(self, folder: Path, size: str) -> None:
        if shutil.which("unshare") is None or shutil.which("nsenter") is None:
            pytest.skip("no file system of its own for a test on this machine: it has no unshare")
        folder.mkdir()
        self.folder = folder
        self._holder = subprocess.Popen(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh", size, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != READY:
            _, why = self._holder.communicate()
            pytest.skip(f"no file system of its own for a test on this machine: {why.strip()}")
        self.outside = Path(f"/proc/{self._holder.pid}/root{folder}")
        """How the test itself gets there."""

    @property
    def prefix(self) -> list[str]:
        return ["nsenter", f"--target={self._holder.pid}", "--user", "--mount", "--preserve-credentials", "--wd=."]

    def fill(self, *, leave: int = 0) -> None:
        """Take all the room but ``leave`` bytes."""
        with (self.outside / "filler").open("ab", buffering=0) as filler:
            with suppress(OSError):
                while True:
                    filler.write(CHUNK)
            filler.truncate(filler.tell() - leave)

    def free(self) -> None:
        (self.outside / "filler").unlink()

    def close(self) -> None:
        self._holder.communicate()
