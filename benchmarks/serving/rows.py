"""What is asked: the rows of the table, each a payload in the form that a server understands, and its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from benchmarks.serving.networks import DIGITS, Arrays, Asked, Prepared
from benchmarks.serving.servers import Server, Speaks
from benchmarks.serving_arrays import CASES
from benchmarks.serving_polarization import PAYLOAD

PARITY: Final = 1e-5
JSON: Final = "application/json"
LENGTH: Final = "Inference-Header-Content-Length"


class WrongAnswer(Exception):
    """A server answered, but not as Keras does."""


@dataclass(frozen=True)
class Request:
    """One request as bytes, and how to hold its answer against what is right."""

    content: bytes
    check: Callable[[bytes, bytes], None]
    body_bytes: int = 0


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        title: for the report.
        form: of the payload.
        request: for a server; None where it has no such form.
        model: published model or network that answers, for its own time.
        has_peers: other servers answer it too.
    """

    name: str
    title: str
    form: Literal["json", "binary"]
    request: Callable[[Server], Request | None]
    model: str
    has_peers: bool = False


Make = Callable[[Server, Asked], Request]


@dataclass(frozen=True)
class _Body:
    content: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": JSON})


def http(path: str, body: _Body, check: Callable[[bytes, bytes], None]) -> Request:
    """One HTTP request over a kept connection."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body.content)}"]
    lines += [f"{name}: {value}" for name, value in body.headers.items()]
    return Request("\r\n".join((*lines, "", "")).encode() + body.content, check, len(body.content))


def make_rows(prepared: Prepared) -> dict[str, Row]:
    """All rows by name."""
    mlp, cnn1d = prepared.asked["mlp"], prepared.asked["cnn1d"]
    rows = [
        network_row("mlp-json", "MLP, 50 times, JSON", mlp, "json"),
        network_row("cnn1d-json", "CNN1D, 5,000 samples, JSON", cnn1d, "json"),
        network_row("cnn1d-binary", "CNN1D, 5,000 samples, binary", cnn1d, "binary"),
        _domain(
            ("polarization-json", "polarization, 50 times, JSON", "polarization-crystalline"),
            "/polarization/predict",
            _Body(json.dumps(PAYLOAD).encode()),
        ),
        _case(("waveform-binary", "waveform, open inference binary", "waveform-s2"), "1 waveform, open inference"),
        _case(("waveform-npy", "waveform, .npy", "waveform-s2"), "1 waveform, npy"),
        _case(("aggregates-binary", "aggregates, 64 x 64, .npy", "aggregates-count"), "1 pattern, npy"),
    ]
    return {row.name: row for row in rows}


# --- rows of the networks ---------------------------------------------------------------------------------------------


def network_row(name: str, title: str, asked: Asked, form: Literal["json", "binary"]) -> Row:
    """A row that asks one network."""
    understood = _SPEAK_JSON if form == "json" else _SPEAK_BINARY

    def request(server: Server) -> Request | None:
        make = understood.get(server.speaks)
        return make and make(server, asked)

    return Row(name, title, form, request, asked.name, has_peers=True)


def _infer_path(asked: Asked) -> str:
    return f"/v2/models/{asked.name}/infer"


def _described(asked: Asked, extra: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": list(array.shape), "datatype": "FP32", **extra(name)}
        for name, array in asked.inputs.items()
    ]


def _open_json(asked: Asked) -> _Body:
    return _Body(_dumped({"inputs": _described(asked, lambda name: {"data": _numbers(asked.inputs[name].ravel())})}))


def _open_binary(asked: Asked) -> _Body:
    inputs = _described(asked, lambda name: {"parameters": {"binary_data_size": asked.inputs[name].nbytes}})
    head = _dumped({"inputs": inputs, "parameters": {"binary_data_output": True}})
    content = b"".join([head, *(array.tobytes() for array in asked.inputs.values())])
    return _Body(content, {"Content-Type": "application/octet-stream", LENGTH: str(len(head))})


def _plain(asked: Asked) -> _Body:
    return _Body(_dumped({name: [_numbers(row) for row in array] for name, array in asked.inputs.items()}))


def _numbers(row: np.ndarray) -> list[float]:
    return [round(float(value), DIGITS) for value in row]


def _dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _echoed(server: Server, body: _Body) -> Request:
    def check(_head: bytes, answer: bytes) -> None:
        same = (
            json.loads(answer) == json.loads(body.content) if server.speaks == "parsed-echo" else answer == body.content
        )
        if not same:
            raise WrongAnswer("the echo gave back something else")

    return http(server.path, body, check)


def _infers(body: Callable[[Asked], _Body]) -> Make:
    return lambda _, asked: http(_infer_path(asked), body(asked), _same(asked, _tensors))


_SPEAK_JSON: Final[Mapping[Speaks, Make]] = {
    "echo": lambda server, asked: _echoed(server, _open_json(asked)),
    "service": _infers(_open_json),
    "open-inference": _infers(_open_json),
    "open-inference-json": _infers(_open_json),
    "own": lambda _, asked: http(f"/{asked.name}", _plain(asked), _same(asked, _by_name)),
}
_SPEAK_BINARY: Final[Mapping[Speaks, Make]] = {
    "echo": lambda server, asked: _echoed(server, _open_binary(asked)),
    "service": _infers(_open_binary),
    "open-inference": _infers(_open_binary),
}


def _same(asked: Asked, read: Callable[[bytes, bytes], Arrays]) -> Callable[[bytes, bytes], None]:
    """Hold an answer against Keras."""

    def check(head: bytes, body: bytes) -> None:
        try:
            found = read(head, body)
            worst = max(
                float(np.abs(found[name].reshape(array.shape) - array).max()) for name, array in asked.expected.items()
            )
        except (ValueError, KeyError, TypeError) as error:
            raise WrongAnswer(f"an answer of another form: {body[:120]!r}") from error
        if not worst <= PARITY:
            raise WrongAnswer(f"differs from Keras by {worst:.2g}")

    return check


def _by_name(_head: bytes, body: bytes) -> Arrays:
    return {name: np.array(values) for name, values in json.loads(body).items()}


def _tensors(head: bytes, body: bytes) -> Arrays:
    length = _header(head, LENGTH)
    described = json.loads(body[: int(length)] if length else body)["outputs"]
    left = body[int(length) :] if length else b""
    found: dict[str, np.ndarray] = {}
    for tensor in described:
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is None:
            found[tensor["name"]] = np.array(tensor["data"])
        else:
            found[tensor["name"]], left = np.frombuffer(left[:size], np.float32), left[size:]
    return found


def _header(head: bytes, name: str) -> str | None:
    for line in head.decode("latin-1").split("\r\n"):
        if line.lower().startswith(f"{name.lower()}:"):
            return line.partition(":")[2].strip()
    return None


# --- rows of the service alone ----------------------------------------------------------------------------------------


def _case(names: Sequence[str], case: str) -> Row:
    chosen = CASES[case]
    return _domain(names, chosen.path, _Body(chosen.body(), chosen.headers))


def _domain(names: Sequence[str], path: str, body: _Body) -> Row:
    name, title, model = names
    is_json = body.headers["Content-Type"] == JSON

    def request(server: Server) -> Request | None:
        if server.speaks == "service":
            return http(path, body, _answers)
        if server.speaks == "echo" or (server.speaks == "parsed-echo" and is_json):
            return _echoed(server, body)
        return None

    return Row(name, title, "json" if is_json else "binary", request, model)


def _answers(head: bytes, body: bytes) -> None:
    """What the answers of the service's own endpoints should be is said by their tests."""
    if not body or (b"application/json" in head.lower() and not isinstance(json.loads(body), dict)):
        raise WrongAnswer("an empty answer")
