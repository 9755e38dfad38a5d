"""Server-sent events are read as the standard says, however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamline_client.events import Event, EventDecoder

STREAM = (
    ': ping\r\n\r\nevent: progress\ndata: {"a":\ndata: "\u2028\x85"}\nid: 7\nretry: 10\n\n'
    "data:no blank\r\rid: 8\ndata\n\nevent: lost\n\nevent: done\ndata: é\nunknown: x\n\ndata: never ended"
).encode()
EVENTS = [
    Event("progress", '{"a":\n"\u2028\x85"}', "7"),
    Event("message", "no blank", "7"),
    Event("message", "", "8"),
    Event("done", "é", "8"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_the_cuts_do_not_matter(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    decoder = EventDecoder()
    found = [event for a, b in pairwise(places) for event in decoder.feed(STREAM[a:b])]
    assert found == EVENTS


@pytest.mark.parametrize("size", [1, 2, 3])
def test_single_bytes_are_enough(size: int) -> None:
    decoder = EventDecoder()
    found = [event for i in range(0, len(STREAM), size) for event in decoder.feed(STREAM[i : i + size])]
    assert found == EVENTS


def test_an_id_with_a_null_does_not_count() -> None:
    assert EventDecoder().feed(b"id: 1\nid: 2\0\ndata: x\n\n") == [Event("message", "x", "1")]
