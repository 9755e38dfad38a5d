"""The service keeps to its own OpenAPI document, whatever it is asked: Schemathesis, with one seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.fuzz import Effort, admin_key, fuzz, target

QUICK = Effort(examples=3, phases=("examples", "fuzzing", "stateful"))


@pytest.mark.parametrize("closed", [False, True], ids=["open", "with keys"])
def test_the_service_keeps_to_its_document(tmp_path: Path, closed: bool) -> None:
    key, settings = admin_key(tmp_path) if closed else (None, {})
    with target(tmp_path, job_workers="0", **settings) as service:
        done = fuzz(service, QUICK, key=key)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
