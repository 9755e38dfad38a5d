"""What `/indexing/peaks` and `/indexing/solve/file` answer."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.api.indexing_schema import PeaksAnswer, SolveAnswer
from tests.api.indexing_client import serving
from tests.api.test_problems import assert_problem
from tests.indexing_patterns import LAB6_A_ANG, WAVELENGTH_ANG, lab6_list, lab6_two_theta, lab6_xy

PEAKS, SOLVE = "/indexing/peaks", "/indexing/solve/file"
WAVE = f"wavelength_ang={WAVELENGTH_ANG}"
PATTERN = lab6_xy()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("jobs")) as client:
        yield client


def found(client: TestClient, url: str, content: bytes, name: str = "scan.xy") -> dict[str, Any]:
    response = client.post(url, files={"file": (name, content)})
    assert response.status_code == 200, response.text
    (PeaksAnswer if url.startswith(PEAKS) else SolveAnswer).model_validate_json(response.content)
    return response.json()


def test_the_lines_of_a_pattern_are_found_within_their_errors(client: TestClient) -> None:
    peaks = found(client, f"{PEAKS}?{WAVE}", PATTERN)
    assert peaks["name"] == "scan.xy"
    assert peaks["n_lines"] == len(lab6_two_theta())
    off = (np.array(peaks["two_theta_deg"]) - lab6_two_theta()) / np.array(peaks["sigma_two_theta_deg"])
    assert np.abs(off).max() < 4
    np.testing.assert_allclose(np.array(peaks["d_ang"])[0], LAB6_A_ANG, atol=2e-3)
    assert peaks["background"]["median"] == pytest.approx(50, rel=0.1)


def test_the_answer_is_a_question_to_the_solver(client: TestClient) -> None:
    peaks = found(client, f"{PEAKS}?{WAVE}", PATTERN)
    names = ("two_theta_deg", "sigma_two_theta_deg", "intensity", "wavelength_ang")
    response = client.post("/indexing/solve", json={name: peaks[name] for name in names})
    assert response.status_code == 200
    assert response.json()["solutions"][0]["cell"]["a_ang"] == pytest.approx(LAB6_A_ANG, abs=2e-3)
    one, other = response.json()["solutions"][0], found(client, f"{SOLVE}?{WAVE}", PATTERN)["solutions"][0]
    assert [line["hkl"] for line in one["lines"]] == [line["hkl"] for line in other["lines"]]
    assert one["cell"] == pytest.approx(other["cell"], abs=2e-5)


def test_without_a_wavelength_there_are_no_spacings(client: TestClient) -> None:
    peaks = found(client, PEAKS, PATTERN)
    assert peaks["d_ang"] is None
    assert peaks["two_theta_deg"] is not None


def test_peaks_as_csv(client: TestClient) -> None:
    response = client.post(f"{PEAKS}?{WAVE}", content=PATTERN, headers={"Accept": "text/csv"})
    assert response.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert len(rows) == len(lab6_two_theta())
    assert float(rows[0]["d_ang"]) == pytest.approx(LAB6_A_ANG, abs=2e-3)


@pytest.mark.parametrize("url", [PEAKS, SOLVE])
def test_the_body_may_be_the_file(client: TestClient, url: str) -> None:
    asked = f"{url}?{WAVE}&filename=scan.xy"
    assert client.post(asked, content=PATTERN).json() == found(client, f"{url}?{WAVE}", PATTERN)


def test_a_list_of_lines_is_known_by_its_length(client: TestClient) -> None:
    answer = found(client, f"{SOLVE}?{WAVE}", lab6_list(), "lines.txt")
    assert answer["name"] == "lines.txt"
    assert answer["solutions"][0]["cell"]["a_ang"] == pytest.approx(LAB6_A_ANG, abs=1e-3)
    assert len(answer["solutions"][0]["lines"]) == len(lab6_two_theta())
    assert_problem(client.post(f"{SOLVE}?{WAVE}&content=pattern", content=lab6_list()), "invalid-input")


@pytest.mark.parametrize(("axis", "scale"), [("d_ang", 1.0), ("q_2pi_inv_ang", None), ("q_2pi_inv_nm", None)])
def test_a_list_may_be_over_d_or_q(client: TestClient, axis: str, scale: float | None) -> None:
    d = LAB6_A_ANG / np.arange(1, 8) ** 0.5
    values = d if scale else 2 * np.pi / d * (10 if axis.endswith("nm") else 1)
    answer = found(client, f"{SOLVE}?axis={axis}", "\n".join(map(str, values)).encode())
    assert answer["wavelength_ang"] is None
    assert answer["solutions"][0]["cell"]["a_ang"] == pytest.approx(LAB6_A_ANG, abs=1e-4)


def test_lattices_stand_with_commas_or_several_times(client: TestClient) -> None:
    for query in ("lattices=tP,cP", "lattices=tP&lattices=cP"):
        answer = found(client, f"{SOLVE}?{WAVE}&{query}&seed=3", lab6_list())
        assert answer["searches"][0]["lattice"] == "cP"
        assert answer["seed"] == 3


WRONG: dict[str, tuple[str, bytes, list[Any]]] = {
    "no wavelength, a list": ("", lab6_list(), ["query", "wavelength_ang"]),
    "no wavelength, a pattern": ("", PATTERN, ["body", "file"]),
    "an unknown option": (f"{WAVE}&max_second=1", lab6_list(), ["query", "max_second"]),
    "an unknown lattice": (f"{WAVE}&lattices=cP,cQ", lab6_list(), ["query", "lattices", 1]),
    "too much time": (f"{WAVE}&max_seconds=61", lab6_list(), ["query", "max_seconds"]),
    "bounds exchanged": (f"{WAVE}&min_length_ang=9&max_length_ang=8", lab6_list(), ["query", "max_length_ang"]),
    "NaN": ("wavelength_ang=nan", lab6_list(), ["query", "wavelength_ang"]),
    "four lines": (WAVE, b"\n".join(lab6_list().splitlines()[:4]), ["body", "file"]),
    "no numbers": (WAVE, b"hello\nworld\n", ["body", "file"]),
    "nothing": (WAVE, b"", ["body", "file"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_or_option_is_told(client: TestClient, name: str) -> None:
    query, content, loc = WRONG[name]
    problem = assert_problem(client.post(f"{SOLVE}?{query}", content=content), "invalid-input")
    assert loc in [error["loc"] for error in problem["errors"]]  # type: ignore[union-attr]


@pytest.mark.parametrize("url", [PEAKS, SOLVE])
def test_a_form_without_its_file_is_told(client: TestClient, url: str) -> None:
    for files in ({"files": ("a.xy", PATTERN)}, {"file": (None, "text")}):
        assert_problem(client.post(url, files=files), "invalid-input")
    assert_problem(client.post(url, json={"d_ang": [1.0]}), "unsupported-format")


def test_what_no_reader_reads_is_told(client: TestClient) -> None:
    response = client.post(f"{SOLVE}?{WAVE}", content=b"\x89PNG\r\n\x1a\n" + bytes(500))
    assert response.status_code in (415, 422)


@pytest.mark.parametrize(("form", "begin"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
@pytest.mark.parametrize("url", [PEAKS, SOLVE])
def test_a_picture_is_drawn(client: TestClient, url: str, form: str, begin: bytes) -> None:
    response = client.post(f"{url}?{WAVE}&format={form}", content=PATTERN)
    assert response.status_code == 200
    assert response.content.startswith(begin)


def test_a_file_as_cif_and_csv(client: TestClient) -> None:
    cif = client.post(f"{SOLVE}?{WAVE}", content=lab6_list(), headers={"Accept": "chemical/x-cif"})
    assert cif.text.startswith("data_")
    lines = client.post(f"{SOLVE}?{WAVE}&format=csv&rows=lines", content=lab6_list())
    assert len(lines.text.splitlines()) == 1 + 2 * len(lab6_two_theta())
