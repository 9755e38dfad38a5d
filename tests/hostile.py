"""What strangers may send, for tests: valid content that was damaged, its words in another order, and plain noise."""

from __future__ import annotations

import re
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from app.errors import AppError

REPOSITORY: Final = Path(__file__).resolve().parents[1]
MEMORY_BYTES: Final = 48 * 1024**2
"""What a reader may take beside its input, with the limits that these tests set, and to import what it needs."""

FEW: Final = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
"""For every run of the tests: the same examples each time."""
MANY: Final = settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
"""For the slow ones: other examples each time."""

_WORDS: Final = re.compile(rb"[A-Za-z_]+|[-+.\d]+|\s+|.", re.DOTALL)
_NUMBERS: Final = (b"0", b"-1", b"1e999", b"nan", b"inf", b"9" * 40, b"1e-320", b"4294967295", b"2147483648", b"1_0")


def _damaged(content: bytes, damages: Sequence[tuple[str, float, bytes]]) -> bytes:
    """Content after each of the damages: what is done, where (0 to 1), and with which bytes."""
    for what, place, data in damages:
        at = int(place * len(content))
        if what == "put":
            content = content[:at] + data + content[at + len(data) :]
        elif what == "insert":
            content = content[:at] + data + content[at:]
        elif what == "cut":
            content = content[:at]
        elif what == "drop":
            content = content[:at] + content[at + 1 + len(data) :]
        else:
            content = content + content[at:]
    return content


_DAMAGE = st.tuples(
    st.sampled_from(["put", "put", "put", "insert", "drop", "cut", "repeat"]),
    st.floats(0, 1, exclude_max=True),
    st.binary(min_size=1, max_size=1) | st.sampled_from(_NUMBERS) | st.binary(max_size=8),
)


@st.composite
def _shuffled(draw: st.DrawFn, valid: Sequence[bytes]) -> bytes:
    """Words of valid content in any order, and numbers that are none."""
    words = sorted({*_WORDS.findall(draw(st.sampled_from(valid))[:4000]), *_NUMBERS})
    return b"".join(draw(st.lists(st.sampled_from(words), max_size=60)))


def hostile(valid: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Damaged, shuffled or random content, with the beginning of a valid one in front of it or not.

    Args:
        valid: what the reader takes.
    """
    damaged = st.builds(_damaged, st.sampled_from(valid), st.lists(_DAMAGE, min_size=1, max_size=6))
    beginnings = st.builds(lambda content, n: content[:n], st.sampled_from(valid), st.sampled_from([0, 4, 8, 64]))
    noise = st.builds(bytes.__add__, beginnings, st.binary(max_size=300))
    return st.one_of(damaged, damaged, _shuffled(valid), noise)


def survives(
    read: Callable[[bytes], object],
    content: bytes,
    *,
    also: tuple[type[Exception], ...] = (),
    memory: int = MEMORY_BYTES,
) -> None:
    """Hold a reader to its promise: a result, or an error that gives nothing away, with a bound on its memory.

    Args:
        also: errors that may be raised beside `AppError`.
    """
    tracemalloc.start()
    try:
        read(content)
    except (AppError, *also) as error:
        gives_nothing_away(str(error))
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < memory + 100 * len(content)


def gives_nothing_away(text: str) -> None:
    """A message names no place of this machine, and is no copy of its input."""
    for secret in (str(REPOSITORY), sys.prefix, sys.base_prefix, tempfile.gettempdir(), "site-packages", "Traceback"):
        assert secret not in text
    assert len(text) < 5000
