"""The example for bluesky, in a scan of the real run engine, against the service."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.environment import python_with
from tests.served import REPOSITORY


def test_each_pattern_of_a_scan_is_indexed(address: str, key: str) -> None:
    client = REPOSITORY / "clients" / "python"
    script = Path(__file__).with_name("bluesky_session.py")
    done = subprocess.run(
        [str(python_with("bluesky")), str(script), address],
        input=key,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": f"{client}/src:{client}/examples"},
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    first, _second = answer["runs"]
    lab6, flat, silicon_sized = answer["found"]  # none of `baseline`, none of the run without a wavelength
    assert [one["run"] for one in answer["found"]] == [first] * 3
    assert [one["seq_num"] for one in answer["found"]] == [1, 2, 3]
    assert (lab6["bravais"], lab6["a_ang"]) == ("cP", pytest.approx(4.1569, rel=1e-3))
    assert (silicon_sized["bravais"], silicon_sized["a_ang"]) == ("cP", pytest.approx(5.4309, rel=1e-3))
    assert (flat["error"], flat["a_ang"]) == ("InvalidInput", None)
    assert lab6["name"] == "scan 1, event 1.xy"
    assert "no wavelength_ang in its start document" in done.stderr
    # One was asked, one waited, one came on top: none kept the scan, and a listener that fails stops nothing.
    assert answer["crowded"] == ["3 Full", "1 BeamlineError", "2 BeamlineError"]
