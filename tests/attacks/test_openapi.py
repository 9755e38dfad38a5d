"""The service keeps to its own OpenAPI document, whatever it is asked: Schemathesis, with one seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.fuzz import KEY, Effort, fuzz, target, with_key

QUICK = Effort(examples=3, phases=("examples", "fuzzing", "stateful"))


@pytest.mark.parametrize("key", [None, KEY], ids=["open", "with a key"])
def test_the_service_keeps_to_its_document(tmp_path: Path, key: str | None) -> None:
    with target(tmp_path, job_workers="0", **with_key(key)) as service:
        done = fuzz(service, QUICK, key=key)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
