"""Bearer tokens of a real identity provider, which is a process of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api import tokens
from app.api.access import Caller, Scope
from app.api.tokens import Provider, ProviderTokens, scopes_from
from app.errors import AccessUnavailable, Unauthenticated
from tests.api.access_client import LATER, LINES, access_of, key, look, protected
from tests.api.test_problems import assert_problem
from tests.oidc_issuer import provider

AUDIENCE = "beamline"
LONGEST_S = 30.0
HTTP = httpx2.Client(timeout=LONGEST_S)


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with provider() as address:
        yield address


def token(issuer: str, **asked: Any) -> str:
    return HTTP.post(f"{issuer}/token", json=asked).json()["token"]


def bearer(issuer: str, scope: str | None = "predict", **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(issuer, claims={'scope': scope, **claims})}"}


@pytest.fixture(scope="module")
def client(issuer: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("oidc")
    with protected(folder, oidc_issuer=issuer, oidc_audience=AUDIENCE) as opened:
        yield opened


def statuses(client: TestClient, headers: dict[str, str]) -> list[int]:
    unload = client.post("/v2/repository/models/decay/unload", headers=headers)
    return [
        client.get("/models", headers=headers).status_code,
        client.post("/indexing/solve", json=LINES, headers=headers | LATER).status_code,
        403 if unload.status_code == 403 else 200,
    ]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("openid predict", [200, 403, 403]),
        ("solve", [200, 202, 403]),
        ("admin", [200, 202, 200]),
        ("openid", [403, 403, 403]),
        (None, [403, 403, 403]),
    ],
)
def test_a_token_opens_what_its_scope_says(client: TestClient, issuer: str, scope: str, expected: list[int]) -> None:
    assert statuses(client, bearer(issuer, scope)) == expected


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_keys_of_both_types_sign(client: TestClient, issuer: str, kind: str) -> None:
    sent = {"Authorization": f"Bearer {token(issuer, type=kind, claims={'scope': 'predict'})}"}
    assert [client.get("/models", headers=sent).status_code for _ in range(2)] == [200, 200]


def _unsigned(issuer: str) -> str:
    claims = {"iss": issuer, "aud": AUDIENCE, "sub": "ada", "exp": int(time.time()) + 600, "scope": "admin"}
    return f"{_encoded(json.dumps({'alg': 'none'}).encode())}.{_encoded(json.dumps(claims).encode())}."


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _signed_with_the_public_key(issuer: str) -> str:
    """HMAC with what everybody knows: taken where the algorithm is believed that a token names itself."""
    published = HTTP.get(f"{issuer}/keys").json()["keys"]
    given = next(one for one in published if one["kty"] == "RSA")
    claims = {"iss": issuer, "aud": AUDIENCE, "sub": "ada", "exp": int(time.time()) + 600, "scope": "admin"}
    return jwt.encode(claims, given["n"], "HS256", headers={"kid": given["kid"]})


def _of_another_key(issuer: str) -> str:
    claims = {"iss": issuer, "aud": AUDIENCE, "sub": "ada", "exp": int(time.time()) + 600, "scope": "admin"}
    kid = next(one["kid"] for one in HTTP.get(f"{issuer}/keys").json()["keys"])
    return jwt.encode(claims, rsa.generate_private_key(65537, 2048), "RS256", headers={"kid": kid})


FORGED = {
    "unsigned": _unsigned,
    "signed with the public key": _signed_with_the_public_key,
    "of another key": _of_another_key,
    "expired": lambda issuer: token(issuer, claims={"exp": int(time.time()) - 3600}),
    "not yet valid": lambda issuer: token(issuer, claims={"nbf": int(time.time()) + 3600}),
    "for another service": lambda issuer: token(issuer, claims={"aud": "elsewhere"}),
    "of another provider": lambda issuer: token(issuer, claims={"iss": "https://elsewhere.example"}),
    "of nobody": lambda issuer: token(issuer, claims={"sub": None}),
    "without an end": lambda issuer: token(issuer, claims={"exp": None}),
    "without an audience": lambda issuer: token(issuer, claims={"aud": None}),
    "of a key that is for no signature": lambda issuer: token(issuer, headers={"kid": "enc"}),
    "of an unknown key": lambda issuer: token(issuer, headers={"kid": "unknown"}),
    "cut": lambda issuer: token(issuer)[:-5],
    "changed": lambda issuer: token(issuer).replace(".", ".e", 1),
    "too long": lambda issuer: token(issuer, claims={"groups": ["a" * 100] * 200}),
    "three dots": lambda _issuer: "a.b.c",
    "with a deep header": lambda _issuer: _encoded(b"[" * 11_000) + ".e30.e30",
    "with an odd header": lambda _issuer: _encoded(b'{"alg":["RS256"],"kid":{}}') + ".e30.e30",
}


@given(st.binary(max_size=100), st.binary(max_size=100), st.binary(max_size=100))
@settings(max_examples=100, deadline=None)
def test_no_token_does_more_than_be_refused(client: TestClient, head: bytes, claims: bytes, signature: bytes) -> None:
    sent = ".".join(map(_encoded, (head, claims, signature))).encode()
    with pytest.raises(Unauthenticated):
        asked(access_of(client)._tokens, sent.decode())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FORGED)
def test_any_other_token_is_refused(client: TestClient, issuer: str, name: str) -> None:
    answer = client.get("/models", headers={"Authorization": f"Bearer {FORGED[name](issuer)}"})
    assert_problem(answer, "unauthenticated")


def test_keys_and_tokens_are_not_mixed_up(client: TestClient, issuer: str, tmp_path_factory: Any) -> None:
    given = token(issuer, claims={"scope": "predict"})
    answer = client.get("/models", headers={"Authorization": f"Apikey {given}"})
    assert_problem(answer, "unauthenticated")
    assert "Bearer" in answer.json()["detail"]
    folder = access_of(client)._keys._path.parent  # type: ignore[union-attr]
    sent = key(folder, "beside", Scope.PREDICT)
    look(client)
    assert client.get("/models", headers=sent).status_code == 200
    assert client.get("/models").status_code == 401


def test_jobs_belong_to_the_subject(client: TestClient, issuer: str) -> None:
    ada, ada_again = bearer(issuer, "solve"), bearer(issuer, "solve", jti="2")
    bob = bearer(issuer, "solve", sub='bob"\n{}' * 50)
    address = client.post("/indexing/solve", json=LINES, headers=ada | LATER).headers["location"]
    assert client.get(address, headers=ada_again).json()["owner"] == "oidc:ada"
    assert client.get(address, headers=bob).status_code == 404
    other = client.post("/indexing/solve", json=LINES, headers=bob | LATER).json()
    assert other["owner"].startswith("oidc-sha256:")


def test_the_claim_and_what_it_allows_can_be_chosen() -> None:
    groups = Provider("i", "a", "realm_access.roles", scopes_from("staff=predict, staff=solve,ops=admin"))
    assert groups.caller({"sub": "x", "realm_access": {"roles": ["staff", "other", 5]}}).scopes == {
        Scope.PREDICT,
        Scope.SOLVE,
    }
    assert groups.caller({"sub": "x", "realm_access": {"roles": ["ops"]}}).scopes == set(Scope)
    dotted = Provider("i", "a", "https://example.org/roles", scopes_from("a=b=predict"))
    assert dotted.caller({"sub": "x", "https://example.org/roles": "a=b"}).scopes == {Scope.PREDICT}
    for odd in (None, 5, {}, {"roles": None}, ["predict"], "staff"):
        assert groups.caller({"sub": "x", "realm_access": odd}).scopes == set()


# --- the provider changes its keys, or is away ------------------------------------------------------------------------


def asked(held: ProviderTokens, sent: str) -> Caller:
    async def ask() -> Caller:
        caller = held.caller(sent.encode())
        return caller if isinstance(caller, Caller) else await caller

    return asyncio.run(ask())


def tokens_of(issuer: str) -> ProviderTokens:
    from app.api.token_fetch import fetched

    return ProviderTokens(Provider(issuer, AUDIENCE), fetched)


def test_a_new_key_is_known_when_its_first_token_comes(issuer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "ASKED_FOR_S", 0.0)
    held = tokens_of(issuer)
    before = token(issuer)
    assert asked(held, before).name == "oidc:ada"
    HTTP.post(f"{issuer}/rotate")
    assert asked(held, token(issuer)).name == "oidc:ada"
    # The key before is gone, and with it what it signed.
    with pytest.raises(Unauthenticated):
        asked(held, before)


def test_unknown_keys_do_not_make_us_ask_again_and_again(issuer: str) -> None:
    held = tokens_of(issuer)
    asked_for: list[str] = []
    fetch = held._fetch
    held._fetch = lambda address: (asked_for.append(address), fetch(address))[1]
    asked(held, token(issuer))
    for number in range(20):
        with pytest.raises(Unauthenticated):
            asked(held, token(issuer, headers={"kid": str(number)}))
    assert len(asked_for) == 2


def test_while_the_provider_is_away_its_keys_of_before_are_used(tmp_path: Path) -> None:
    with provider() as issuer:
        good, later = token(issuer), token(issuer, claims={"jti": "later"})
        held = tokens_of(issuer)
        assert asked(held, good).name == "oidc:ada"
    held.refresh()
    assert "kept" in held.trouble
    assert asked(held, good).name == "oidc:ada"
    assert asked(held, later).name == "oidc:ada"
    with protected(tmp_path, oidc_issuer=issuer, oidc_audience=AUDIENCE) as client:
        answer = client.get("/models", headers={"Authorization": f"Bearer {good}"})
        assert_problem(answer, "access-unavailable")
        assert answer.headers["retry-after"]
        ready = client.get("/health/ready")
        assert ready.status_code == 200
        assert "provider" in ready.json()["access"]["trouble"]
        sent = key(tmp_path, "by hand", Scope.PREDICT)
        look(client)
        assert client.get("/models", headers=sent).status_code == 200
        # It comes back, with other keys.
        with provider(urlsplit(issuer).port or 0):
            access_of(client)._tokens.refresh()  # type: ignore[union-attr]
            assert client.get("/models", headers=bearer(issuer)).status_code == 200
            assert client.get("/health/ready").json()["access"]["trouble"] == ""


def test_a_slow_provider_holds_up_nobody_else() -> None:
    """The check runs in the event loop: what waits for the provider must leave it."""

    released = threading.Event()

    def slow(_address: str) -> Any:
        assert released.wait(LONGEST_S)
        raise OSError

    held = ProviderTokens(Provider("https://idp.example", AUDIENCE), slow)

    async def together() -> None:
        waiting = [asyncio.ensure_future(_outcome(held)) for _ in range(50)]
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert not any(one.done() for one in waiting)
        released.set()
        assert set(await asyncio.gather(*waiting)) == {AccessUnavailable}

    asyncio.run(together())


async def _outcome(held: ProviderTokens) -> type[Exception] | None:
    try:
        caller = held.caller(b"a.b.c")
        if not isinstance(caller, Caller):
            await caller
    except (AccessUnavailable, Unauthenticated) as error:
        return type(error)
    return None


@pytest.mark.parametrize(
    "configuration",
    [
        {"issuer": "https://elsewhere.example", "jwks_uri": "https://idp.example/keys"},
        {"issuer": "https://idp.example", "jwks_uri": "http://idp.example/keys"},
        {"issuer": "https://idp.example", "jwks_uri": "file:///etc/passwd"},
        {"issuer": "https://idp.example"},
        [],
        None,
    ],
)
def test_a_configuration_that_is_not_the_providers_is_not_used(configuration: Any) -> None:
    held = ProviderTokens(Provider("https://idp.example", AUDIENCE), lambda _: configuration)
    held.refresh()
    assert held.trouble
    with pytest.raises(AccessUnavailable):
        asked(held, "a.b.c")


def _short_key() -> dict[str, Any]:
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505
    return jwt.algorithms.RSAAlgorithm.to_jwk(short.public_key(), as_dict=True) | {"kid": "1"}


@pytest.mark.parametrize(
    "published", [[_short_key()], [], [{"kty": "oct", "k": "c2VjcmV0", "kid": "1"}], [{"kty": "RSA"}], [5], {}]
)
def test_keys_that_are_none_are_not_used(published: Any) -> None:
    told = {"https://idp.example/keys": {"keys": published}}
    start = {"issuer": "https://idp.example", "jwks_uri": "https://idp.example/keys"}
    held = ProviderTokens(Provider("https://idp.example", AUDIENCE), lambda address: told.get(address, start))
    held.refresh()
    assert held.trouble
