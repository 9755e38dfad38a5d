"""File operations that survive a crash at any moment, and reads that follow no link."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.errors import Conflict, ModelRefused

TEMPORARY_PREFIX: Final = ".tmp-"
"""What a crash leaves behind starts with this; no reader looks at it."""


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file and wait until the disk has it."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in ``folder``."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(path: Path, content: bytes) -> None:
    """Replace a file in one step: a reader sees the old content or the new one."""
    temporary = path.parent / f"{TEMPORARY_PREFIX}{path.name}"
    temporary.unlink(missing_ok=True)
    write_durably(temporary, content)
    os.replace(temporary, path)  # noqa: PTH105  one name for rename in this module, so that tests can fail it
    sync_folder(path.parent)


def read_regular(path: Path, *, max_bytes: int) -> bytes:
    """The content of a regular file of at most ``max_bytes``.

    Raises:
        ModelRefused: it is missing, a link, no regular file, or larger. The message holds its name, not its path.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise ModelRefused(f"{path.name} cannot be read, or is a link ({type(error).__name__}).") from error
    with os.fdopen(descriptor, "rb") as file:
        if not path.is_file():
            raise ModelRefused(f"{path.name} is not a regular file.")
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ModelRefused(f"{path.name} is larger than the {max_bytes} bytes that were expected.")
    return content


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold the lock file; a process that dies lets go of it.

    Raises:
        Conflict: the folder cannot be written.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Conflict("The model store cannot be written. Check that its folder is writable.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
