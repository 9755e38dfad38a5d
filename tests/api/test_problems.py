"""Whatever is sent, the answer to a bad request is a problem that says what to mend and gives nothing away."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app import errors
from app.api.problems import KINDS, documented
from tests.api.conftest import BODY_LIMIT

JSON = {"Content-Type": "application/json"}
GOOD = '{"points": [{"time_s": 1}]}'


def assert_problem(response: Response, kind: str) -> dict[str, object]:
    body = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert (body["type"], body["status"]) == (f"/problems/{kind}", response.status_code)
    assert response.status_code == KINDS[kind].status
    assert body["title"]
    assert isinstance(body["detail"], str)
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def point(value: str) -> str:
    return '{"points": [{"time_s": ' + value + "}]}"


@pytest.mark.parametrize("path", ["/echo", "/framework"])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(point("NaN"), "invalid-input", id="NaN"),
        pytest.param("[NaN]", "invalid-input", id="NaN alone"),
        pytest.param(point("-Infinity"), "invalid-input", id="infinity"),
        pytest.param(point("1e999"), "invalid-input", id="overflow"),
        pytest.param(point('"nan"'), "invalid-input", id="a string for a number"),
        pytest.param(point("true"), "invalid-input", id="a boolean for a number"),
        pytest.param(point("-1"), "invalid-input", id="out of bounds"),
        pytest.param(point('1, "tiem": 1'), "invalid-input", id="unknown field"),
        pytest.param("", "invalid-input", id="empty"),
        pytest.param("{", "malformed-body", id="cut short"),
        pytest.param(b'{"points": "\xff"}', "malformed-body", id="not UTF-8"),
        pytest.param("[" * 100_000, "malformed-body", id="deep nesting"),
        pytest.param(point("1" * 100_000), "malformed-body", id="long integer"),
    ],
)
def test_a_bad_body_is_a_problem(client: TestClient, path: str, body: str | bytes, kind: str) -> None:
    if path == "/echo" and body == "":
        kind = "malformed-body"
    assert_problem(client.post(path, content=body, headers=JSON), kind)


@pytest.mark.parametrize("value", ['1, "name": "\\ud800"', '1, "name": "\\udc00"', '1, "\\ud800": 1'])
def test_half_of_a_surrogate_pair_is_refused(client: TestClient, value: str) -> None:
    assert_problem(client.post("/echo", content=point(value), headers=JSON), "invalid-input")


def test_the_errors_name_the_field_and_never_repeat_the_input(client: TestClient) -> None:
    response = client.post("/echo", content=point('"<script>secret</script>"'), headers=JSON)
    (error,) = assert_problem(response, "invalid-input")["errors"]  # type: ignore[misc]
    assert error["loc"] == ["body", "points", 0, "time_s"]
    assert set(error) == {"loc", "msg", "type"}
    assert "secret" not in response.text


def test_a_flood_of_errors_gives_a_short_answer(client: TestClient) -> None:
    response = client.post("/echo", content='{"points": [' + ",".join(["{}"] * 10_000) + "]}", headers=JSON)
    assert "9999 more" in str(assert_problem(response, "invalid-input")["detail"])
    assert len(response.content) < 10_000


def test_of_a_deluge_of_errors_only_the_number_is_told(client: TestClient) -> None:
    names = ",".join(f'"{number}": 1' for number in range(10_000))
    assert "10001 things" in str(
        assert_problem(client.post("/echo", content=f"{{{names}}}", headers=JSON), "invalid-input")["detail"]
    )


def test_a_body_of_another_type_is_refused(client: TestClient) -> None:
    response = client.post("/echo", content=GOOD, headers={"Content-Type": "text/plain"})
    assert_problem(response, "unsupported-format")


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    response = client.post("/echo", content=b"\x1f\x8b", headers={**JSON, "Content-Encoding": "gzip"})
    assert_problem(response, "unsupported-format")


def padded(length: int) -> str:
    return GOOD + " " * (length - len(GOOD))


def in_chunks(body: str) -> Iterator[bytes]:
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000].encode()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "limit"), [("/echo", BODY_LIMIT), ("/framework", BODY_LIMIT), ("/upload", 2 * BODY_LIMIT)]
)
def test_a_body_over_the_limit_of_its_route_is_refused(
    client: TestClient, path: str, limit: int, chunked: bool
) -> None:
    for length, accepted in [(limit, True), (limit + 1, False)]:
        body = padded(length)
        response = client.post(path, content=in_chunks(body) if chunked else body, headers=JSON)
        if accepted:
            assert response.status_code == 200
        else:
            assert_problem(response, "too-large")


def test_addresses_and_methods_that_do_not_exist(client: TestClient) -> None:
    for path in ("/nope", "/models/..%2f..%2fetc", "/%00", "/" + "a" * 6_000, "/static/../settings.py", "/problems/x"):
        assert_problem(client.get(path), "not-found")
    response = client.delete("/health/live")
    assert_problem(response, "method-not-allowed")
    assert response.headers["allow"] == "GET"


@pytest.mark.parametrize("kind", [error.kind for error in errors.AppError.__subclasses__()])
def test_every_error_of_the_domains_has_a_status(client: TestClient, kind: str) -> None:
    body = assert_problem(client.get(f"/raise/{kind}"), kind)
    assert body["detail"] == "found a, expected b"
    assert body["available"] == ["b"]


def test_a_crash_gives_nothing_away(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    response = client.get("/crash")
    assert_problem(response, "internal-error")
    assert "secret" not in response.text
    assert "Traceback" not in response.text


def test_an_answer_that_is_not_a_number_is_an_error(client: TestClient) -> None:
    assert_problem(client.get("/not-a-number"), "model-output-invalid")


@pytest.mark.parametrize("kind", KINDS)
def test_the_type_of_a_problem_leads_to_its_page(client: TestClient, kind: str) -> None:
    response = client.get(f"/problems/{kind}")
    assert response.headers["content-type"].startswith("text/html")
    assert KINDS[kind].title in response.text


def test_every_documented_answer_is_a_problem(client: TestClient) -> None:
    responses = client.get("/openapi.json").json()["paths"]["/echo"]["post"]["responses"]
    assert set(responses) == {"200", "400", "404", "413", "415", "422", "500"}
    for status, response in responses.items():
        if status != "200":
            assert set(response["content"]) == {"application/problem+json"}
            for example in response["content"]["application/problem+json"]["examples"].values():
                assert str(example["value"]["status"]) == status


def test_the_document_is_the_same_at_every_start() -> None:
    """The order of a set of texts differs from process to process."""
    for answer in documented(*KINDS).values():
        (media,) = answer["content"].values()
        assert list(media["examples"]) == sorted(media["examples"])
        assert answer["description"] == KINDS[min(media["examples"])].title


def test_a_kind_that_does_not_exist_cannot_be_documented() -> None:
    with pytest.raises(KeyError):
        documented("no-such-kind")


def test_a_body_read_by_hand_is_documented_with_its_parts(client: TestClient) -> None:
    openapi = client.get("/openapi.json").json()
    media = openapi["paths"]["/echo"]["post"]["requestBody"]["content"]["application/json"]
    assert media["schema"] == {"$ref": "#/components/schemas/Points"}
    assert {"Points", "Point", "Problem", "FieldError"} <= set(openapi["components"]["schemas"])
    assert "$defs" not in json.dumps(openapi)
    for example in media["examples"].values():
        assert client.post("/echo", json=example["value"]).status_code == 200
