"""Bodies that are too long, compressed, chopped up, or hold thousands of files; requests that mean two things."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.attacks.conftest import UPLOAD_LIMIT
from tests.attacks.operations import Operation
from tests.attacks.raw import Answer, asked, connected, head
from tests.faults.service import Service

PROBLEM = "application/problem+json"
CHUNK = 64 * 1024


def assert_problem(answer: Answer, *statuses: int) -> None:
    assert answer.status in statuses, (answer.status, answer.body[:300])
    assert answer.media_type == PROBLEM
    assert json.loads(answer.body)["status"] == answer.status


def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_sent(service: Service, posts: list[Operation]) -> None:
    for operation in posts:
        for media_type in operation.media_types:
            message = head("POST", operation.path, Content_Type=media_type, Content_Length=str(10**12))
            assert_problem(asked(service, [message]), 413)


def test_a_body_that_turns_out_too_long_is_refused_on_the_way(service: Service, posts: list[Operation]) -> None:
    def chunks(message: bytes) -> Iterator[bytes]:
        yield message
        for _ in range(UPLOAD_LIMIT // CHUNK + 2):
            yield b"%x\r\n" % CHUNK + b" " * CHUNK + b"\r\n"
        yield b"0\r\n\r\n"

    for operation in posts:
        media_type = operation.media_types[0]
        message = head("POST", operation.path, Content_Type=media_type, Transfer_Encoding="chunked")
        # A form without its boundary is refused at once; a text of blanks is no multipart body either.
        assert_problem(asked(service, chunks(message)), 400, 413)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_compressed_body_is_refused(service: Service, posts: list[Operation], encoding: str) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    for operation in posts:
        message = head(
            "POST", operation.path, Content_Type=operation.media_types[0], Content_Encoding=encoding,
            Content_Length=str(len(bomb)),
        )  # fmt: skip
        assert_problem(asked(service, [message, bomb]), 415)


def form_posts(posts: list[Operation]) -> list[Operation]:
    found = [operation for operation in posts if "multipart/form-data" in operation.media_types]
    assert len(found) >= 5
    return found


def part(disposition: str, content: bytes = b"1 2\n") -> bytes:
    return b"--x\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"


def file(number: int) -> bytes:
    return part(f'name="file"; filename="{number}.xy"')


FORMS = {
    "2,000 files": b"".join(map(file, range(2000))),
    "2,000 fields": b"".join(part(f'name="{number}"') for number in range(2000)),
    "a file without a name": part("filename=a"),
    "a name that never ends": part('name="file"; filename="' + "a" * 500_000 + '"'),
    "headers for ever": b"--x\r\n" + b"X-Header: a\r\n" * 20_000 + b"\r\n\r\n",
    "a header that never ends": b"--x\r\nX-Header: " + b"a" * 500_000,
    "a field of a megabyte": part('name="file"', b"1" * 1_000_000),
    "cut in the middle": file(1)[:40],
    "no part": b"",
    "line breaks": b"\r\n" * 200_000,
}


@pytest.mark.parametrize("attack", FORMS)
def test_a_hostile_form_is_refused(service: Service, posts: list[Operation], attack: str) -> None:
    body = FORMS[attack] + b"--x--\r\n"
    for operation in form_posts(posts):
        answer = service.http.post(
            operation.path, content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
        assert answer.status_code in (400, 413, 422), (operation.template, answer.status_code, answer.text[:300])
        assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(
    "boundary", ["", "; boundary=", "; boundary=" + "x" * 10_000, '; boundary="', "; boundary=\xff"]
)
def test_a_form_without_a_boundary_is_refused(service: Service, posts: list[Operation], boundary: str) -> None:
    for operation in form_posts(posts):
        body = file(1) + b"--x--\r\n"
        media_type = f"multipart/form-data{boundary}"
        message = head("POST", operation.path, Content_Type=media_type, Content_Length=str(len(body)))
        assert_problem(asked(service, [message, body]), 400, 422)


TWO_MEANINGS = {
    "length and chunks": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    "two lengths": "Content-Length: 4\r\nContent-Length: 40\r\n",
    "a list of lengths": "Content-Length: 4, 40\r\n",
    "a length below nothing": "Content-Length: -4\r\n",
    "a length with a sign": "Content-Length: +4\r\n",
    "a length in hexadecimal": "Content-Length: 0x4\r\n",
    "chunks that are not last": "Transfer-Encoding: chunked, identity\r\n",
    "a space before the colon": "Transfer-Encoding : chunked\r\n",
    "a folded line": "X-A: 1\r\n Content-Length: 4\r\n",
    "a bare line feed": "X-A: 1\nContent-Length: 4\r\n",
    "a bare carriage return": "X-A: 1\rContent-Length: 4\r\n",
    "a NUL": "X-A: \0\r\n",
}


@pytest.mark.parametrize("attack", TWO_MEANINGS)
def test_a_request_that_means_two_things_is_not_taken_for_two(service: Service, attack: str) -> None:
    """Behind a proxy that reads it the other way, the second one would be another user's."""
    smuggled = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    begin = "POST /polarization/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    message = f"{begin}{TWO_MEANINGS[attack]}\r\n"
    seen = b""
    with connected(service) as connection, suppress(OSError):
        connection.sendall(message.encode("latin-1") + b"0\r\n\r\n" + smuggled)
        while more := connection.recv(65536):
            seen += more
            connection.settimeout(0.3)  # an answer to a second request would follow at once
    assert b'"live"' not in seen, "what stood in the body was answered as a request"
    assert seen[:12] == b"HTTP/1.1 400", seen[:200]
