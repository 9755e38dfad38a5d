"""What is sent again, when, and what is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from beamline_client import AsyncClient, Busy, Client, InvalidInput, Retry, ServiceUnreachable, Unavailable, blocking

QUICK = Retry(attempts=4, first_pause_s=0.2, longest_pause_s=30.0)
Answer = httpx.Response | Exception


def models() -> httpx.Response:
    return httpx.Response(200, json={"models": []})


class Script:
    """A network that answers as written, and what was sent and slept."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.sent: list[httpx.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def serviced(monkeypatch: pytest.MonkeyPatch) -> Callable[[Script], Client]:
    def made(script: Script) -> Client:
        monkeypatch.setattr(blocking.time, "sleep", script.slept.append)
        return Client("http://service", retry=QUICK, http=httpx.Client(transport=httpx.MockTransport(script)))

    return made


def busy(retry_after: str | None = "2") -> httpx.Response:
    headers = {"Content-Type": "application/problem+json"} | ({"Retry-After": retry_after} if retry_after else {})
    told = {"type": "/problems/too-many-requests", "title": "T", "status": 429, "detail": "D"}
    return httpx.Response(429, headers=headers, content=json.dumps(told))


Serviced = Callable[[Script], Client]


def test_a_busy_service_is_asked_again_when_it_says(serviced: Serviced) -> None:
    script = Script(busy(), busy("3"), models())
    assert serviced(script).models() == []
    assert len(script.sent) == 3
    assert 2.0 <= script.slept[0] <= 2.2
    assert 3.0 <= script.slept[1] <= 3.3


def test_it_is_not_asked_for_ever(serviced: Serviced) -> None:
    script = Script(*[busy()] * 4)
    with pytest.raises(Busy):
        serviced(script).models()
    assert len(script.sent) == 4


def test_who_asks_for_too_long_a_pause_is_believed_at_once(serviced: Serviced) -> None:
    script = Script(busy("31"))
    with pytest.raises(Busy) as raised:
        serviced(script).models()
    assert raised.value.retry_after_s == 31
    assert script.slept == []


def test_a_refusal_is_final(serviced: Serviced) -> None:
    script = Script(httpx.Response(422))
    with pytest.raises(InvalidInput):
        serviced(script).models()
    assert len(script.sent) == 1


def test_what_is_away_without_saying_for_how_long_is_not_waited_for(serviced: Serviced) -> None:
    told = {"type": "/problems/model-unavailable", "title": "T", "status": 503, "detail": "D"}
    answer = httpx.Response(503, headers={"Content-Type": "application/problem+json"}, content=json.dumps(told))
    with pytest.raises(Unavailable):
        serviced(script := Script(answer)).models()
    assert len(script.sent) == 1


def test_pauses_grow(serviced: Serviced) -> None:
    script = Script(*[httpx.ConnectError("refused")] * 4)
    with pytest.raises(ServiceUnreachable, match="refused"):
        serviced(script).models()
    assert len(script.sent) == 4
    for slept, pause in zip(script.slept, [0.2, 0.4, 0.8], strict=True):
        assert pause / 2 <= slept <= pause


ONCE: list[tuple[str, Callable[[Client], Any]]] = [
    ("a post of anybody's", lambda service: service.request("POST", "/v2/repository/models/a/load", json={})),
]
TWICE: list[tuple[str, Callable[[Client], Any]]] = [
    ("reading", lambda service: service.models()),
    ("a post with a key", lambda service: service.request("POST", "/x", headers={"Idempotency-Key": "1"})),
    ("a search", lambda service: service.solve(d_ang=[1.0], picture="png")),
    ("a prediction", lambda service: service.waveform([1.0], picture="png")),
]


@pytest.mark.parametrize("ask", [ask for _, ask in ONCE], ids=[name for name, _ in ONCE])
@pytest.mark.parametrize("lost", [httpx.ReadError("reset"), httpx.ReadTimeout("slow")])
def test_what_may_have_been_done_is_not_done_again(
    serviced: Serviced, ask: Callable[[Client], Any], lost: Exception
) -> None:
    with pytest.raises(ServiceUnreachable):
        ask(serviced(script := Script(lost)))
    assert len(script.sent) == 1


@pytest.mark.parametrize("ask", [ask for _, ask in TWICE], ids=[name for name, _ in TWICE])
def test_what_does_no_harm_is(serviced: Serviced, ask: Callable[[Client], Any]) -> None:
    ask(serviced(script := Script(httpx.ReadError("reset"), models())))
    first, second = script.sent
    assert first.content == second.content
    assert first.headers.get("idempotency-key") == second.headers.get("idempotency-key")


def test_a_connection_that_was_refused_was_never_used(serviced: Serviced) -> None:
    script = Script(httpx.ConnectError("refused"), httpx.Response(200, json={}))
    serviced(script).request("POST", "/x", json={})
    assert len(script.sent) == 2


def test_two_searches_have_two_keys(serviced: Serviced) -> None:
    service = serviced(script := Script(models(), models()))
    for _ in range(2):
        service.solve(d_ang=[1.0], picture="png")
    assert len({request.headers["idempotency-key"] for request in script.sent}) == 2


def test_health_is_told_as_it_is(serviced: Serviced) -> None:
    with pytest.raises(Unavailable):
        serviced(script := Script(httpx.Response(503, headers={"Retry-After": "1"}))).health()
    assert len(script.sent) == 1


def test_the_asynchronous_client_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(busy(), httpx.ConnectError("refused"), models())

    async def sleep(seconds: float) -> None:
        script.slept.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)

    async def ask() -> None:
        transport = httpx.MockTransport(script)
        async with AsyncClient("http://service", retry=QUICK, http=httpx.AsyncClient(transport=transport)) as service:
            assert await service.models() == []

    asyncio.run(ask())
    assert len(script.sent) == 3
    assert 2.0 <= script.slept[0] <= 2.2
    assert 0.2 <= script.slept[1] <= 0.4
