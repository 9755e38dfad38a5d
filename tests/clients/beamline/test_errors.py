"""Every kind of problem has a class, and an exception says what the service said."""

from __future__ import annotations

import json
import pickle

import httpx
import pytest

from app.api.problems import KINDS, problem
from beamline_client import (
    Busy,
    Client,
    InvalidInput,
    ProblemError,
    RequestRefused,
    Retry,
    ServiceFailed,
    ServiceUnreachable,
    Unavailable,
    UnexpectedAnswer,
)
from beamline_client.errors import FAMILIES, Problem, problem_error

ONCE = Retry(attempts=1)


def answering(status: int, content: bytes, headers: dict[str, str]) -> Client:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=content, headers=headers))
    return Client("http://service", retry=ONCE, http=httpx.Client(transport=transport))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_the_same_title_and_a_class_of_its_own(kind: str) -> None:
    sent = problem(kind, "found a, expected b", members={"available": ["b"]})
    headers = {name: value for name, value in sent.headers.items() if name != "content-length"}
    with pytest.raises(ProblemError) as raised:
        answering(sent.status_code, bytes(sent.body), headers).models()
    error = raised.value
    assert (error.kind, error.title, error.status) == (kind, KINDS[kind].title, KINDS[kind].status)
    assert error.detail == "found a, expected b"
    assert error.members == {"available": ["b"]}
    assert error.retry_after_s == KINDS[kind].retry_after_s
    assert isinstance(error, ServiceFailed if error.status >= 500 else (RequestRefused, ServiceFailed))
    assert kind == "internal-error" or type(error) not in (ProblemError, ServiceFailed)


def test_no_class_is_for_a_kind_that_does_not_exist() -> None:
    assert set(FAMILIES) <= set(KINDS)


def test_fields_and_request_are_told() -> None:
    told = {"type": "/problems/invalid-input", "title": "T", "status": 422, "detail": "D", "request_id": "r1"}
    told["errors"] = [{"loc": ["body", "experiments", 0], "msg": "M", "type": "t"}]
    with pytest.raises(InvalidInput) as raised:
        answering(422, json.dumps(told).encode(), {"Content-Type": "application/problem+json"}).models()
    assert raised.value.errors[0].loc == ("body", "experiments", 0)
    assert str(raised.value) == "T: D (request r1)"
    again = pickle.loads(pickle.dumps(raised.value))
    assert (type(again), again.problem) == (InvalidInput, raised.value.problem)


def test_the_page_of_a_proxy_is_told_as_such() -> None:
    with pytest.raises(Unavailable) as raised:
        answering(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html", "Retry-After": "7"}).models()
    assert raised.value.kind == ""
    assert "Bad Gateway" in raised.value.detail
    assert raised.value.retry_after_s == 7


@pytest.mark.parametrize("content", [b"<html>Log in</html>", b"[]", b'{"models": 3}', b'{"models": [{"name": "a"}]}'])
def test_an_answer_of_something_else_is_no_answer(content: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        answering(200, content, {}).models()


def test_a_redirect_is_not_followed() -> None:
    with pytest.raises(UnexpectedAnswer, match="https://login"):
        answering(302, b"", {"Location": "https://login"}).models()


def test_nobody_there_is_an_error_of_ours() -> None:
    with pytest.raises(ServiceUnreachable) as raised, Client("http://127.0.0.1:9", retry=ONCE) as service:
        service.models()
    assert isinstance(raised.value.__cause__, httpx.ConnectError)


def test_a_date_says_when_to_come_back() -> None:
    headers = {"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}
    with pytest.raises(Busy) as raised:
        answering(429, b"", headers).models()
    assert (raised.value.retry_after_s or 0) > 1e9


@pytest.mark.parametrize(("status", "family"), [(418, RequestRefused), (599, ServiceFailed), (429, Busy)])
def test_a_kind_of_a_newer_service_goes_by_its_status(status: int, family: type[ProblemError]) -> None:
    assert type(problem_error(Problem("of-tomorrow", "T", status, "D"))) is family
