"""What `/polarization/predict/file` answers for synthetic files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.api.polarization_schema import FileAnswer
from app.main import create_app
from app.polarization.archive import read_archive
from app.polarization.exchange import ExchangePair, write_pair
from app.settings import Settings
from tests.api.test_problems import assert_problem
from tests.polarization.fli_writer import START, Decay, decay_rows, fli, header
from tests.polarization_models import all_models

URL = "/polarization/predict/file"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    settings = Settings(max_times=400, max_upload_bytes=200_000)
    with TestClient(create_app(settings, registry=all_models())) as client:
        yield client


LATER = START + timedelta(days=3)
CRYSTALLINE = fli(
    header(),
    decay_rows(),
    "     999   1.000 this row is damaged",
    header("ge18012", LATER),
    decay_rows(Decay(rows=2), LATER + timedelta(minutes=9), number=200),
).encode()
AMORPHOUS = fli(
    header("ge18012", START, pressure=3.1),
    header("sic1402", START, role="analyser", pressure=2.5),
    decay_rows(Decay(amplitude=0.6)),
).encode()


def zipped(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def pair() -> ExchangePair:
    return write_pair(read_archive(CRYSTALLINE, "a.fli").experiments[0])


def upload(client: TestClient, *files: tuple[str, bytes], query: str = "", **headers: str) -> Any:
    return client.post(URL + query, files=[("files", file) for file in files], headers=headers)


def answered(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    FileAnswer.model_validate_json(response.content)
    return response.json()


def test_each_segment_is_predicted_or_rejected_with_a_reason(client: TestClient) -> None:
    found = answered(upload(client, ("polar.fli", CRYSTALLINE)))
    first, second = found["segments"]
    assert first["accepted"]
    assert first["rows"] == 8
    prediction = first["prediction"]
    decay = Decay()
    assert prediction["polarization"][0] == pytest.approx(decay.at(0.0), abs=1e-4)
    assert prediction["polarization"][-1] == pytest.approx(decay.at(21.0), abs=1e-4)
    assert prediction["time"][0] == "2030-05-04T10:05:00"
    assert not second["accepted"]
    assert second["reason"]
    assert second["prediction"] is None


def test_the_decay_between_is_what_was_measured(client: TestClient) -> None:
    prediction = answered(upload(client, ("polar.fli", CRYSTALLINE), query="?step_s=10800"))["segments"][0][
        "prediction"
    ]
    expected = [Decay().at(t / 3600) for t in prediction["time_s"]]
    assert prediction["polarization"] == pytest.approx(expected, abs=0.003)


def test_damaged_lines_are_reported_with_file_and_line(client: TestClient) -> None:
    (damaged,) = answered(upload(client, ("polar.fli", CRYSTALLINE)))["damaged"]
    assert (damaged["file"], damaged["line"]) == ("polar.fli", 10)


def test_the_body_may_be_the_file_itself(client: TestClient) -> None:
    as_a_form = answered(upload(client, ("polar.fli", CRYSTALLINE)))
    for content_type in ("application/octet-stream", "text/plain", "application/x-www-form-urlencoded"):
        headers = {"Content-Type": content_type}
        alone = client.post(URL + "?filename=polar.fli", content=CRYSTALLINE, headers=headers)
        assert answered(alone) == as_a_form


def test_a_zip_is_its_files(client: TestClient) -> None:
    content = zipped(**{"processed/a.fli": CRYSTALLINE, "processed/copy.fli": CRYSTALLINE, "b.dat": b"\0"})
    found = answered(client.post(URL, content=content))
    assert [segment["accepted"] for segment in found["segments"]] == [True, False]
    assert {remark["file"] for remark in found["left_out"]} == {"processed/copy.fli", "b.dat"}


def test_both_materials_in_one_upload(client: TestClient) -> None:
    files = (("a.fli", CRYSTALLINE), ("b.fli", AMORPHOUS))
    accepted = [s for s in answered(upload(client, *files))["segments"] if s["accepted"]]
    assert {s["prediction"]["models"][0]["name"] for s in accepted} == {
        "polarization-crystalline",
        "polarization-amorphous",
    }
    named = answered(upload(client, *files, query="?model=d3-crystalline-a"))["segments"]
    problems = {s["analyser_id"]: s["problem"] for s in named if s["accepted"]}
    assert problems[None] == ""
    assert "is for crystalline set-ups" in problems["sic1402"]


def test_d3s_pair_as_two_files_and_as_a_zip(client: TestClient) -> None:
    texts = pair()
    files = {
        f"{texts.name}.txt": texts.measurements.encode(),
        f"{texts.name}_Parameters.txt": texts.parameters.encode(),
    }
    loose = answered(upload(client, *files.items()))
    packed = answered(client.post(URL, content=zipped(**files)))
    assert loose == packed
    (segment,) = loose["segments"]
    assert segment["accepted"]
    assert segment["prediction"]["time"] is None, "a pair holds no date"
    from_fli = answered(upload(client, ("polar.fli", CRYSTALLINE)))["segments"][0]["prediction"]
    assert segment["prediction"]["polarization"] == pytest.approx(from_fli["polarization"], abs=1e-9)


def test_half_of_a_pair_is_told(client: TestClient) -> None:
    texts = pair()
    problem = assert_problem(upload(client, ("a.txt", texts.measurements.encode())), "invalid-input")
    assert "_Parameters.txt file is missing" in str(problem["detail"])


@pytest.mark.parametrize(("form", "begin"), [("csv", b"GridTime,"), ("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_other_formats_hold_the_accepted_segments(client: TestClient, form: str, begin: bytes) -> None:
    response = upload(client, ("a.fli", CRYSTALLINE), query=f"?format={form}", accept="text/html")
    assert response.status_code == 200
    assert response.content.startswith(begin)


def test_csv_by_accept(client: TestClient) -> None:
    response = upload(client, ("a.fli", CRYSTALLINE), accept="text/csv")
    assert len(response.text.splitlines()) == 102


def test_without_an_accepted_segment_there_is_no_picture(client: TestClient) -> None:
    lonely = fli(header(), decay_rows(Decay(rows=2))).encode()
    problem = assert_problem(upload(client, ("a.fli", lonely), query="?format=png"), "invalid-input")
    assert "no calibration series" in str(problem["detail"])


def test_options_are_checked(client: TestClient) -> None:
    for query in ("step_s=0", "step_s=nan", "model=../x", "version=v 1", "correction=x", "threshold_polarization=2"):
        assert_problem(upload(client, ("a.fli", CRYSTALLINE), query=f"?{query}"), "invalid-input")
    assert_problem(upload(client, ("a.fli", CRYSTALLINE), query="?step_s=1"), "too-large")
    assert_problem(upload(client, ("a.fli", CRYSTALLINE), query="?model=no-such"), "not-found")


def test_wrong_uploads_are_problems(client: TestClient) -> None:
    assert_problem(client.post(URL, content=b""), "invalid-input")
    assert_problem(client.post(URL, content=b"\x00\x01"), "unsupported-format")
    assert_problem(client.post(URL, content=b"PK\x03\x04 broken"), "invalid-input")
    assert_problem(client.post(URL, json={"experiments": []}), "unsupported-format")
    assert_problem(client.post(URL, content=b"x" * 200_001), "too-large")
    assert_problem(client.post(URL, files={"other": ("a.fli", CRYSTALLINE)}), "invalid-input")
    assert_problem(client.post(URL, content=zipped(**{"a.txt": b"x" * 9_000_000})), "too-large")
    many = [("files", (f"{i}.fli", b"x")) for i in range(70)]
    assert client.post(URL, files=many).status_code in (400, 422)


def test_a_file_name_cannot_forge_lines_or_paths(client: TestClient) -> None:
    found = answered(upload(client, ("../../etc/pass\nwd.fli", CRYSTALLINE)))
    for segment in found["segments"]:
        for source in segment["sources"]:
            assert ".." not in source
            assert "\n" not in source


def test_a_misspelt_option_is_refused_by_its_name(client: TestClient) -> None:
    answer = upload(client, ("polar.fli", CRYSTALLINE), query="?treshold_polarization=0.7")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", "treshold_polarization"]
