"""One caller cannot take the service for itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api.access import Scope
from app.api.rates import KEPT, Rates
from app.errors import RateLimited
from tests.api.access_client import application, key
from tests.api.test_problems import assert_problem


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def from_address(address: str) -> dict[str, object]:
    return {"client": (address, 50_000)}


def passed(rates: Rates, name: str, address: str = "10.0.0.1", *, asked: int) -> int:
    """How many of these requests pass."""
    count = 0
    for _ in range(asked):
        try:
            rates.take(name, from_address(address))
            count += 1
        except RateLimited:
            pass
    return count


@pytest.mark.parametrize("per_s", [0.5, 5.0, 50.0])
def test_a_burst_passes_and_then_as_many_as_the_setting_says(per_s: float) -> None:
    clock = Clock()
    rates = Rates(per_s, clock=clock)
    burst = passed(rates, "key:a", asked=1000)
    assert burst == max(10, int(2 * per_s))
    total = 0
    for _ in range(100):
        clock.now += 1.0
        total += passed(rates, "key:a", asked=200)
    assert total == pytest.approx(100 * per_s, abs=1)


def test_who_waits_as_long_as_told_gets_through() -> None:
    clock = Clock()
    rates = Rates(0.2, clock=clock)
    passed(rates, "key:a", asked=100)
    for _ in range(5):
        with pytest.raises(RateLimited) as refused:
            rates.take("key:a", from_address("10.0.0.1"))
        clock.now += float(str(refused.value.details["retry_after_s"]))
        rates.take("key:a", from_address("10.0.0.1"))


def test_keys_and_addresses_do_not_take_from_each_other() -> None:
    rates = Rates(5, clock=Clock())
    assert passed(rates, "key:a", asked=50) == 10
    assert passed(rates, "key:b", asked=50) == 10
    assert passed(rates, "", "10.0.0.1", asked=50) == 10
    assert passed(rates, "", "10.0.0.2", asked=50) == 10
    # A key is counted as one from wherever it is used.
    assert passed(rates, "key:a", "10.0.0.9", asked=1) == 0


def test_an_ipv6_network_is_one_caller() -> None:
    rates = Rates(5, clock=Clock())
    assert sum(passed(rates, "", f"2001:db8:1:2::{n:x}", asked=1) for n in range(50)) == 10
    assert passed(rates, "", "2001:db8:1:3::1", asked=1) == 1
    assert passed(rates, "", "10.0.0.1", asked=50) == 10
    assert passed(rates, "", "::ffff:10.0.0.1", asked=1) == 0
    assert passed(rates, "", "unix:", asked=1) == 1


def test_no_more_callers_are_remembered_than_fit() -> None:
    rates = Rates(5, clock=Clock())
    for number in range(KEPT + 500):
        rates.take(f"key:{number}", from_address("10.0.0.1"))
    assert len(rates._buckets) == KEPT


def test_over_http(tmp_path: Path) -> None:
    sent = key(tmp_path, "fast", Scope.PREDICT)
    other = key(tmp_path, "calm", Scope.PREDICT)
    with TestClient(application(tmp_path, requests_per_s=0.01)) as client:
        answers = [client.get("/models", headers=sent) for _ in range(11)]
        assert [answer.status_code for answer in answers] == [200] * 10 + [429]
        assert_problem(answers[-1], "rate-limited")
        assert 0 < int(answers[-1].headers["retry-after"]) <= 100
        assert client.get("/models", headers=other).status_code == 200
        # Probes are not counted; attempts with wrong keys are, for their address.
        assert {client.get("/health/live").status_code for _ in range(30)} == {200}
        tried = [client.get("/models", headers={"Authorization": f"Apikey {n}"}).status_code for n in range(12)]
        assert tried == [401] * 10 + [429] * 2
