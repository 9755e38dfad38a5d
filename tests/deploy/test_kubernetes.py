"""The manifests for Kubernetes against its schemas, and against what they must agree on with the project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
MANIFESTS = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
OBJECTS = [one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text())]
PODS = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in OBJECTS if one["kind"] == "Deployment"}


def settings_of(pod: dict[str, Any]) -> dict[str, str]:
    variables = pod["containers"][0]["env"]
    return {one["name"]: one.get("value", "") for one in variables if one["name"].startswith("BEAMLINE_")}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_holds_to_the_schemas(path: Path) -> None:
    command = [str(Path(sys.executable).with_name("kubernetes-validate")), "--strict", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_manifest_is_applied() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in MANIFESTS]


def test_the_variables_of_the_service_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = settings_of(PODS["beamline"]) | {"BEAMLINE_JOBS_DATABASE": "postgresql://user@host/jobs"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings().dask_scheduler == "tcp://beamline-scheduler:8786"


@pytest.mark.parametrize("name", PODS)
def test_a_pod_may_do_no_more_than_it_must(name: str) -> None:
    pod = PODS[name]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert not pod["enableServiceLinks"]  # its variables would be refused as misspelt settings
    for container in pod["containers"]:
        allowed = container["securityContext"]
        assert allowed["readOnlyRootFilesystem"]
        assert not allowed["allowPrivilegeEscalation"]
        assert allowed["capabilities"] == {"drop": ["ALL"]}


def test_workers_and_service_go_to_the_port_of_the_scheduler() -> None:
    service = next(one for one in OBJECTS if one["kind"] == "Service" and one["metadata"]["name"].endswith("scheduler"))
    address = f"tcp://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert address in PODS["beamline-worker"]["containers"][0]["command"]
    assert settings_of(PODS["beamline"])["BEAMLINE_DASK_SCHEDULER"] == address


def test_the_network_is_closed_around_scheduler_and_workers() -> None:
    policy = next(one["spec"] for one in OBJECTS if one["kind"] == "NetworkPolicy")
    assert policy["podSelector"]["matchExpressions"][0]["values"] == ["scheduler", "worker"]
    assert [list(source) for source in policy["ingress"][0]["from"]] == [["podSelector"]]
