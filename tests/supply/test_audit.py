"""What `make audit` makes of a report of known vulnerabilities, and the whole of it against a service of our own."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tools.supply.audit import CLEAN, FOUND, UNKNOWN, judged, told

REPOSITORY = Path(__file__).resolve().parents[2]
TODAY = date(2026, 11, 21)
KNOWN = {"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.0"], "description": "a flaw"}
ALLOWED = {"id": "CVE-2026-1", "package": "orjson", "reason": "never called", "until": date(2026, 11, 21)}


def report(**packages: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": [{"name": name, "version": "1.0", **told} for name, told in packages.items()]}


def test_nothing_known_is_clean() -> None:
    assert judged(report(orjson={"vulns": []}), [], ["orjson"], TODAY).status == CLEAN


def test_a_known_vulnerability_fails_and_says_where_it_is_and_how_to_mend_it() -> None:
    verdict = judged(report(orjson={"vulns": [KNOWN]}, pytest={"vulns": [KNOWN]}), [], ["orjson"], TODAY)
    assert verdict.status == FOUND
    service, development = told(verdict).splitlines()[:2]
    assert service == "FOUND    orjson 1.0 (service): PYSEC-1, CVE-2026-1; fixed in 2.0"
    assert "pytest 1.0 (development)" in development


def test_an_allowed_one_passes_up_to_its_day_and_not_a_day_longer() -> None:
    found = report(orjson={"vulns": [KNOWN]})
    allowed = judged(found, [ALLOWED], ["orjson"], TODAY)
    assert allowed.status == CLEAN
    assert "never called (until 2026-11-21)" in told(allowed)
    late = judged(found, [ALLOWED], ["orjson"], date(2026, 11, 22))
    assert (late.status, late.stale) == (FOUND, ("orjson CVE-2026-1",))


def test_an_entry_allows_one_flaw_of_one_package() -> None:
    other = KNOWN | {"id": "PYSEC-2", "aliases": []}
    assert judged(report(orjson={"vulns": [KNOWN, other]}), [ALLOWED], [], TODAY).status == FOUND
    assert judged(report(numpy={"vulns": [KNOWN]}), [ALLOWED], [], TODAY).status == FOUND


def test_what_was_not_looked_up_is_not_clean() -> None:
    verdict = judged(report(orjson={"skip_reason": "not found"}, numpy={"vulns": []}), [], [], TODAY)
    assert (verdict.status, verdict.audited, verdict.unknown) == (UNKNOWN, 1, ("orjson",))
    assert judged({"dependencies": []}, [], [], TODAY).status == UNKNOWN


@contextmanager
def vulnerabilities(package: str) -> Iterator[str]:
    """An OSV service that knows one flaw."""

    class Osv(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]
            events = [{"introduced": "0"}, {"fixed": "99"}]
            affected = [{"package": asked, "ranges": [{"type": "ECOSYSTEM", "events": events}]}]
            flaw = {"id": "GHSA-1", "aliases": ["CVE-2026-1"], "summary": "a flaw", "affected": affected}
            answer = json.dumps({"vulns": [flaw]} if asked["name"] == package else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def audit(url: str, *more: str) -> subprocess.CompletedProcess[str]:
    arguments = " ".join(["--service osv --osv-url", url, *more])
    command = ["make", "--silent", "audit", f"ARGS={arguments}"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_the_command_looks_up_every_locked_package() -> None:
    with vulnerabilities("starlette") as url:
        found = audit(url)
        assert "starlette" in found.stdout
        assert "(service): CVE-2026-1, GHSA-1; fixed in 99" in found.stdout
        assert found.returncode != 0
        assert audit(url, "--report").returncode == 0
    with vulnerabilities("none") as url:
        clean = audit(url)
        assert clean.returncode == 0, clean.stdout + clean.stderr
        assert int(clean.stdout.split()[0]) > 100
    away = audit(url)
    assert away.returncode != 0
    assert "nothing could be looked up" in away.stdout
