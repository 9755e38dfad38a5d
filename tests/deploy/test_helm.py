"""The Helm chart: what it renders to, against Kubernetes' schemas and what it must agree on with the project."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app import __version__
from app.main import create_app
from app.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "deploy" / "helm" / "beamline-model-server"
KUBERNETES = ("1.30", kubernetes_validate.latest_version())
OPERATORS = "monitoring.coreos.com/v1"
"""Kinds that Prometheus' operator brings; Kubernetes' schemas do not know them."""

NFS = {"nfs": {"server": "nfs.facility.org", "path": "/models", "readOnly": True}}
ONE = {"access": {"keysSecret": "beamline-keys"}}
MANY = ONE | {"replicas": 3, "database": {"secret": "beamline"}}
FULL = MANY | {
    "image": {"repository": "registry.facility.org/beamline", "tag": "0.2.0", "pullSecrets": [{"name": "registry"}]},
    "settings": {"BEAMLINE_WORKERS": "2", "BEAMLINE_MAX_UPLOAD_BYTES": "134217728"},
    "models": {"volume": NFS},
    "autoscaling": {"enabled": True},
    "ingress": {"enabled": True, "controller": "nginx", "className": "nginx", "tlsSecret": "tls"},
    "networkPolicy": {"from": [{"namespaceSelector": {}}], "egress": [{"ports": [{"port": 443, "protocol": "TCP"}]}]},
    "monitoring": {"serviceMonitor": True, "rules": True},
    "cluster": {"enabled": True, "workers": {"gpu": 1}},
    "nodeSelector": {"beamline": "d3"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
}
VALUES: dict[str, dict[str, Any]] = {
    "one": ONE,
    "anonymous": {"access": {"allowAnonymous": True}},
    "oidc": {"settings": {"BEAMLINE_OIDC_ISSUER": "https://login.facility.org", "BEAMLINE_OIDC_AUDIENCE": "beamline"}},
    "many": MANY,
    "full": FULL,
    "haproxy": ONE | {"ingress": {"enabled": True, "controller": "haproxy"}},
    "f5": ONE | {"ingress": {"enabled": True, "controller": "nginx-inc"}},
    "open network": ONE | {"networkPolicy": {"enabled": False}},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nobody is asked": ({}, "access.keysSecret"),
    "copies without a database": (ONE | {"replicas": 2}, "database.secret"),
    "scaling without a database": (ONE | {"autoscaling": {"enabled": True}}, "database.secret"),
    "killed before the end": (ONE | {"terminationGracePeriodSeconds": 28}, "terminationGracePeriodSeconds"),
    "a misspelt key": (ONE | {"replica": 2}, "replica"),
    "a misspelt inner key": (ONE | {"models": {"claim": "x"}}, "claim"),
    "a number as a setting": (ONE | {"settings": {"BEAMLINE_WORKERS": 2}}, "BEAMLINE_WORKERS"),
    "a secret in the open": (ONE | {"settings": {"BEAMLINE_ADMIN_KEY": "x" * 20}}, "BEAMLINE_ADMIN_KEY"),
}
SECRETS = {"BEAMLINE_JOBS_DATABASE": "postgresql://user@host/jobs"}

if find_spec("helm_python") is None:
    pytest.skip("no helm-python-sdk for this platform", allow_module_level=True)


@cache
def answers() -> dict[str, dict[str, Any]]:
    """What Helm says to all values, and to a strict lint."""
    asked = VALUES | {name: values for name, (values, _) in REFUSED.items()}
    question = json.dumps({"chart": str(CHART), "values": list(asked.values())})
    command = [sys.executable, str(Path(__file__).with_name("helm_child.py"))]
    done = subprocess.run(command, input=question, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return dict(zip([*asked, "lint"], json.loads(done.stdout), strict=True))


def objects(name: str) -> list[dict[str, Any]]:
    answer = answers()[name]
    assert "files" in answer, answer
    texts = [text for file, text in answer["files"].items() if file.endswith(".yaml")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


def found(name: str, kind: str, called: str = "beamline") -> dict[str, Any]:
    return next(one for one in objects(name) if (one["kind"], one["metadata"]["name"]) == (kind, called))


@cache
def paths() -> frozenset[str]:
    """The routes of the service."""
    with TemporaryDirectory() as folder:
        return frozenset(create_app(Settings(model_store=Path(folder))).openapi()["paths"])


def pod(name: str, called: str = "beamline") -> dict[str, Any]:
    return found(name, "Deployment", called)["spec"]["template"]["spec"]


def variables(name: str) -> dict[str, str]:
    listed = pod(name)["containers"][0]["env"]
    return {one["name"]: one.get("value", SECRETS.get(one["name"], "")) for one in listed}


def test_the_linter_finds_nothing() -> None:
    lint = answers()["lint"]
    assert not lint["errors"]
    assert [one["error"] for one in lint["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("name", ["one", "many", "full"])
def test_what_is_rendered_holds_to_the_schemas_of_kubernetes(name: str) -> None:
    for one in objects(name):
        for version in KUBERNETES if one["apiVersion"] != OPERATORS else ():
            kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_before_it_is_installed(name: str) -> None:
    assert REFUSED[name][1] in answers()[name]["error"]


@pytest.mark.parametrize("name", VALUES)
def test_the_variables_are_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = variables(name)
    assert given.keys() <= {f"BEAMLINE_{field.upper()}" for field in Settings.model_fields}
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert (settings.host, settings.port, str(settings.model_store)) == ("0.0.0.0", 8000, "/models")  # noqa: S104


def test_the_image_and_the_chart_have_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    assert pod("one")["containers"][0]["image"] == f"beamline-model-server:{__version__}"
    assert pod("full", "beamline-scheduler")["containers"][0]["image"] == "registry.facility.org/beamline:0.2.0"
    on_gpu = pod("full", "beamline-worker")["containers"][0]
    assert on_gpu["image"] == "registry.facility.org/beamline-gpu:0.2.0"
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert "--target gpu    --tag beamline-model-server-gpu:" in dockerfile
    written = re.search(r"JAX_COMPILATION_CACHE_DIR=(/\w+)/", dockerfile)
    assert written is not None
    assert written[1] in {one["mountPath"] for one in on_gpu["volumeMounts"]}, "all else is read-only"


@pytest.mark.parametrize("called", ["beamline", "beamline-scheduler", "beamline-worker"])
def test_a_pod_may_do_no_more_than_it_must(called: str) -> None:
    spec = pod("full", called)
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not spec["automountServiceAccountToken"]
    assert not spec["enableServiceLinks"]  # its variables would be refused as misspelt settings
    for container in spec["containers"]:
        allowed = container["securityContext"]
        assert allowed["readOnlyRootFilesystem"]
        assert not allowed["allowPrivilegeEscalation"]
        assert allowed["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} <= container["resources"].keys()


@pytest.mark.parametrize("called", ["beamline", "beamline-worker"])
def test_models_are_read_from_a_volume_that_nobody_writes_to(called: str) -> None:
    spec = pod("full", called)
    mounted = {one["name"]: one for one in spec["containers"][0]["volumeMounts"]}
    assert mounted["models"] == {"name": "models", "mountPath": "/models", "readOnly": True}
    assert {"name": "models"} | NFS in spec["volumes"]
    assert "models" not in {one["name"] for one in pod("one")["volumes"]}, "the image's own"


def test_the_keys_are_a_folder_so_that_a_change_is_seen() -> None:
    mounted = {one["name"]: one for one in pod("one")["containers"][0]["volumeMounts"]}
    assert "subPath" not in mounted["keys"]
    assert variables("one")["BEAMLINE_KEYS_FILE"] == f"{mounted['keys']['mountPath']}/keys.json"
    assert variables("anonymous")["BEAMLINE_ALLOW_ANONYMOUS"] == "true"


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_a_probe_asks_a_route_of_the_service(probe: str) -> None:
    asked = pod("one")["containers"][0][probe]["httpGet"]
    assert asked["path"] in paths()
    assert asked["port"] == pod("one")["containers"][0]["ports"][0]["name"]


def test_no_copy_goes_before_another_is_there() -> None:
    spec = found("many", "Deployment")["spec"]
    assert spec["replicas"] == 3
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    waits_s = pod("many")["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert waits_s + 20 < pod("many")["terminationGracePeriodSeconds"], "answers end within 10 s, jobs within 10 more"
    assert found("many", "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert {one["topologyKey"] for one in pod("many")["topologySpreadConstraints"]} >= {"kubernetes.io/hostname"}


def test_one_copy_keeps_its_records_on_a_volume_that_outlives_the_release() -> None:
    assert found("one", "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    assert found("one", "PersistentVolumeClaim", "beamline-state")["metadata"]["annotations"] == {
        "helm.sh/resource-policy": "keep"
    }
    assert variables("one")["BEAMLINE_JOBS_DATABASE"] == "sqlite:////state/jobs.sqlite3"
    assert not [one for one in objects("many") if one["kind"] == "PersistentVolumeClaim"]
    assert not [one for one in objects("one") if one["kind"] == "PodDisruptionBudget"], "it would block every drain"


def test_the_autoscaler_is_the_one_who_counts() -> None:
    assert "replicas" not in found("full", "Deployment")["spec"]
    assert found("full", "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "beamline"


def test_an_ingress_lets_in_what_the_service_takes_and_holds_no_event_back(tmp_path: Path) -> None:
    nginx = found("full", "Ingress")["metadata"]["annotations"]
    assert nginx["nginx.ingress.kubernetes.io/proxy-body-size"] == "134217728", "as its settings say"
    assert nginx["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
    f5 = found("f5", "Ingress")["metadata"]["annotations"]
    assert int(f5["nginx.org/client-max-body-size"]) == Settings(model_store=tmp_path).max_upload_bytes, "the default"
    assert found("haproxy", "Ingress")["metadata"]["annotations"] == {"haproxy.org/timeout-server": "120s"}


def test_workers_and_service_go_to_the_port_of_the_scheduler() -> None:
    service = found("full", "Service", "beamline-scheduler")
    address = f"tcp://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert address in pod("full", "beamline-worker")["containers"][0]["command"]
    assert variables("full")["BEAMLINE_DASK_SCHEDULER"] == address
    assert pod("full", "beamline-worker")["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "BEAMLINE_DASK_SCHEDULER" not in variables("many")


def test_the_network_is_closed_around_scheduler_and_workers() -> None:
    policy = found("full", "NetworkPolicy", "beamline-cluster")["spec"]
    assert policy["podSelector"]["matchExpressions"][0]["values"] == ["scheduler", "worker"]
    assert [list(source) for source in policy["ingress"][0]["from"]] == [["podSelector"]]


def test_the_service_reaches_its_database_and_names_and_little_else() -> None:
    egress = found("many", "NetworkPolicy")["spec"]["egress"]
    assert [{port["port"] for port in rule["ports"]} for rule in egress] == [{53}, {5432}]
    assert found("full", "NetworkPolicy")["spec"]["egress"][-1] == {"ports": [{"port": 443, "protocol": "TCP"}]}
    assert not [one for one in objects("open network") if one["kind"] == "NetworkPolicy"]


def test_every_selector_finds_its_pods_and_no_others() -> None:
    made = [one for one in objects("full") if one["kind"] == "Deployment"]
    labels = {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"] for one in made}
    for one in objects("full"):
        selector = one["spec"].get("selector", {})
        wanted = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
        if wanted:
            picked = [name for name, has in labels.items() if wanted.items() <= has.items()]
            assert picked == [one["metadata"]["name"]], one["kind"]


def test_prometheus_is_told_where_to_ask() -> None:
    endpoint = found("full", "ServiceMonitor")["spec"]["endpoints"][0]
    assert endpoint["path"] in paths()
    rules = REPOSITORY / "deploy" / "prometheus" / "rules.yml"
    assert found("full", "PrometheusRule")["spec"] == yaml.safe_load(rules.read_text())
