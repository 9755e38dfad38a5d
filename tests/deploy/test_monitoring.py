"""Prometheus' and Grafana's files against each other, and every query against what a service really says of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from app.main import create_app
from app.settings import Settings
from tests.fakes import FakeModel, FakeRegistry

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "beamline.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
QUERIES = {
    **{panel["title"]: target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]},
    **{rule["alert"]: rule["expr"] for rule in RULES},
}
OF_PROMETHEUS = {"up": {"job", "instance"}}
"""What Prometheus itself says of each target."""
WORDS = {"sum", "min", "max", "by", "le", "rate", "increase", "histogram_quantile", "or", "and", "unless", "vector"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Name of a sample -> its labels, of a service that has answered and run a job."""
    database = f"sqlite:///{tmp_path_factory.mktemp('state')}/jobs.sqlite3"
    app = create_app(Settings(jobs_database=database), registry=FakeRegistry([FakeModel("decay", "1")]))
    with TestClient(app) as client:
        client.get("/health/live")
        app.state.metrics.observe_finished_job("indexing.solve", "done")
        text = client.get("/metrics").text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    found = dict(OF_PROMETHEUS)
    for sample in samples:
        found.setdefault(sample.name, set()).update({"job", "instance", *sample.labels})
    return found


def selectors(query: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric of a query, and the labels that it is chosen by."""
    without = re.sub(r"\bby \([^)]*\)", "", query)
    for name, braces in re.findall(r"\b([a-zA-Z_:][\w:]*)\b(?!\s*\()(\{[^}]*\})?", re.sub(r'"[^"]*"', '""', without)):
        if name not in WORDS and (name in OF_PROMETHEUS or "beamline" in name):
            yield name, set(re.findall(r"(\w+)\s*[=!]", braces))


@pytest.mark.parametrize("title", QUERIES)
def test_a_query_asks_for_what_the_service_says(title: str, exported: dict[str, set[str]]) -> None:
    found = list(selectors(QUERIES[title]))
    assert found
    for name, labels in found:
        assert name in exported
        assert labels <= exported[name]
    grouped = {word.strip() for labels in re.findall(r"\bby \(([^)]*)\)", QUERIES[title]) for word in labels.split(",")}
    assert grouped <= set().union(*(exported[name] for name, _ in found))


def test_a_query_has_no_unknown_words() -> None:
    """So that no misspelt metric is taken for a word of the language."""
    for query in QUERIES.values():
        bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)", "", query)
        names = set(re.findall(r"[a-zA-Z_]\w*", bare))
        assert {name for name in names if "beamline" not in name} <= WORDS | set(OF_PROMETHEUS)


def test_the_dashboard_shows_what_an_operator_asks_for() -> None:
    shown = " ".join(QUERIES.values())
    for metric in (
        "beamline_http_requests_total", "beamline_http_request_duration_seconds_bucket", "beamline_jobs{",
        "beamline_jobs_finished_total", "beamline_model_loaded", "beamline_resident_memory_bytes",
    ):  # fmt: skip
        assert metric in shown
    assert {"0.5", "0.99"} <= set(re.findall(r"histogram_quantile\(([\d.]+)", shown))


def test_panels_have_places_of_their_own() -> None:
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_files_name_each_other() -> None:
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert configuration["rule_files"] == ["rules.yml"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in configuration["scrape_configs"]}
    assert targets["beamline"] == ["api:8000"]
    for address in (*targets["beamline"], *targets["dask"]):
        assert "watched" in COMPOSE["services"][address.partition(":")[0]]["networks"]
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    used = {target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel["targets"]}
    assert used == {source["uid"]}
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/beamline.yml").read_text())["providers"]
    grafana = COMPOSE["services"]["grafana"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].startswith(provider["options"]["path"])
