"""What many patterns, or many files, are answered, with a solver that answers at once in real worker processes."""

from __future__ import annotations

import copy
import io
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app.api.indexing_examples import BATCH_EXAMPLES, EXAMPLES
from app.api.indexing_schema import BatchAnswer, FilesAnswer
from app.settings import Settings
from tests.api.indexing_client import serving
from tests.api.test_problems import assert_problem
from tests.indexing_fakes import REFUSED_SEED, SLOW_SEED
from tests.indexing_patterns import WAVELENGTH_ANG, lab6_list, lab6_xy

SOLVE, BATCH, FILES = "/indexing/solve", "/indexing/solve/batch", "/indexing/solve/files"
WAVE = f"?wavelength_ang={WAVELENGTH_ANG}"
D = [4.157, 2.939, 2.400, 2.078, 1.859, 1.697, 1.470, 1.386]
TWO_THETA = EXAMPLES["2theta"]["value"]["two_theta_deg"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("jobs")) as client:
        yield client


def batch(client: TestClient, patterns: list[Any], **options: Any) -> list[dict[str, Any]]:
    response = client.post(BATCH, json={"patterns": patterns, **options})
    assert response.status_code == 200, response.text
    BatchAnswer.model_validate_json(response.content)
    return response.json()["answers"]


def ended(client: TestClient, response: Response) -> dict[str, Any]:
    """Look at an accepted job until it has ended."""
    assert response.status_code == 202, response.text
    deadline = time.monotonic() + 20
    while (job := client.get(response.headers["location"]).json())["state"] in ("queued", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return job


# --- patterns ---------------------------------------------------------------------------------------------------------


def test_a_batch_answers_as_its_members_do(client: TestClient) -> None:
    asked = copy.deepcopy(BATCH_EXAMPLES["two patterns"]["value"])
    patterns, options = asked.pop("patterns"), asked
    for entry, pattern in zip(batch(client, patterns, **options), patterns, strict=True):
        assert entry["error"] is None
        assert entry["result"] == client.post(SOLVE, json={**pattern, **options}).json()


def test_an_error_stays_in_its_place(client: TestClient) -> None:
    good = {"name": "good", "d_ang": D}
    bad = [{"d_ang": D[:3]}, {"d_ang": [*D, -1.0]}, {"two_theta_deg": TWO_THETA}, {"d_nm": D}]
    answers = batch(client, [*bad, good])
    assert answers[-1]["result"]["name"] == "good"
    fields = [["d_ang"], ["d_ang", 8], ["wavelength_ang"], ["d_nm"]]
    for index, (entry, field) in enumerate(zip(answers, fields, strict=False)):
        assert entry["result"] is None
        assert entry["error"]["kind"] == "invalid-input"
        assert ["body", "patterns", index, *field] in [error["loc"] for error in entry["error"]["errors"]]
    (missing,) = batch(client, [5])
    assert missing["error"]["errors"][0]["loc"] == ["body", "patterns", 0]


def test_the_progress_of_a_batch_counts_its_patterns(client: TestClient) -> None:
    asked = {"patterns": [{"d_ang": D}] * 3, "seed": SLOW_SEED, "max_seconds": 0.4, "device": "cpu"}
    job = ended(client, client.post(BATCH, json=asked, headers={"Prefer": "respond-async"}))
    assert len(job["result"]["answers"]) == 3
    assert job["progress"] == {"done": 3, "total": 3}


def test_a_single_pattern_is_not_behind_a_batch(tmp_path: Path) -> None:
    """With one worker: the batch has only begun when the pattern that came later has its answer."""
    slow = {"patterns": [{"d_ang": D}] * 5, "seed": SLOW_SEED, "max_seconds": 2.0, "device": "cpu"}
    with serving(tmp_path, workers=1) as client:
        job = client.post(BATCH, json=slow, headers={"Prefer": "respond-async"}).headers["location"]
        while client.get(job).json()["state"] == "queued":
            time.sleep(0.01)
        assert client.post(SOLVE, json={"d_ang": D}).status_code == 200
        assert client.get(job).json()["state"] == "running"
        assert client.delete(job).json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("asked", "kind", "field"),
    [
        ({"patterns": []}, "invalid-input", ["patterns"]),
        ({"patterns": [{"d_ang": D}] * 6}, "too-large", None),
        ({"patterns": [{"d_ang": D}], "min_length_ang": 9, "max_length_ang": 8}, "invalid-input", ["max_length_ang"]),
        ({"patterns": [{"d_ang": D}], "max_seconds": 100}, "invalid-input", ["max_seconds"]),
        ({"patterns": [{"d_ang": D}], "max_second": 1}, "invalid-input", ["max_second"]),
    ],
)
def test_what_is_wrong_with_all_patterns_is_a_problem(
    client: TestClient, asked: dict[str, Any], kind: str, field: list[Any] | None
) -> None:
    problem = assert_problem(client.post(BATCH, json=asked), kind)
    if field is not None:
        assert problem["errors"][0]["loc"] == ["body", *field]  # type: ignore[index]


def test_no_pattern_may_keep_a_worker_longer_than_a_job_may_run(tmp_path: Path) -> None:
    """All patterns of a batch together may take longer: each is a run of its own."""
    patterns = [{"d_ang": D}] * 4
    with serving(tmp_path, Settings(job_max_s=15.0)) as client:
        assert client.post(BATCH, json={"patterns": patterns, "max_seconds": 10, "device": "cpu"}).status_code == 200
        refused = client.post(BATCH, json={"patterns": patterns, "max_seconds": 16, "device": "cpu"})
        assert assert_problem(refused, "invalid-input")["errors"][0]["loc"] == ["body", "max_seconds"]  # type: ignore[index]


# --- files ------------------------------------------------------------------------------------------------------------


def packed(members: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def form(*files: tuple[str, bytes]) -> Any:
    return [("files", file) for file in files]


def of_files(response: Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    FilesAnswer.model_validate_json(response.content)
    return response.json()["answers"]


def test_files_answer_as_each_does_alone(client: TestClient) -> None:
    sent = {"scan.xy": lab6_xy(), "lines.txt": lab6_list()}
    answers = of_files(client.post(FILES + WAVE, files=form(*sent.items())))
    assert [entry["file"] for entry in answers] == list(sent)
    for entry, (name, content) in zip(answers, sent.items(), strict=True):
        alone = client.post(f"{SOLVE}/file{WAVE}", files={"file": (name, content)})
        assert entry["error"] is None
        assert entry["result"] == alone.json()


def test_a_zip_is_the_files_in_it(client: TestClient) -> None:
    members = {"series/a.xy": lab6_xy(), "series/b.xy": lab6_list(), "__MACOSX/series/._a.xy": b"x", ".DS_Store": b"x"}
    content = packed(members)
    by_form = client.post(FILES + WAVE, files=form(("series.zip", content)))
    as_body = client.post(FILES + WAVE, content=content, headers={"Content-Type": "application/zip"})
    loose = of_files(client.post(FILES + WAVE, files=form(*list(members.items())[:2])))
    for response in (by_form, as_body):
        answers = of_files(response)
        assert [entry["file"] for entry in answers] == ["series/a.xy", "series/b.xy"]
        assert [e["result"]["solutions"] for e in answers] == [e["result"]["solutions"] for e in loose]
        assert [one["file"] for one in response.json()["skipped"]] == ["__MACOSX/series/._a.xy", ".DS_Store"]


def test_a_broken_file_is_told_in_its_place(client: TestClient) -> None:
    sent = [
        ("good.txt", lab6_list()),
        ("noise.xy", b"\x00\x01\x02" * 50),
        ("empty.xy", b""),
        ("again.txt", lab6_list()),
    ]
    answers = of_files(client.post(FILES + WAVE, files=form(*sent)))
    assert [entry["file"] for entry in answers] == [name for name, _ in sent]
    assert [entry["result"] is None for entry in answers] == [False, True, True, False]
    for entry in answers[1:3]:
        assert entry["error"]["kind"] in ("invalid-input", "unsupported-format")
        assert entry["error"]["detail"]


def test_an_option_that_does_not_go_with_a_file_names_the_option(client: TestClient) -> None:
    spacings = b"\n".join(b"%.4f" % d for d in D)
    (entry,) = of_files(client.post(f"{FILES}?axis=d_ang&zero_shift_deg=0.1", files=form(("d.txt", spacings))))
    assert [error["loc"] for error in entry["error"]["errors"]] == [["query", "zero_shift_deg"]]


def test_what_the_solver_refuses_is_told_in_its_place(client: TestClient) -> None:
    url = f"{FILES}{WAVE}&seed={REFUSED_SEED}"
    (entry,) = of_files(client.post(url, files=form(("lines.txt", lab6_list()))))
    assert entry["error"] == {"kind": "invalid-input", "detail": "the lines were refused: give others", "errors": []}


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (form(("many.zip", packed({f"{number}.txt": lab6_list() for number in range(6)}))), "too-large"),
        (form(("bomb.zip", packed({"bomb.xy": b"0" * 10_000_000}))), "too-large"),
        (form(("cut.zip", packed({"a.txt": lab6_list()})[:-30])), "invalid-input"),
        (form(("none.zip", packed({}))), "invalid-input"),
        ([("file", ("a.txt", lab6_list()))], "invalid-input"),
    ],
)
def test_what_is_wrong_with_all_files_is_a_problem(client: TestClient, files: Any, kind: str) -> None:
    problem = assert_problem(client.post(FILES + WAVE, files=files), kind)
    assert problem["errors"][0]["loc"] == ["body", "files"]  # type: ignore[index]


def test_more_files_than_the_service_takes_are_refused(client: TestClient) -> None:
    files = form(*[(f"{number}.txt", lab6_list()) for number in range(6)])
    problem = assert_problem(client.post(FILES + WAVE, files=files), "malformed-body")
    assert "files is 5" in str(problem["detail"])


def test_an_upload_over_the_limit_is_refused_whole(tmp_path: Path) -> None:
    with serving(tmp_path, Settings(max_upload_bytes=40_000)) as client:
        assert_problem(client.post(FILES + WAVE, files=form(("a.xy", lab6_xy()))), "too-large")
        squeezed = packed({f"{number}.xy": lab6_xy() for number in range(2)})
        assert len(squeezed) < 40_000
        assert_problem(client.post(FILES + WAVE, files=form(("a.zip", squeezed))), "too-large")


def test_the_progress_of_files_counts_them(client: TestClient) -> None:
    response = client.post(
        FILES + WAVE, files=form(("a", lab6_list()), ("b", b"")), headers={"Prefer": "respond-async"}
    )
    job = ended(client, response)
    assert job["progress"] == {"done": 2, "total": 2}
    assert [entry["file"] for entry in job["result"]["answers"]] == ["a", "b"]
