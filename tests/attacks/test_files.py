"""Files that run code, point elsewhere or unpack to more than there is, sent to every endpoint that takes a file."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import httpx
import joblib
import numpy as np
import pytest

from tests.attacks.operations import Operation
from tests.faults.service import Service

SECRET = b"the secret of the machine"
REFUSED = (400, 413, 415, 422)


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        import os

        return os.system, (self.command,)


class Evaluates:
    """Evaluates an expression when it is unpickled, by way of NumPy."""

    def __init__(self, expression: str) -> None:
        self.expression = expression

    def __reduce__(self) -> tuple[Any, tuple[str, dict[str, Any]]]:
        from numpy.testing._private.utils import runstring

        return runstring, (self.expression, {})


def touching(marker: Path) -> str:
    return f"touch {marker}"


def by_joblib(value: Any, compress: Any) -> bytes:
    content = io.BytesIO()
    joblib.dump(value, content, compress=compress)
    return content.getvalue()


def npy(header: str) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def of_shape(shape: str, descr: str = "'<f8'") -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}") + bytes(64)


def objects(marker: Path) -> bytes:
    content = io.BytesIO()
    np.save(content, np.array([Runs(touching(marker))], dtype=object), allow_pickle=True)
    return content.getvalue()


def zipped(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name.replace("__", "."), member)
    return content.getvalue()


def many_members(count: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.xy", b"")
    return content.getvalue()


def overlapping() -> bytes:
    """Many entries of the directory that are one and the same megabyte."""
    one = zipped(a__xy=b"1 2\n" * 250_000)
    start = one.index(b"PK\x01\x02")
    entry, end = one[start : one.index(b"PK\x05\x06")], one[one.index(b"PK\x05\x06") :]
    count = 500
    closing = end[:8] + struct.pack("<HHI", count, count, count * len(entry)) + end[16:]
    return one[:start] + entry * count + closing


def hdf5(build: Callable[[h5py.File], object]) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        build(file)
    return content.getvalue()


def elsewhere(folder: Path) -> bytes:
    """Data of a file of this machine, in every way that HDF5 knows."""

    def build(file: h5py.File) -> None:
        raw = [(str(folder / "secret"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("raw", (1, len(SECRET)), "u1", external=raw)
        file["link"] = h5py.ExternalLink(str(folder / "secret.h5"), "/data")
        layout = h5py.VirtualLayout((1, len(SECRET)), "u1")
        layout[...] = h5py.VirtualSource(str(folder / "secret.h5"), "data", (1, len(SECRET)))
        file.create_virtual_dataset("virtual", layout)

    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["data"] = np.frombuffer(SECRET, "u1")[None]
    return hdf5(build)


def without_end(file: h5py.File) -> None:
    file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")
    file.create_dataset("huge", (10**6, 5000, 5000), "f8", chunks=(1, 100, 100), compression="gzip")


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    )


def tiff() -> bytes:
    """An image of four thousand million points, whose directory is its own successor."""
    tags = [
        (256, 4, 65_536),
        (257, 4, 65_536),
        (258, 3, 16),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (278, 4, 65_536),
        (279, 4, 2**31),
    ]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + body + struct.pack("<I", 8)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
XML = {
    "XML, entity bomb": f'<!DOCTYPE x [<!ENTITY l0 "lol">{LAUGHS}]><xrdMeasurements>&l9;</xrdMeasurements>',
    "XML, a file": '<!DOCTYPE x [<!ENTITY s SYSTEM "file:///etc/passwd">]><xrdMeasurements>&s;</xrdMeasurements>',
    "XML, the network": '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><xrdMeasurements/>',
    "XML, nested": "<xrdMeasurements>" + "<a>" * 200_000,
}


def always(text: str) -> Callable[[Path], bytes]:
    return lambda _: text.encode()


FILES: dict[str, Callable[[Path], bytes]] = {
    "pickle": lambda folder: pickle.dumps(Runs(touching(folder / "marker"))),
    "pickle, protocol 0": lambda folder: pickle.dumps(Runs(touching(folder / "marker")), 0),
    "pickle, by NumPy": lambda folder: pickle.dumps(Evaluates(f"open({str(folder / 'marker')!r}, 'w')")),
    "joblib": lambda folder: by_joblib(Runs(touching(folder / "marker")), 0),
    "joblib, zlib": lambda folder: by_joblib(Runs(touching(folder / "marker")), ("zlib", 3)),
    "joblib, lzma": lambda folder: by_joblib(Runs(touching(folder / "marker")), ("lzma", 3)),
    "keras": lambda folder: zipped(config__json=b'{"class_name": "Lambda"}', model__weights=elsewhere(folder)),
    "npy, objects": lambda folder: objects(folder / "marker"),
    "npy, objects in a zip": lambda folder: zipped(waveforms__npy=objects(folder / "marker")),
    "npy, huge": lambda _: of_shape("(1000000000, 5000)"),
    "npy, overflow": lambda _: of_shape("(4294967296, 4294967296)"),
    "npy, below nothing": lambda _: of_shape("(-1, 5000)"),
    "npy, nested": lambda _: npy("(" * 60_000),
    "npy, code": lambda folder: npy(f"__import__('os').system({touching(folder / 'marker')!r})"),
    "npy, no bytes each": lambda _: of_shape("(1000000000000,)", "'|V0'"),
    "zip bomb": lambda _: zipped(a__xy=bytes(30_000_000)),
    "zip bomb in an npz": lambda _: zipped(waveforms__npy=of_shape("(500, 5001)") + bytes(20_000_000)),
    "zip in a zip": lambda _: zipped(a__zip=zipped(a__xy=b"1 2\n")),
    "zip, overlapping": lambda _: overlapping(),
    "zip, 4,000 members": lambda _: many_members(4_000),
    "zip, out of the folder": lambda _: zipped(**{"/__/__/__/etc/cron__d/x": b"1 2\n"}),
    "png, huge": lambda _: png(60_000, 60_000),
    "tiff, huge": lambda _: tiff(),
    "text without an end": lambda _: b"1" * 3_000_000,
    "numbers without an end": lambda _: (b"1" * 300_000 + b" 1\n") * 10,
    "NULs": lambda _: bytes(1_000_000),
    "expression": lambda folder: f"__import__('os').system('{touching(folder / 'marker')}')\n".encode() * 20,
    **{name: always(text) for name, text in XML.items()},
}  # fmt: skip
SLOW_TO_READ: dict[str, Callable[[Path], bytes]] = {
    "HDF5, elsewhere": elsewhere,
    "HDF5, without an end": lambda _: hdf5(without_end),
    "HDF5, cut": lambda folder: elsewhere(folder)[:-500],
}
"""A child process reads them."""


def is_refused(answer: httpx.Response) -> bool:
    """Whether nothing was made of it: of many files that is told in the place of each, of text for each line."""
    if answer.status_code != 200:
        return answer.status_code in REFUSED
    told = answer.json()
    if "answers" in told:
        return all(entry["error"] and not entry["result"] for entry in told["answers"])
    return told["segments"] == [] and bool(told["damaged"])


def assert_refused(service: Service, operation: Operation, name: str, content: bytes) -> None:
    field = "files" if operation.path.endswith("/files") else "file"
    for ending in ("", ".xrdml"):
        answer = service.http.post(operation.path, files={field: (f"x{ending}", content)})
        told = answer.text
        assert is_refused(answer), (operation.template, name, ending, answer.status_code, told[:300])
        assert len(answer.content) < 100_000
        assert not any(word in told for word in (SECRET.decode(), "root:", "Traceback", "/site-packages/"))


def file_posts(posts: list[Operation]) -> list[Operation]:
    return [operation for operation in posts if "multipart/form-data" in operation.media_types]


@pytest.mark.parametrize("attack", FILES)
def test_a_hostile_file_is_refused_everywhere(
    service: Service, posts: list[Operation], tmp_path: Path, attack: str
) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    content = FILES[attack](tmp_path)
    for operation in file_posts(posts):
        assert_refused(service, operation, attack, content)
    assert not (tmp_path / "marker").exists(), "it ran"


@pytest.mark.parametrize("attack", SLOW_TO_READ)
def test_a_hostile_hdf5_file_is_refused(service: Service, tmp_path: Path, attack: str) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    content = SLOW_TO_READ[attack](tmp_path)
    for path in ("/waveform/file", "/aggregates/file"):
        answer = service.http.post(path, files={"file": ("x.h5", content)})
        assert answer.status_code in REFUSED, (path, answer.status_code, answer.text[:300])
        assert SECRET.decode() not in answer.text


@pytest.mark.parametrize("attack", FILES)
def test_a_hostile_file_as_the_body_is_refused(
    service: Service, posts: list[Operation], tmp_path: Path, attack: str
) -> None:
    content = FILES[attack](tmp_path)
    for operation in posts:
        for media_type in set(operation.media_types) - {"multipart/form-data", "application/json"}:
            answer = service.http.post(operation.path, content=content, headers={"Content-Type": media_type})
            assert is_refused(answer), (operation.template, media_type, answer.status_code, answer.text[:300])
    assert not (tmp_path / "marker").exists(), "it ran"
