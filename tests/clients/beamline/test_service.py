"""Both clients against a service of its own process: every method, jobs, errors, a restart."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beamline_client import AsyncClient, Client, Forbidden, InvalidInput, Job, NotFound, Unauthenticated, columns
from tests.clients.beamline.conftest import QUARTZ_D_ANG

PNG = b"\x89PNG\r\n\x1a\n"
EXPERIMENT: Any = {
    "material": "crystalline",
    "polarizer": {"cell_id": "ge18004", "pressure_bar": 2.3, "lab_polarization": 0.78, "lab_time_s": -1980.0},
    "initial": {"polarization": 0.848, "sigma": 0.0021},
    "final": {"time_s": 86400.0, "polarization": 0.792, "sigma": 0.0024},
}


def two_discs() -> np.ndarray:
    """Photons of two touching discs of radius 5 px, 64 x 64 pixels."""
    y, x = np.mgrid[-32:32, -32:32] / 128
    z = 2 * np.pi * 5 * np.maximum(np.hypot(x, y), 1e-9)
    angle = (np.arange(256) + 0.5) * np.pi / 256
    bessel = np.cos(angle - z[..., None] * np.sin(angle)).mean(axis=-1)
    expected = 5e3 * (2 * bessel / z) ** 2 * (2 + 2 * np.cos(2 * np.pi * 10 * x))
    return np.random.default_rng(1).poisson(expected + 0.05).astype(np.uint16)


def pulse() -> np.ndarray:
    return np.random.default_rng(1).poisson(60 * np.exp(-0.5 * ((np.arange(5000) - 2500) / 150.0) ** 2)).astype("u2")


def cubic_pattern() -> bytes:
    """LaB6 at 1.5406 Angstrom: two theta and counts."""
    two_theta = np.arange(15.0, 110.0, 0.02)
    squares = [n for n in range(1, 25) if n not in (7, 15, 23)]
    lines = 2 * np.degrees(np.arcsin(1.5406 * np.sqrt(squares) / (2 * 4.1569)))
    counts = 20 + 2000 * np.exp(-0.5 * ((two_theta[:, None] - lines) / 0.05) ** 2).sum(axis=1)
    return columns(two_theta, np.random.default_rng(1).poisson(counts))


def test_a_decay_is_predicted(service: Client, decay: Path) -> None:
    (one,) = service.predict_polarization(EXPERIMENT).experiments
    assert one.polarization[0] == pytest.approx(0.848, abs=0.005)
    assert one.models[0].alias == "stable"
    (segment,) = service.predict_polarization_file(decay, step_s=3600.0).segments
    assert segment.prediction is not None
    assert np.diff(segment.prediction.time_s) == pytest.approx(3600.0)
    assert service.predict_polarization([EXPERIMENT], picture="png").startswith(PNG)
    assert b"<svg" in service.predict_polarization_file(decay, picture="svg")


def test_a_cell_is_found(service: Client) -> None:
    best = service.solve(d_ang=QUARTZ_D_ANG, name="quartz").solutions[0]
    assert (best.bravais, best.cell.a_ang, best.cell.c_ang) == ("hP", *map(near, (4.913, 5.405)))
    assert best.extinctions[0].space_groups
    assert service.solve(d_ang=QUARTZ_D_ANG, picture="png").startswith(PNG)


def near(value: float) -> Any:
    return pytest.approx(value, rel=1e-3)


def test_a_cell_is_found_from_a_pattern(service: Client) -> None:
    options: Any = {"wavelength_ang": 1.5406, "filename": "scan.xy"}
    found = service.solve_file(cubic_pattern(), **options)
    assert (found.solutions[0].bravais, found.solutions[0].cell.a_ang) == ("cP", near(4.1569))
    peaks = service.find_peaks(cubic_pattern(), **options)
    assert (peaks.name, peaks.n_lines) == ("scan.xy", 17)
    again = service.solve(two_theta_deg=peaks.two_theta_deg or [], wavelength_ang=1.5406)
    assert again.solutions[0].cell.a_ang == near(4.1569)


def test_many_patterns_are_answered_in_their_order_with_progress(service: Client) -> None:
    told: list[Job[Any]] = []
    found = service.solve_batch(
        [{"d_ang": QUARTZ_D_ANG, "name": "a"}, {"d_ang": [4.1, 2.9]}, {"d_ang": QUARTZ_D_ANG, "name": "\u2028"}],
        on_progress=told.append,
    )
    first, bad, last = found.answers
    assert first.result is not None
    assert last.result is not None
    assert bad.error is not None
    assert (first.result.name, last.result.name, bad.error.kind) == ("a", "\u2028", "invalid-input")
    assert told[-1].state == "done"
    assert told[-1].progress == {"done": 3, "total": 3}
    files = service.solve_files(cubic_pattern(), wavelength_ang=1.5406, filename="scan.xy")
    assert [one.file for one in files.answers] == ["scan.xy"]


def test_arrays_and_files_have_one_answer(service: Client, tmp_path: Path) -> None:
    np.save(tmp_path / "pulse.npy", pulse())
    of_array = service.waveform(pulse(), drift_time_us=400.0, pulses=True).waveforms
    assert of_array == service.waveform_file(tmp_path / "pulse.npy", drift_time_us=400.0, pulses=True).waveforms
    assert of_array[0].number_of_s2 in (1, 2)
    assert of_array[0].pulses
    stop = np.hypot(*(np.mgrid[-32:32, -32:32])) <= 3
    np.savez(tmp_path / "discs.npz", data=two_discs(), mask=stop)
    known: Any = {"radius_px": 5.0, "beam_stop_px": 3.0, "centre_px": (32.0, 32.0)}
    of_array = service.aggregates(two_discs(), mask=stop, **known).patterns
    assert of_array == service.aggregates_file(tmp_path / "discs.npz", **known).patterns
    assert of_array[0].count == 2
    assert service.aggregates(two_discs(), picture="png", **known).startswith(PNG)
    assert service.waveform([pulse(), pulse()], picture="png").startswith(PNG)


def test_the_store_is_listed(service: Client) -> None:
    names = [model.name for model in service.models()]
    assert "waveform-s2" in names
    assert service.model("waveform-s2").versions[0].state == "ready"
    version = service.model_version("waveform-s2")
    assert version.version == service.model_version("waveform-s2", version.version).version
    assert version.created.utcoffset() is not None
    assert version.files
    assert version.card.startswith("#")
    assert "waveform-s2/1" in service.health().models
    assert service.request("GET", "/v2/models/waveform-s2").json()["name"] == "waveform-s2"
    with pytest.raises(NotFound) as raised:
        service.model("none")
    assert raised.value.members["available"] == names


def test_an_error_names_its_field(service: Client) -> None:
    with pytest.raises(InvalidInput) as raised:
        service.solve(two_theta_deg=QUARTZ_D_ANG)
    assert raised.value.request_id
    assert "wavelength_ang" in raised.value.errors[0].loc


def test_what_was_submitted_is_waited_for(service: Client) -> None:
    lines, batch = service.jobs.submit_solve(d_ang=QUARTZ_D_ANG), service.jobs.submit_solve_batch([{"d_ang": [1.0]}])
    assert service.jobs.wait(lines).solutions[0].bravais == "hP"
    (one,) = service.jobs.wait(batch.id, timeout_s=60).answers
    assert one.error is not None
    assert service.jobs.result(service.jobs.get(lines)).solutions[0].bravais == "hP"


def test_the_asynchronous_client_gives_the_same(address: str, key: str, service: Client) -> None:
    async def ask() -> tuple[Any, ...]:
        async with AsyncClient(address, api_key=key) as client:
            job = await client.jobs.submit_solve_batch([{"d_ang": QUARTZ_D_ANG, "name": "a"}])
            states = [one async for one in client.jobs.events(job)]
            answers = await asyncio.gather(
                client.predict_polarization(EXPERIMENT),
                client.waveform(pulse()),
                client.aggregates(two_discs(), radius_px=5.0),
                client.models(),
            )
            cell = (await client.solve(d_ang=QUARTZ_D_ANG)).solutions
            picture = await client.solve(d_ang=QUARTZ_D_ANG, picture="svg")
            with pytest.raises(NotFound):
                await client.jobs.get("unknown")
            return (*answers, cell, states[-1].result == await client.jobs.wait(job), b"<svg" in picture)

    assert asyncio.run(ask()) == (
        service.predict_polarization(EXPERIMENT),
        service.waveform(pulse()),
        service.aggregates(two_discs(), radius_px=5.0),
        service.models(),
        service.solve(d_ang=QUARTZ_D_ANG).solutions,
        True,
        True,
    )


def test_threads_share_a_client(service: Client) -> None:
    wanted = service.predict_polarization(EXPERIMENT)
    found: list[Any] = []

    def ask() -> None:
        found.extend(service.predict_polarization(EXPERIMENT) for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 80


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, "x" * 40])
def test_who_has_no_key_of_the_service_is_told(
    address: str, wrong: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BEAMLINE_API_KEY", raising=False)
    with Client(address, api_key=wrong) as stranger:
        assert stranger.health().status == "ready"
        for ask in (stranger.models, lambda: stranger.predict_polarization(EXPERIMENT)):
            with pytest.raises(Unauthenticated) as raised:
                ask()
            assert wrong is None or wrong not in str(raised.value)


def test_a_key_comes_from_the_environment_or_as_a_token(
    address: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEAMLINE_API_KEY", key)
    monkeypatch.setenv("BEAMLINE_URL", address)
    with Client() as client:
        assert client.models()
    with Client(address, token=lambda: key) as client:
        assert client.models()


def test_a_key_allows_what_it_is_for(address: str, other_keys: dict[str, str]) -> None:
    with Client(address, api_key=other_keys["predict"]) as client:
        assert client.predict_polarization(EXPERIMENT).experiments
        with pytest.raises(Forbidden):
            client.solve(d_ang=QUARTZ_D_ANG)


def test_a_job_is_its_owners(address: str, service: Client, other_keys: dict[str, str]) -> None:
    job = service.jobs.submit_solve(d_ang=QUARTZ_D_ANG)
    with Client(address, api_key=other_keys["solve"]) as other, Client(address, api_key=other_keys["admin"]) as admin:
        for ask in (other.jobs.get, other.jobs.cancel, other.jobs.wait):
            with pytest.raises(NotFound):
                ask(job)
        assert job.id not in [one.id for one in other.jobs.list()]
        assert job.id in [one.id for one in admin.jobs.list(kind="indexing.solve", limit=100)]
        assert admin.jobs.get(job).owner == job.owner
    assert service.jobs.wait(job).solutions[0].bravais == "hP"
    assert job.id in [one.id for one in service.jobs.list(state="done")]
