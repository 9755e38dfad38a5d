"""Numbers that are none, texts that are none, and JSON that is meant to hurt, at every place of every JSON body."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.attacks.operations import Operation, Place, changed, one_of_each, places
from tests.faults.service import Service

MARK = "@@@@"
REFUSED = (400, 413, 415, 422)

IN_PLACE_OF_A_NUMBER = {
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "overflow": "1e999",
    "text of a number": '"nan"',
    "half of a surrogate pair": '"\\ud800"',
    "true": "true",
    "object": "{}",
    "100,000 digits": "1" * 100_000,
    "100,000 digits behind the point": "1." + "1" * 100_000 + "e400",
    "100,000 lists": "[" * 100_000 + "]" * 100_000,
    "100,000 objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
}


def json_posts(posts: list[Operation]) -> list[Operation]:
    found = [operation for operation in posts if operation.example is not None]
    assert len(found) >= 6
    return found


def send(service: Service, operation: Operation, body: bytes | str) -> httpx.Response:
    content = body.encode() if isinstance(body, str) else body
    headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
    return service.http.request(operation.method, operation.path, content=content, headers=headers)


def assert_refused(service: Service, answer: httpx.Response, what: tuple[str, Place]) -> None:
    if answer.status_code == 202 and what[1][:1] == ("patterns",):  # of a batch, what is wrong is told in its place
        service.http.delete(answer.headers["Location"])
        return
    assert answer.status_code in REFUSED, (what, answer.status_code, answer.text[:300])
    assert answer.headers["content-type"] == "application/problem+json", what
    assert len(answer.content) < 10_000, "what was sent is not sent back"


@pytest.mark.parametrize("attack", IN_PLACE_OF_A_NUMBER)
def test_a_number_that_is_none_is_refused(service: Service, posts: list[Operation], attack: str) -> None:
    for operation in json_posts(posts):
        numbers = [
            place
            for place, value in places(operation.example)
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        for place in one_of_each(numbers):
            body = json.dumps(changed(operation.example, place, MARK)).replace(
                f'"{MARK}"', IN_PLACE_OF_A_NUMBER[attack]
            )
            assert_refused(service, send(service, operation, body), (operation.template, place))


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\udfff\\ud800"', '"a\\u0000b"'])
def test_a_text_that_is_none_is_refused(service: Service, posts: list[Operation], text: str) -> None:
    for operation in json_posts(posts):
        texts = [place for place, value in places(operation.example) if isinstance(value, str)]
        for place in one_of_each(texts):
            body = json.dumps(changed(operation.example, place, MARK)).replace(f'"{MARK}"', text)
            assert_refused(service, send(service, operation, body), (operation.template, place))


def test_an_unknown_field_is_refused_at_every_level(service: Service, posts: list[Operation]) -> None:
    for operation in json_posts(posts):
        objects = [place for place, value in places(operation.example) if isinstance(value, dict)]
        for place in one_of_each(objects):
            body = json.dumps(changed(operation.example, (*place, "surprise"), 1))
            assert_refused(service, send(service, operation, body), (operation.template, place))


@pytest.mark.parametrize(
    "body",
    {
        "nothing": b"",
        "a brace": b"{",
        "not UTF-8": b'{"a": "\xff\xfe"}',
        "UTF-16": '{"a": 1}'.encode("utf-16"),
        "a NUL": b"\0",
        "lists for ever": b"[" * 1_000_000,
        "objects for ever": b'{"a":' * 150_000,
        "a flood of keys": b"{" + b",".join(b'"%d":1' % n for n in range(80_000)) + b"}",
        "a key of a megabyte": b'{"' + b"k" * 1_000_000 + b'": 1}',
        "equal keys": b"{" + b",".join(b'"a":1' for _ in range(100_000)) + b"}",
        "a text": b'"' + b"a" * 1_000_000 + b'"',
        "null": b"null",
    }.items(),
    ids=lambda pair: pair[0],
)
def test_a_body_that_is_no_question_is_refused(
    service: Service, posts: list[Operation], body: tuple[str, bytes]
) -> None:
    for operation in json_posts(posts):
        if not body[1] and not operation.needs_body:
            continue
        assert_refused(service, send(service, operation, body[1]), (operation.template, ()))
