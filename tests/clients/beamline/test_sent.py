"""What is sent is what was meant, and a key is shown nowhere."""

from __future__ import annotations

import io
import json
import logging
from base64 import b64decode
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.api.arrays import array_from_base64
from beamline_client import AsyncClient, Client, columns

SECRET = "0123456789abcdef"
LOCAL = datetime(2026, 6, 5, 16)  # noqa: DTZ001  local time of the instrument, as D3 writes it


class Kept:
    """A network that keeps what was sent."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, content=b"picture")

    def client(self, url: str = "http://service", **options: Any) -> Client:
        return Client(url, http=httpx.Client(transport=httpx.MockTransport(self)), **options)

    @property
    def json(self) -> Any:
        return json.loads(self.requests[-1].content)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<u2", ">i8", "bool", "float16"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_arrives_as_it_is(dtype: str, order: Any) -> None:
    array = np.asarray(np.arange(12).reshape(3, 4) % 7, dtype=dtype, order=order)
    (kept := Kept()).client().waveform(array, picture="png")
    np.testing.assert_array_equal(array_from_base64(kept.json["waveforms"], 100), array)


def test_part_of_an_array_arrives_as_it_is() -> None:
    array = np.arange(60.0).reshape(6, 10)[::2, 1::3]
    (kept := Kept()).client().aggregates(array, mask=array > 3, radius_px=5, centre_px=(1.5, 2), picture="svg")
    np.testing.assert_array_equal(array_from_base64(kept.json["patterns"], 100), array)
    np.testing.assert_array_equal(array_from_base64(kept.json["mask"], 100), array > 3)
    assert kept.json["centre_px"] == [1.5, 2]


class OfAnotherLibrary:
    """Has an array, as those of pandas, xarray and h5py do, and is none."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.arange(4.0)


def test_an_array_of_another_library_becomes_one() -> None:
    (kept := Kept()).client().waveform(OfAnotherLibrary(), picture="png")
    assert b64decode(kept.json["waveforms"]["data_base64"]) == np.arange(4.0).tobytes()


def test_numbers_of_any_sort_become_json() -> None:
    kept = Kept()
    kept.client().solve(d_ang=np.array([4.0, 3.0]), max_peaks=np.int64(7), sigma_d_ang=np.float32(0.5), picture="png")  # pyright: ignore[reportArgumentType]
    assert kept.json == {"d_ang": [4.0, 3.0], "max_peaks": 7, "sigma_d_ang": 0.5}


def test_date_times_become_iso() -> None:
    polarizer: Any = {"cell_id": "a", "pressure_bar": 2, "lab_polarization": 0.8, "lab_time": LOCAL}
    (kept := Kept()).client().predict_polarization({"material": "crystalline", "polarizer": polarizer}, picture="png")
    assert kept.json["experiments"][0]["polarizer"]["lab_time"] == "2026-06-05T16:00:00"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.array([1.0, np.nan])])
def test_what_json_cannot_say_is_not_sent(value: Any) -> None:
    kept = Kept()
    with pytest.raises(ValueError, match="finite"):
        kept.client().solve(d_ang=[1.0], intensity=value, picture="png")
    assert kept.requests == []


@pytest.mark.parametrize("kind", ["path", "text", "open", "bytes"])
def test_a_file_comes_in_any_form(kind: str, tmp_path: Path) -> None:
    path = tmp_path / 'día 1; "x".xy'
    path.write_bytes(b"1 2\n")
    with path.open("rb") as opened:
        file: Any = {"path": path, "text": str(path), "open": opened, "bytes": b"1 2\n"}[kind]
        name: Any = {"filename": path.name} if kind == "bytes" else {}
        kept = Kept()
        kept.client().solve_file(file, lattices=["cF", "cP"], learned=False, picture="png", **name)
    request = kept.requests[0]
    assert dict(request.url.params) == {"lattices": "cF,cP", "learned": "false"}
    assert b"1 2\n" in request.content
    assert "día 1; ".encode() in request.content


def test_columns_are_a_text_file() -> None:
    text = columns([10.0, 20.5], np.array([1, 2], np.uint16))
    np.testing.assert_array_equal(np.loadtxt(io.BytesIO(text)), [[10.0, 1.0], [20.5, 2.0]])
    with pytest.raises(ValueError, match="shorter"):
        columns([1.0, 2.0], [1.0])


def test_the_path_of_a_proxy_is_kept() -> None:
    (kept := Kept()).client("https://facility.org/models/").waveform([1.0], picture="png")
    assert str(kept.requests[0].url) == "https://facility.org/models/waveform"


def test_a_name_stays_a_name() -> None:
    with pytest.raises(Exception, match="expected JSON"):
        (kept := Kept()).client().model("../jobs?x#")
    assert kept.requests[0].url.raw_path == b"/models/..%2Fjobs%3Fx%23"


def test_a_picture_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="png, svg"):
        Kept().client().waveform([1.0], picture="pdf")  # type: ignore[call-overload]


# --- keys -------------------------------------------------------------------------------------------------------------


def sent_key(**options: Any) -> str | None:
    kept = Kept()
    kept.client(**options).waveform([1.0], picture="png")
    return kept.requests[0].headers.get("authorization")


def test_a_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEAMLINE_API_KEY", raising=False)
    assert sent_key() is None
    assert sent_key(api_key=SECRET + "\n") == f"Apikey {SECRET}"
    assert sent_key(token=SECRET) == f"Bearer {SECRET}"
    assert sent_key(token=lambda: "fresh") == "Bearer fresh"
    monkeypatch.setenv("BEAMLINE_API_KEY", SECRET)
    assert sent_key() == f"Apikey {SECRET}"
    assert sent_key(token="other") == "Bearer other"


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMLINE_URL", "http://elsewhere:1234/")
    assert repr(Client()) == "Client('http://elsewhere:1234')"
    assert repr(AsyncClient()) == "AsyncClient('http://elsewhere:1234')"


def test_a_key_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = Kept().client(api_key=SECRET)
    client.waveform([1.0], picture="png")
    request = Kept()
    request.client(api_key=SECRET).waveform([1.0], picture="png")
    shown = [repr(client), str(vars(client)), repr(vars(client)["_settings"]), caplog.text, repr(request.requests)]
    assert not any(SECRET in text for text in shown)


@pytest.mark.parametrize("key", ["two words", "line\nfeed", "", "  ", "ключ"])
def test_a_key_that_is_none_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ValueError, match="one word") as raised:
        Client(api_key=key or " ").models()
    assert not key.strip() or key.strip() not in str(raised.value)


@pytest.mark.parametrize("url", ["service:8000", "ftp://service", "http://", "http://user:pw@service", "http://a/?b=c"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="address") as raised:
        Client(url)
    assert "pw" not in str(raised.value)


def test_both_a_key_and_a_token_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="not both"):
        Client(api_key=SECRET, token=SECRET)


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert methods(AsyncClient) - {"aclose"} == methods(Client) - {"close"}
    assert methods(type(AsyncClient().jobs)) == methods(type(Client().jobs))
    for name in methods(Client) - {"close"}:
        assert getattr(Client, name).__doc__ == getattr(AsyncClient, name).__doc__
        assert "Raises" in getattr(Client, name).__doc__
