"""The OpenAPI document in the repository is that of the service, and the interface has a version that is kept."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.served import REPOSITORY
from tools.openapi import complaint, differences, interface, kept_document


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    return kept_document()


@pytest.fixture(scope="module")
def present() -> dict[str, Any]:
    """In a process of its own, as `make openapi` has it: it must not see what other tests do."""
    code = "import json; from tools.openapi import present_document; print(json.dumps(present_document()))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_change_of_the_interface_has_a_new_version(kept: dict[str, Any], present: dict[str, Any]) -> None:
    assert complaint(kept, present) is None, complaint(kept, present)


def test_the_document_is_that_of_the_service(kept: dict[str, Any], present: dict[str, Any]) -> None:
    assert kept == present, f"run `make openapi`: {sorted(differences(kept, present))[:10]}"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (("components", "schemas", "SolutionOut", "properties"), "m20"),
        (("components", "schemas", "SegmentOut", "properties"), "notes"),
        (("components", "schemas", "Feature", "properties"), "name"),
        (("paths",), "/jobs/{job_id}"),
        (("paths", "/waveform", "post", "responses"), "413"),
        (("paths", "/waveform", "post", "responses", "200", "content"), "text/csv"),
    ],
)
def test_what_goes_is_seen(kept: dict[str, Any], place: tuple[str, ...], name: str) -> None:
    changed = copy.deepcopy(kept)
    inner = changed
    for key in place:
        inner = inner[key]
    del inner[name]
    found = complaint(kept, changed)
    assert found is not None
    assert f"{'/'.join(place)}/{name} is gone" in found
    assert "is new" in (complaint(changed, kept) or "")
    assert complaint(kept, changed | {"info": {"version": "another"}}) is None


def test_a_narrower_field_is_seen(kept: dict[str, Any]) -> None:
    changed = copy.deepcopy(kept)
    changed["components"]["schemas"]["SolveRequest"]["properties"]["max_seconds"]["maximum"] = 1
    assert "max_seconds/maximum" in (complaint(kept, changed) or "")


def test_texts_are_no_interface(kept: dict[str, Any]) -> None:
    changed = copy.deepcopy(kept)
    schemas = changed["components"]["schemas"]
    schemas["SolutionOut"]["description"] = schemas["SolutionOut"]["properties"]["m20"]["description"] = "other words"
    changed["paths"]["/jobs/{job_id}"]["get"]["summary"] = "others"
    assert complaint(kept, changed) is None
    assert kept != changed


def test_a_field_that_is_called_like_a_text_is_a_field() -> None:
    schema = {"properties": {"title": {"type": "string", "title": "T"}, "description": {"type": "string"}}}
    assert interface(schema) == {"properties": {"title": {"type": "string"}, "description": {"type": "string"}}}
