"""The model store on disk: `<name>/<version>/` folders that never change, and the aliases that name them."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from app.errors import Conflict, ModelRefused, NotFound
from app.model_registry import aliases as alias_table
from app.model_registry.aliases import ALIAS_PATTERN, LATEST, STABLE
from app.model_registry.durable import (
    TEMPORARY_PREFIX,
    exclusive,
    read_regular,
    replace_durably,
    sync_folder,
    write_durably,
)
from app.model_registry.manifest import (
    CARD_FILE,
    FILE_PATTERN,
    MANIFEST_FILE,
    NAME_PATTERN,
    FileEntry,
    Manifest,
    ModelDraft,
    manifest_from_draft,
)

MAX_MANIFEST_BYTES: Final = 2**20
MAX_CARD_BYTES: Final = 2**20
MAX_FILE_BYTES: Final = 2**30
VERSION_PATTERN: Final = r"^[1-9][0-9]{0,8}$"
REF_PATTERN: Final = f"^({VERSION_PATTERN.strip('^$')}|{ALIAS_PATTERN.strip('^$')})$"
"""What `ModelStore.version_number` takes: a version number or an alias."""
LOCK_FILE: Final = ".lock"
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UNLOADED_FILE: Final = "unloaded"
"""A model whose folder holds a file of this name answers nothing, in every process over the store."""


@dataclass(frozen=True)
class StoredModel:
    """One model as the store's folder names show it; nothing in it has been checked.

    Attributes:
        aliases: alias -> version number.
        versions: numbers of the version folders, ascending.
        problem: why the aliases cannot be read, if so.
        unloaded: an operator took it out of service.
    """

    name: str
    aliases: dict[str, int]
    versions: tuple[int, ...]
    problem: str | None = None
    unloaded: bool = False


@dataclass(frozen=True)
class StoredVersion:
    """One version whose files were read once and agree with the manifest.

    Attributes:
        contents: file name -> the bytes whose digest was checked. Loading uses these and never reads again.
    """

    manifest: Manifest
    contents: Mapping[str, bytes]


class ModelStore:
    """The folder `model_store/`. Any number of readers; writers take turns through a lock file."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # Reading

    def names(self) -> tuple[str, ...]:
        """Names of the models, sorted; anything else in the folder is passed over."""
        if not self.root.is_dir():
            return ()
        return tuple(
            sorted(p.name for p in self.root.iterdir() if re.fullmatch(NAME_PATTERN, p.name) and _real_folder(p))
        )

    def list(self) -> tuple[StoredModel, ...]:
        """Every model with its aliases and versions."""
        return tuple(self.model(name) for name in self.names())

    def model(self, name: str) -> StoredModel:
        """One model's aliases and versions.

        Raises:
            NotFound: there is no such model.
        """
        folder = self._folder(name)
        found = {path.name for path in folder.iterdir()}
        versions = tuple(sorted(int(entry) for entry in found if re.fullmatch(VERSION_PATTERN, entry)))
        unloaded = UNLOADED_FILE in found
        try:
            return StoredModel(name, alias_table.read_aliases(folder), versions, unloaded=unloaded)
        except ModelRefused as error:
            return StoredModel(name, {}, versions, error.message, unloaded)

    def version_number(self, name: str, ref: str | int | None = None) -> int:
        """The version that a number or an alias names; ``stable`` when left out.

        Raises:
            NotFound: no such model, alias or version; the details list those that exist.
        """
        model = self.model(name)
        number = number_from_ref(ref, model.aliases)
        if number not in model.versions:
            known = {"versions": list(model.versions), "aliases": model.aliases}
            raise NotFound(
                f"The model {name} has no version of that name. See the list for those it has.", details=known
            )
        return number

    def manifest(self, name: str, version: int) -> Manifest:
        """The manifest of a version, checked against the folder's name but not against the files.

        Raises:
            NotFound: there is no such version.
            ModelRefused: the manifest is damaged or belongs elsewhere.
        """
        folder = self._version_folder(name, version)
        try:
            manifest = Manifest.model_validate_json(read_regular(folder / MANIFEST_FILE, max_bytes=MAX_MANIFEST_BYTES))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            # Of the place only the first key: further ones are the file's own text.
            where = str(first["loc"][0])[:64] if first["loc"] else "its beginning"
            raise ModelRefused(f"{MANIFEST_FILE} is not valid at '{where}': {first['msg'][:200]}.") from error
        if (manifest.name, manifest.version) != (name, version):
            found = f"{manifest.name} version {manifest.version}"
            raise ModelRefused(f"The manifest is of {found}, the folder of {name} version {version}.")
        return manifest

    def card(self, name: str, version: int) -> str:
        """The text of a version's model card, empty where it has none."""
        folder = self._version_folder(name, version)
        if CARD_FILE not in self.manifest(name, version).files:
            return ""
        return read_regular(folder / CARD_FILE, max_bytes=MAX_CARD_BYTES).decode(errors="replace")

    def read(self, name: str, version: int) -> StoredVersion:
        """Every file of a version, each held against the manifest.

        Raises:
            NotFound: there is no such version.
            ModelRefused: a file is missing, changed, a link, or not in the manifest; the message names it.
        """
        manifest = self.manifest(name, version)
        folder = self._version_folder(name, version)
        found = {entry.name for entry in os.scandir(folder)} - {MANIFEST_FILE}
        if extra := sorted(found - manifest.files.keys()):
            raise ModelRefused(f"The folder holds {extra[0][:128]!r}, which the manifest does not list.")
        contents = {file: _checked(folder / file, entry) for file, entry in manifest.files.items()}
        return StoredVersion(manifest, contents)

    def fingerprint(self, name: str, version: int) -> tuple[tuple[str, int, int, int], ...]:
        """(name, inode, size, mtime) of each file: changes when any of them is touched, and costs no reading."""
        folder = self.root / name / str(version)
        try:
            stats = ((entry.name, entry.stat(follow_symlinks=False)) for entry in os.scandir(folder))
            return tuple(sorted((file, s.st_ino, s.st_size, s.st_mtime_ns) for file, s in stats))
        except OSError:
            return ()

    # Writing

    def publish(self, draft: ModelDraft, files: Mapping[str, bytes], *, promote: tuple[str, ...] = ()) -> Manifest:
        """Write the next version of a model. Until the last step no reader sees any of it.

        ``latest`` names the new version; so does each alias in ``promote``, and ``stable`` if there was none.

        Args:
            draft: the manifest without version, date and digests.
            files: flat file name -> content; ``CARD.md`` among them.

        Raises:
            ModelRefused: a file name is not admitted, or the draft names a file that is not given.
            Conflict: the store cannot be written.
        """
        _check_names(files)
        entries = {file: FileEntry(sha256=_sha256(data), bytes=len(data)) for file, data in files.items()}
        try:
            # Built once with a placeholder, so that a draft at fault fails before anything is written.
            manifest = manifest_from_draft(draft, version=1, created=datetime.now(UTC), files=entries)
        except ValidationError as error:
            raise ModelRefused(f"The draft of {draft.name} is not valid: {error.errors()[0]['msg'][:300]}.") from error
        with exclusive(self.root / LOCK_FILE), _writing():
            folder = self.root / draft.name
            self._prepare(folder)
            manifest = manifest.model_copy(update={"version": _next_version(folder)})
            with _all_or_nothing(folder, manifest.version):
                _write_version(folder, manifest, files)
                current = alias_table.read_aliases(folder)
                first = () if STABLE in current else (STABLE,)
                alias_table.move_aliases(folder, dict.fromkeys((LATEST, *first, *promote), manifest.version))
        return manifest

    def promote(self, name: str, version: int, *, alias: str = STABLE) -> None:
        """Let an alias name a version, after its files were checked.

        Raises:
            NotFound: no such model or version.
            ModelRefused: the version fails its check, or the alias is not a plain word.
        """
        if not re.fullmatch(ALIAS_PATTERN, alias):
            raise ModelRefused("An alias is up to 32 lower-case letters, digits and '-', and starts with a letter.")
        self.read(name, version)
        with exclusive(self.root / LOCK_FILE), _writing():
            alias_table.move_aliases(self._folder(name), {alias: version})

    def rollback(self, name: str, *, alias: str = STABLE) -> int:
        """Let an alias name the version before, and return its number.

        Raises:
            NotFound: no such model.
            Conflict: there is no version before.
        """
        folder = self._folder(name)
        with exclusive(self.root / LOCK_FILE), _writing():
            return alias_table.step_back(folder, alias)

    def unload(self, name: str) -> None:
        """Take a model out of service until `load`, for every process over this store. Twice is as once.

        Raises:
            NotFound: no such model.
            Conflict: the store cannot be written.
        """
        folder = self._folder(name)
        if not self.model(name).unloaded:
            with exclusive(self.root / LOCK_FILE), _writing():
                replace_durably(folder / UNLOADED_FILE, f"{datetime.now(UTC).isoformat()}\n".encode())

    def load(self, name: str) -> None:
        """Bring back what `unload` took out of service; a model in service stays as it is.

        Raises:
            NotFound: no such model.
            Conflict: the store cannot be written.
        """
        folder = self._folder(name)
        if self.model(name).unloaded:
            with exclusive(self.root / LOCK_FILE), _writing():
                (folder / UNLOADED_FILE).unlink(missing_ok=True)
                sync_folder(folder)

    # Parts

    def _folder(self, name: str) -> Path:
        if not re.fullmatch(NAME_PATTERN, name) or not _real_folder(self.root / name):
            known: dict[str, object] = {"available": list(self.names())}
            raise NotFound("There is no model of that name. See the list for those there are.", details=known)
        return self.root / name

    def _version_folder(self, name: str, version: int) -> Path:
        folder = self._folder(name) / str(version)
        if folder.is_symlink():
            raise ModelRefused(f"The folder of {name} version {version} is a link.")
        if not folder.is_dir():
            raise NotFound(f"The model {name} has no version {version}.")
        return folder

    def _prepare(self, folder: Path) -> None:
        """Make the model's folder and remove what a crash left; the lock says that nobody is writing there."""
        if not folder.is_dir():
            folder.mkdir()
            sync_folder(folder.parent)
        _clear(folder)


def number_from_ref(ref: str | int | None, aliases: Mapping[str, int]) -> int:
    """The version number behind an alias or a number in text; 0 where it names nothing."""
    if isinstance(ref, int):
        return ref
    if ref is not None and re.fullmatch(VERSION_PATTERN, ref):
        return int(ref)
    return aliases.get(ref or STABLE, 0)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        mend = "Make room there, and try again." if error.errno in NO_ROOM else "Check that its folder is writable."
        raise Conflict(f"The model store cannot be written ({reason}). {mend}") from error


@contextmanager
def _all_or_nothing(folder: Path, version: int) -> Iterator[None]:
    """Take back a version whose publication fails half-way, so that it is not seen and takes no room."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if alias_table.read_aliases(folder).get(LATEST) != version:
                _hide(folder, version)
                _clear(folder)
        raise


def _hide(folder: Path, version: int) -> None:
    with suppress(FileNotFoundError):
        os.rename(folder / str(version), folder / f"{TEMPORARY_PREFIX}{version}")  # noqa: PTH104


def _clear(folder: Path) -> None:
    """Remove what is left of a publication that was not completed."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        if _real_folder(leftover):
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def _write_version(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    temporary = folder / f"{TEMPORARY_PREFIX}{manifest.version}"
    temporary.mkdir()
    for file, content in files.items():
        write_durably(temporary / file, content)
    write_durably(temporary / MANIFEST_FILE, manifest.to_json().encode())
    sync_folder(temporary)
    os.rename(temporary, folder / str(manifest.version))  # noqa: PTH104  see durable.replace_durably
    sync_folder(folder)


def _next_version(folder: Path) -> int:
    taken = [int(path.name) for path in folder.iterdir() if re.fullmatch(VERSION_PATTERN, path.name)]
    return max((0, *taken, *alias_table.read_aliases(folder).values())) + 1


def _check_names(files: Mapping[str, bytes]) -> None:
    for file in files:
        if not re.fullmatch(FILE_PATTERN, file) or file == MANIFEST_FILE:
            raise ModelRefused(f"The file name {file[:128]!r} is not admitted: plain names without a folder are.")


def _checked(path: Path, entry: FileEntry) -> bytes:
    if entry.bytes > MAX_FILE_BYTES:
        raise ModelRefused(f"{path.name} declares {entry.bytes} bytes; at most {MAX_FILE_BYTES} are read.")
    content = read_regular(path, max_bytes=entry.bytes)
    if len(content) != entry.bytes or _sha256(content) != entry.sha256:
        raise ModelRefused(f"{path.name} differs from the digest in the manifest. Publish it again as a new version.")
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _real_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False
