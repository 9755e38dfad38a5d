"""The keys file: made and changed by the command line, read by every service that has it.

It holds no secret: of each key its SHA-256, and its first eight characters to know it by. It is replaced in one step,
so that a reader sees the old keys or the new ones.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.api.access import Grant, Scope, caller_with
from app.errors import Conflict, InvalidInput, NotFound
from app.model_registry.durable import exclusive, replace_durably

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}$"
SECRET_BYTES: Final = 32
SHOWN: Final = 8
"""Characters of a secret that the file and the lists show; 224 bits of it are left."""
MOST_BYTES: Final = 4 * 1024 * 1024
LAYOUT: Final = 1

_log = structlog.stdlib.get_logger("app.access")


class Key(BaseModel):
    """One key, without its secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{SHOWN}}}$")]
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    def state(self, now: datetime) -> Literal["active", "expired", "revoked"]:
        """How the key stands."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = LAYOUT
    keys: tuple[Key, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> _File:
        for values in ([key.id for key in self.keys], [key.sha256 for key in self.keys]):
            if len(set(values)) != len(values):
                raise ValueError("two keys are the same")
        return self


class Damaged(InvalidInput):
    """A keys file that cannot be read or makes no sense."""


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file, in the order in which they were made; none where there is no file.

    Raises:
        Damaged: it cannot be read, or is no keys file.
    """
    return _parsed(_content(path))


def create_key(path: Path, name: str, scopes: Iterable[Scope], *, expires: datetime | None = None) -> tuple[str, Key]:
    """Make a key, and the file where there is none.

    Args:
        name: who the key is for: the owner of its jobs. Keys of one name are one caller.
        expires: when it ends, with its time zone.

    Returns:
        The secret, which is kept nowhere, and the key.

    Raises:
        InvalidInput: a name of other characters, no scope, or an end in the past.
        Damaged, Conflict: the file cannot be read, or not be written.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    chosen = tuple(scope for scope in Scope if scope in set(scopes))
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise InvalidInput("a name has 1 to 64 letters, digits, spaces and ._@- and begins with a letter or a digit")
    if not chosen:
        raise InvalidInput("a key needs a scope: " + ", ".join(scope.value for scope in Scope))
    if expires is not None and expires <= now:
        raise InvalidInput(f"the key would have expired already, at {expires:%Y-%m-%dT%H:%M:%SZ}")
    with _changed(path) as keys:
        taken = {key.id for key in keys}
        secret = next(made for made in iter(_made, None) if made[:SHOWN] not in taken)
        digest = sha256(secret.encode()).hexdigest()
        key = Key(id=secret[:SHOWN], name=name, scopes=chosen, created=now, expires=expires, sha256=digest)
        keys.append(key)
    return secret, key


def revoke_key(path: Path, key_id: str) -> Key:
    """End a key for good; one that was revoked before stays as it is.

    Args:
        key_id: the first eight characters of its secret.

    Raises:
        NotFound: there is no such key.
        Damaged, Conflict: the file cannot be read, or not be written.
    """
    with _changed(path) as keys:
        place = next((place for place, key in enumerate(keys) if key.id == key_id), None)
        if place is None:
            raise NotFound("there is no key of that id; `python -m app keys list` shows those that there are")
        if keys[place].revoked is None:
            keys[place] = keys[place].model_copy(update={"revoked": datetime.now(UTC).replace(microsecond=0)})
        return keys[place]


class KeyFile:
    """The keys of a file for a service that runs: those that were read last, while the present ones cannot be.

    Args:
        path: of the file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: bytes | None = None
        self._grants: Mapping[bytes, Grant] = {}
        self._trouble = ""

    @property
    def grants(self) -> Mapping[bytes, Grant]:
        return self._grants

    @property
    def trouble(self) -> str:
        return self._trouble

    def refresh(self) -> bool:
        """Read the file; whether there are other keys, or there is other trouble, than before."""
        try:
            content = _content(self._path)
            if content is None and self._grants:
                raise Damaged("the keys file is gone")
            if content == self._content and not self._trouble:
                return False
            keys = _parsed(content)
        except Damaged as error:
            return self._keep(error.message)
        self._content, self._trouble = content, ""
        self._grants = _grants(keys)
        if keys:
            now = datetime.now(UTC)
            _log.info("keys read", keys=len(keys), active=sum(key.state(now) == "active" for key in keys))
        return True

    def _keep(self, found: str) -> bool:
        kept = "the keys that were read before are kept" if self._grants else "there are no keys"
        trouble = f"{found[:1].upper()}{found[1:]}; {kept}."
        if trouble == self._trouble:
            return False
        self._trouble = trouble
        _log.error("the keys file cannot be used", reason=found, kept=len(self._grants))
        return True


def _grants(keys: Sequence[Key]) -> dict[bytes, Grant]:
    return {bytes.fromhex(key.sha256): _grant(key) for key in keys}


def _grant(key: Key) -> Grant:
    caller = caller_with(f"key:{key.name}", key.scopes)
    revoked = key.revoked is not None
    return Grant(caller, revoked=revoked) if key.expires is None else Grant(caller, key.expires.timestamp(), revoked)


def _made() -> str:
    return secrets.token_hex(SECRET_BYTES)


@contextmanager
def _changed(path: Path) -> Iterator[list[Key]]:
    """The keys as a list to change; written when the block ends without an error, while nobody else may change them."""
    real = path.resolve()  # a link stays one
    with ExitStack() as held:
        try:
            real.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            held.enter_context(exclusive(real.parent / f".{real.name}.lock"))
        except (Conflict, OSError):
            raise Conflict(_NOT_WRITTEN) from None
        keys = list(read_keys(real))
        before = list(keys)
        yield keys
        if keys == before:
            return
        try:
            replace_durably(real, _File(keys=tuple(keys)).model_dump_json(indent=2).encode() + b"\n")
        except OSError:
            raise Conflict(_NOT_WRITTEN) from None


_NOT_WRITTEN: Final = "The keys file cannot be written. Check that its folder is writable."


def _content(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(f"the keys file cannot be read ({type(error).__name__})") from error
    if len(content) > MOST_BYTES:
        raise Damaged(f"the keys file is larger than {MOST_BYTES} bytes")
    return content


def _parsed(content: bytes | None) -> tuple[Key, ...]:
    if content is None:
        return ()
    try:
        return _File.model_validate_json(content).keys
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "its text"
        raise Damaged(f"the keys file is damaged at {where}: {first['msg'][:100]}") from None
