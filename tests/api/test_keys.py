"""The keys file: made by commands, read by services that run, damaged and swapped under them."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.access import Access, Caller, Scope
from app.api.keys import Damaged, KeyFile, create_key, read_keys, revoke_key
from app.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from tests.api.access_client import key, look, protected
from tests.served import served

LONGEST_S = 20.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "keys.json"


def test_the_file_holds_what_is_needed_and_no_secret(path: Path) -> None:
    secret, made = create_key(path, "d3-control", [Scope.SOLVE, Scope.PREDICT, Scope.SOLVE])
    (told,) = json.loads(path.read_text())["keys"]
    assert secret not in path.read_text()
    assert (told["id"], told["sha256"]) == (secret[:8], sha256(secret.encode()).hexdigest())
    assert told["scopes"] == ["predict", "solve"]
    assert read_keys(path) == (made,)
    assert len(secret) == 64
    assert abs(datetime.fromisoformat(told["created"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_keys_are_added_and_ended_but_never_removed(path: Path) -> None:
    first, second = (create_key(path, "same name", [Scope.PREDICT])[1] for _ in range(2))
    assert revoke_key(path, first.id).revoked is not None
    assert [one.state(datetime.now(UTC)) for one in read_keys(path)] == ["revoked", "active"]
    again = revoke_key(path, first.id)
    assert again == read_keys(path)[0]
    with pytest.raises(NotFound):
        revoke_key(path, "00000000")
    with pytest.raises(NotFound):
        revoke_key(path, second.sha256[:8])


@pytest.mark.parametrize("name", ["", "a" * 65, "ä", "a\nb", " a", "-a", "a/b", '"', "a\x00"])
def test_names_are_plain(path: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        create_key(path, name, [Scope.PREDICT])
    assert not path.exists()


def test_a_key_without_a_scope_or_with_an_end_in_the_past_is_not_made(path: Path) -> None:
    with pytest.raises(InvalidInput, match="scope"):
        create_key(path, "a", [])
    with pytest.raises(InvalidInput, match="expired"):
        create_key(path, "a", [Scope.PREDICT], expires=datetime(2020, 1, 1, tzinfo=UTC))
    assert not path.exists()


def _make(path: Path, name: str) -> None:
    for _ in range(10):
        create_key(path, name, [Scope.PREDICT])


def test_many_at_once_lose_no_key_and_readers_see_whole_files(path: Path) -> None:
    _make(path, "first")
    makers = [multiprocessing.get_context("fork").Process(target=_make, args=(path, f"maker {n}")) for n in range(3)]
    for maker in makers:
        maker.start()
    seen = 0
    while any(maker.is_alive() for maker in makers):
        count = len(read_keys(path))
        assert count >= seen
        seen = count
    for maker in makers:
        maker.join()
    assert len(read_keys(path)) == 40


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Conflict, match="cannot be written"):
        create_key(tmp_path / "file" / "keys.json", "a", [Scope.PREDICT])


# --- read by a service ------------------------------------------------------------------------------------------------


def caller(access: Access, secret: str) -> str | None:
    """The caller's name; None where the key is not taken."""
    try:
        found = access.caller(f"Apikey {secret}".encode())
    except Unauthenticated:
        return None
    assert isinstance(found, Caller)
    return found.name


DAMAGED = [
    b"",
    b"{",
    b"null",
    b"\xff\xfe",
    b'{"version": 2, "keys": []}',
    b'{"version": 1, "keys": [{"id": "00000000"}]}',
    b'{"version": 1, "keys": [], "further": 1}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_leaves_the_keys_of_before(path: Path, content: bytes) -> None:
    secret, _ = create_key(path, "d3", [Scope.PREDICT])
    access = Access(keys=KeyFile(path))
    good = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(Damaged):
        read_keys(path)
    access.refresh()
    assert caller(access, secret) == "key:d3"
    assert "kept" in access.trouble
    assert str(path) not in access.trouble
    path.write_bytes(good)
    access.refresh()
    assert (access.trouble, caller(access, secret)) == ("", "key:d3")


def test_a_file_that_is_damaged_from_the_start_lets_nobody_in(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"{")
    access = Access(keys=KeyFile(path))
    assert access.trouble
    assert not access.open
    path.unlink()
    access.refresh()
    assert not access.open


def test_a_file_that_is_gone_leaves_the_keys_of_before(path: Path) -> None:
    secret, _ = create_key(path, "d3", [Scope.PREDICT])
    access = Access(keys=KeyFile(path))
    path.unlink()
    access.refresh()
    assert caller(access, secret) == "key:d3"
    assert "gone" in access.trouble
    assert not access.open


def test_two_keys_that_are_the_same_are_no_keys_file(path: Path) -> None:
    create_key(path, "d3", [Scope.PREDICT])
    content = json.loads(path.read_text())
    content["keys"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(Damaged):
        read_keys(path)


def test_a_link_is_followed_as_kubernetes_swaps_a_secret(tmp_path: Path) -> None:
    """The file is a link through `..data`, which is replaced by one that leads to a new folder."""
    secrets = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        secrets.append(create_key(tmp_path / name / "keys.json", name, [Scope.PREDICT])[0])
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "keys.json").symlink_to("..data/keys.json")
    access = Access(keys=KeyFile(tmp_path / "keys.json"))
    assert [caller(access, secret) for secret in secrets] == ["key:first", None]
    (tmp_path / "..new").symlink_to("second")
    os.replace(tmp_path / "..new", tmp_path / "..data")  # noqa: PTH105
    access.refresh()
    assert [caller(access, secret) for secret in secrets] == [None, "key:second"]
    create_key(tmp_path / "keys.json", "third", [Scope.SOLVE])
    assert (tmp_path / "keys.json").is_symlink()


@settings(max_examples=50, deadline=None)
@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_no_content_does_more_than_be_refused(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-keys.json"
    path.write_bytes(content)
    keys = KeyFile(path)
    keys.refresh()
    assert keys.grants == {}


def test_readiness_tells_of_a_damaged_file(tmp_path: Path) -> None:
    sent = key(tmp_path, "d3", Scope.PREDICT)
    with protected(tmp_path) as client:
        assert client.get("/health/ready").json()["access"] == {"trouble": ""}
        (tmp_path / "keys.json").write_text("{")
        look(client)
        ready = client.get("/health/ready")
        assert ready.status_code == 200
        assert "damaged" in ready.json()["access"]["trouble"]
        assert client.get("/models", headers=sent).status_code == 200


def test_a_service_that_runs_follows_the_file_by_itself(tmp_path: Path) -> None:
    """A real process: a key is made, used, swapped for another, and revoked, and the service is never started again."""
    path = tmp_path / "keys.json"
    with served(tmp_path / "models", keys_file=str(path)) as address, httpx2.Client() as client:

        def status(secret: str) -> int:
            sent = {"Authorization": f"Apikey {secret}"}
            return client.get(f"http://{address}/models", headers=sent).status_code

        def becomes(secret: str, expected: int) -> None:
            end = time.monotonic() + LONGEST_S
            while status(secret) != expected:
                assert time.monotonic() < end
                time.sleep(0.05)

        assert client.get(f"http://{address}/models").status_code == 200
        first, made = create_key(path, "first", [Scope.PREDICT])
        becomes("none", 401)
        becomes(first, 200)
        second, _ = create_key(tmp_path / "other.json", "second", [Scope.PREDICT])
        revoke_key(path, made.id)
        becomes(first, 401)
        os.replace(tmp_path / "other.json", path)  # noqa: PTH105
        becomes(second, 200)
        assert status(first) == 401
