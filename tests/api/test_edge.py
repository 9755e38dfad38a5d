"""Each request has an id, one line in the log and one count in the metrics."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient

from app.logs import configure_logs


def test_a_plain_request_id_is_kept(client: TestClient) -> None:
    assert client.get("/health/live", headers={"X-Request-ID": "scan-17.a_b"}).headers["x-request-id"] == "scan-17.a_b"


@pytest.mark.parametrize("offered", ["", "a b", "a\tb", "x" * 65, '"},{"level":"error', "é", "<script>"])
def test_any_other_request_id_is_replaced(client: TestClient, offered: str) -> None:
    headers = [(b"X-Request-ID", offered.encode())]
    given = client.get("/health/live", headers=headers).headers["x-request-id"]
    assert given != offered
    assert len(given) == 32


def test_two_requests_have_two_ids(client: TestClient) -> None:
    ids = {client.get("/health/live").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


def test_a_request_is_one_line_of_the_log(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="info", form="json")
    client.get("/problems/not-found?secret=1", headers={"X-Request-ID": "abc"})
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if '"request_id":"abc"' in line]
    assert (line["event"], line["method"], line["status"]) == ("request", "GET", 200)
    assert line["route"] == "/problems/{kind}"
    assert line["duration_ms"] >= 0
    assert "secret" not in json.dumps(line)


def test_a_crash_is_logged_with_its_request(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="info", form="json")
    given = client.get("/crash").headers["x-request-id"]
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (failure,) = [record for record in records if record["event"] == "request failed"]
    assert failure["request_id"] == given
    assert failure["exception"][0]["exc_type"] == "RuntimeError"


def test_probes_are_quiet(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="info", form="json")
    client.get("/health/live")
    assert '"event":"request"' not in capsys.readouterr().err


def test_requests_are_counted_by_route_and_status(client: TestClient) -> None:
    for name in ("not-found", "conflict", "nothing"):
        client.get(f"/problems/{name}")
    client.request("BREW", "/coffee")
    text = client.get("/metrics").text
    route = 'method="GET",route="/problems/{kind}"'
    assert f'beamline_http_requests_total{{{route},status="200"}} 2.0' in text
    assert f'beamline_http_requests_total{{{route},status="404"}} 1.0' in text
    assert f"beamline_http_request_duration_seconds_count{{{route}}} 3.0" in text
    assert 'beamline_http_requests_total{method="OTHER",route="unmatched",status="404"} 1.0' in text


def test_the_line_of_a_request_is_made_like_any_other(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="info", form="json")
    client.get("/crash", headers={"X-Request-ID": "abc"})
    failure, line = [json.loads(line) for line in capsys.readouterr().err.splitlines() if '"request_id":"abc"' in line]
    assert line.keys() - failure.keys() == {"method", "route", "status", "duration_ms"}
    assert len(line["timestamp"]) == len(failure["timestamp"])
    assert line["timestamp"][-1] == failure["timestamp"][-1] == "Z"


def test_on_a_terminal_the_line_of_a_request_is_text(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="info", form="console")
    client.get("/problems/not-found")
    assert "route=/problems/{kind}" in capsys.readouterr().err


def test_requests_are_silent_where_only_errors_are_logged(
    client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(level="error", form="json")
    client.get("/problems/not-found")
    assert capsys.readouterr().err == ""
