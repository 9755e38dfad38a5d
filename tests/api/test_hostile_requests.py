"""Whatever a request holds, the answer is a result or a problem: never a crash, nor a word of the machine."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import orjson
import pytest
from fastapi.exceptions import RequestValidationError
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from app.api.arrays import DTYPES, array_from_base64
from app.api.guards import Guards
from app.api.indexing_schema import SolveRequest
from app.api.json_arrays import MAX_LISTS, MAX_VALUES, arrays_from_json
from app.api.negotiation import accepted_format, content_type
from app.api.open_inference import read_inference
from app.api.polarization_cases import cases_from_experiments
from app.api.polarization_schema import EXAMPLES, PredictRequest
from app.api.prefer import preference
from app.api.schema import JsonBody
from app.errors import TooLarge
from app.indexing.question import ask
from app.main import create_app
from app.settings import Settings
from tests.aggregates.image_files import npy
from tests.fakes import FakeModel, FakeRegistry
from tests.hostile import FEW, MANY, gives_nothing_away, hostile, survives

ITEMS: Final = 100_000
TOLD: Final = (HTTPException, RequestValidationError)
"""What the edge turns into a problem beside `AppError`."""

NUMBERS: Final = np.arange(12.0).reshape(3, 4)
ENCODED: Final = base64.b64encode(NUMBERS.tobytes()).decode()


def inference(binary: bool) -> bytes:
    tensor: dict[str, Any] = {"name": "features", "shape": [3, 4], "datatype": "FP64"}
    tensor |= {"parameters": {"binary_data_size": NUMBERS.nbytes}} if binary else {"data": NUMBERS.ravel().tolist()}
    asked = {"id": "7", "inputs": [tensor], "outputs": [{"name": "p", "parameters": {"binary_data": True}}]}
    return orjson.dumps(asked) + (NUMBERS.tobytes() if binary else b"")


HEADER: Final = len(inference(binary=True)) - NUMBERS.nbytes
ARRAYS: Final = tuple(
    orjson.dumps(value)
    for value in (
        {"waveforms": NUMBERS.tolist(), "show": [0], "detector": {"name": "reference"}},
        {"waveforms": {"data_base64": ENCODED, "dtype": "float64", "shape": [3, 4]}, "prior_two": 0.5},
        {"waveforms": {"data_base64": base64.b64encode(npy(NUMBERS)).decode()}},
    )
)
OBJECTS: Final = tuple(orjson.dumps(orjson.loads(one)["waveforms"]) for one in ARRAYS[1:])
DECAYS: Final = tuple(orjson.dumps(example["value"]) for example in EXAMPLES.values())
LINES: Final = (
    orjson.dumps({"two_theta_deg": [17.1, 22.9, 24.2, 26.6, 28.7, 30.5, 31.8], "wavelength_ang": 1.5406}),
    orjson.dumps({"d_ang": [9.0 / n for n in range(1, 9)], "sigma_d_ang": 0.01, "lattices": ["cP"], "max_seconds": 1}),
)
DECAY_BODY: Final = JsonBody(PredictRequest, examples={})
LINES_BODY: Final = JsonBody(SolveRequest, examples={})


def asked_lines(body: bytes) -> object:
    asked = LINES_BODY.parse(body)
    return ask(asked.lines(), asked.changes(), name=asked.name or "")


def from_object(body: bytes) -> object:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return array_from_base64(value, ITEMS) if isinstance(value, dict) else None


def headers(content: bytes) -> object:
    text = content.decode("latin-1")
    Guards().refusal({"method": "POST", "query_string": b"", "server": ("127.0.0.1", 1)}, {b"host": content})
    return accepted_format(text), content_type(text), preference([text, text]).patience_s(10.0)


PARSERS: Final[dict[str, tuple[Callable[[bytes], object], tuple[bytes, ...]]]] = {
    "arrays in JSON": (lambda body: arrays_from_json(body, ("waveforms", "mask"), ITEMS, "inputs"), ARRAYS),
    "arrays in base64": (from_object, OBJECTS),
    "inference": (lambda body: read_inference(body, None, ITEMS), (inference(binary=False),)),
    "tensors": (lambda body: read_inference(body, str(HEADER), ITEMS), (inference(binary=True),)),
    "length of the header": (
        lambda text: read_inference(inference(binary=True), text.decode("latin-1"), ITEMS),
        (str(HEADER).encode(),),
    ),
    "decays": (lambda body: cases_from_experiments(DECAY_BODY.parse(body).experiments, "sloped", 1000), DECAYS),
    "lines": (asked_lines, LINES),
    "headers": (headers, (b"application/json;q=0.5, */*", b"respond-async, wait=5", b"127.0.0.1:8000", b"[::1]:80")),
}


@pytest.mark.parametrize("name", PARSERS)
@FEW
@given(data=st.data())
def test_a_hostile_body_is_read_or_refused(name: str, data: st.DataObject) -> None:
    read, valid = PARSERS[name]
    survives(read, data.draw(hostile(valid)), also=TOLD)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
@MANY
@given(data=st.data())
def test_very_many_hostile_bodies_are_read_or_refused(name: str, data: st.DataObject) -> None:
    read, valid = PARSERS[name]
    survives(read, data.draw(hostile(valid)), also=TOLD)


@pytest.mark.parametrize("depth", [100, 1_000, 100_000])
def test_nesting_of_any_depth_is_read_or_refused(depth: int) -> None:
    for opening, closing in (("[", "]"), ('{"waveforms":', "}"), ('{"inputs":[', "]}")):
        for body in (opening * depth, opening * depth + "1" + closing * depth):
            for read, _ in PARSERS.values():
                survives(read, body.encode(), also=TOLD)


@pytest.mark.parametrize("digits", [30, 5_000, 100_000])
def test_numbers_of_any_length_are_read_or_refused(digits: int) -> None:
    for number in ("9" * digits, "0." + "1" * digits, "1e" + "9" * digits, "-" + "0" * digits):
        for valid in (ARRAYS[0], inference(binary=False), LINES[0], DECAYS[0]):
            for name in (b"0.0", b"17.1", b"2.3", b"1.0"):
                body = valid.replace(name, number.encode(), 1)
                for read, _ in PARSERS.values():
                    survives(read, body, also=TOLD)


def test_more_values_than_memory_is_meant_for_are_not_read() -> None:
    """Each value and each list takes many times its length."""
    lists = b'{"waveforms": [' + b"[0]," * MAX_LISTS + b"[0]]}"
    values = b'{"waveforms": [' + b"0," * MAX_VALUES + b"0]}"
    for body, said in ((lists, "more than 500000 lists"), (values, "more than 16777215 values")):
        with pytest.raises(TooLarge, match=said):
            arrays_from_json(body, ("waveforms",), 10**9)
    with pytest.raises(TooLarge, match="values"):
        read_inference(values.replace(b"waveforms", b"inputs"), None, 10**9)


def test_shapes_that_multiply_to_anything_are_refused() -> None:
    for shape in ([2**62] * 8, [0, 2**62], [-1, -1], [1] * 1000, [2**63 - 1], ["3"], [3.0], [True, 3, 4]):
        for dtype in DTYPES:
            value = {"data_base64": ENCODED, "dtype": dtype, "shape": shape}
            with pytest.raises(Exception, match=r"shape|numbers"):
                array_from_base64(value, ITEMS)


# --- over HTTP --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = create_app(Settings(), registry=FakeRegistry([FakeModel("decay", "1")]))
    with TestClient(app) as client:
        yield client


FORM: Final = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.xy"\r\nContent-Type: text/plain\r\n\r\n'
    b"10 1\n11 2\n\r\n--b--\r\n"
)
QUERIES: Final = (
    b"filename=a.xy&axis=d_ang&min_snr=5&two_theta_min_deg=1&format=json&max_peaks=10",
    b"model=decay&version=stable&step_s=60&correction=none&threshold_polarization=0.5",
    b"sample_period_ns=10&show=0,1&length=resample&drift_time_us=5&prior_two=0.5&pulses=true",
    b"particle_radius_nm=50&centre_px=1,2&mask_marks=good&first=0&count=1",
)
ADDRESSES: Final = ("/indexing/peaks", "/polarization/predict/file", "/waveform/file", "/aggregates/file", "/waveform")


def answered(client: TestClient, method: str, address: str, **sent: Any) -> None:
    response = client.request(method, address, **sent)
    assert response.status_code < 500, response.text[:500]
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        gives_nothing_away(response.text)


@FEW
@given(address=st.sampled_from(ADDRESSES), query=hostile(QUERIES))
def test_a_hostile_query_is_answered(client: TestClient, address: str, query: bytes) -> None:
    plain = "".join(chr(byte) if 32 < byte < 127 and byte not in b"#%" else f"%{byte:02X}" for byte in query)
    answered(client, "POST", f"{address}?{plain}", content=b"10 1\n11 2\n", headers={"Content-Type": "text/plain"})


@FEW
@given(address=st.sampled_from(ADDRESSES), body=hostile((FORM, FORM.replace(b'"file"', b'"files"'))))
def test_a_hostile_form_is_answered(client: TestClient, address: str, body: bytes) -> None:
    answered(client, "POST", address, content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})


NAMES: Final = (b"Authorization", b"Idempotency-Key", b"Last-Event-ID", b"Prefer", b"Accept", b"X-Request-ID", b"Host")
VALUES: Final = (b"Apikey abcdefgh12345678", b"Bearer e30.e30.e30", b"respond-async, wait=5", b"text/csv;q=0.1", b"41")


@FEW
@given(name=st.sampled_from(NAMES), value=hostile(VALUES))
def test_a_hostile_header_is_answered(client: TestClient, name: bytes, value: bytes) -> None:
    for method, address in (("GET", "/jobs"), ("GET", "/jobs/abc/events"), ("POST", "/indexing/solve")):
        answered(client, method, address, headers=[(name, value.replace(b"\r", b"").replace(b"\n", b""))])


@pytest.mark.parametrize("parts", [3, 2_000])
def test_forms_of_many_parts_are_refused(client: TestClient, parts: int) -> None:
    part = FORM.removesuffix(b"--b--\r\n")
    for one in (part, part.replace(b'; filename="a.xy"', b""), part.replace(b"text/plain", b"a" * 5000)):
        response = client.post(
            "/indexing/peaks",
            content=one * parts + b"--b--",
            headers={"Content-Type": "multipart/form-data; boundary=b"},
        )
        assert response.status_code in (400, 422)


def test_an_idempotency_key_has_a_length(client: TestClient) -> None:
    for length, status in ((0, 422), (201, 422), (30_000, 422)):
        response = client.post("/indexing/solve", content=LINES[0], headers={"Idempotency-Key": "k" * length})
        assert response.status_code == status
        assert response.json()["errors"][0]["loc"] == ["header", "idempotency-key"]
