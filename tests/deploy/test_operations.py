"""The page for the night: every alert and every line that asks for somebody stands there, and the alerts do fire."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "operations.md").read_text()
RULES = REPOSITORY / "deploy" / "prometheus" / "rules.yml"
SPOKEN = re.compile(r"_(?:log|LOG)\.(?:warning|error|exception|critical)\(\s*f?\"([^\"]+)\"")
PROMTOOL = shutil.which("promtool") or shutil.which(REPOSITORY / ".tools" / "promtool")


def test_every_alert_has_its_row() -> None:
    alerts = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    assert set(re.findall(r"^\| `([A-Z]\w+)` \|", PAGE, re.MULTILINE)) == alerts


def test_every_line_that_asks_for_somebody_is_explained() -> None:
    said = {text for path in (REPOSITORY / "app").rglob("*.py") for text in SPOKEN.findall(path.read_text())}
    told = set(re.findall(r"`([^`]+)`", PAGE.partition("## The log")[2]))
    assert len(said) > 20
    assert [one for one in sorted(said) if not one.startswith(tuple(told))] == []


with_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool on this machine; `make test` gets it where Debian's tools are"
)


@with_promtool
def test_prometheus_understands_its_configuration() -> None:
    command = [PROMTOOL or "", "check", "config", str(RULES.with_name("prometheus.yml"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@with_promtool
def test_every_alert_fires_when_it_should_and_at_no_other_time(tmp_path: Path) -> None:
    cases = yaml.safe_load((Path(__file__).parent / "alerts.yml").read_text())
    tried = {rule["alertname"] for case in cases["tests"] for rule in case["alert_rule_test"] if rule.get("exp_alerts")}
    assert tried == {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(cases | {"rule_files": [str(RULES)]}))
    done = subprocess.run([PROMTOOL or "", "test", "rules", "alerts.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
