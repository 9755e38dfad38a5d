"""Look up every locked package for known vulnerabilities: `make audit`.

Exit status: 0 none, or all allowed; 1 some; 2 they could not be looked up. With ``--report`` it is always 0.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
ALLOWED = Path(__file__).with_name("allowed.toml")
OSV_URL = "https://api.osv.dev/v1/query"
CLEAN, FOUND, UNKNOWN = 0, 1, 2


@dataclass(frozen=True)
class Finding:
    """One known vulnerability of one locked package.

    Attributes:
        ids: every name that it has: CVE, GHSA, PYSEC.
        fixed: versions without it.
        served: a serving machine installs the package; otherwise only who develops or trains does.
        allowed: why it is let pass; empty where it is not.
    """

    package: str
    version: str
    ids: tuple[str, ...]
    fixed: tuple[str, ...]
    served: bool
    allowed: str = ""

    def line(self) -> str:
        """What to tell a reader."""
        where = "service" if self.served else "development"
        mend = f"fixed in {', '.join(self.fixed)}" if self.fixed else "no fixed version"
        told = f"{self.package} {self.version} ({where}): {', '.join(self.ids)}; {mend}"
        return f"allowed  {told}; {self.allowed}" if self.allowed else f"FOUND    {told}"


@dataclass(frozen=True)
class Verdict:
    """What an audit came to.

    Attributes:
        unknown: packages that nobody could say anything about.
        stale: entries of the allow list that are over, or that match nothing any more.
    """

    audited: int
    findings: tuple[Finding, ...]
    unknown: tuple[str, ...]
    stale: tuple[str, ...]

    @property
    def status(self) -> int:
        """Exit status."""
        if any(not finding.allowed for finding in self.findings):
            return FOUND
        return UNKNOWN if self.unknown or not self.audited else CLEAN


def judged(
    report: Mapping[str, Any], allowed: Sequence[Mapping[str, Any]], served: Collection[str], today: date
) -> Verdict:
    """Hold a report of pip-audit against the allow list.

    Args:
        report: pip-audit's JSON.
        allowed: entries with ``id``, ``package``, ``reason`` and ``until``.
        served: names of the packages that a serving machine installs.
        today: entries count up to and including their day.
    """
    findings: list[Finding] = []
    used: set[str] = set()
    for package in report["dependencies"]:
        for known in package.get("vulns", ()):
            ids = (known["id"], *known.get("aliases", ()))
            entry = _entry(allowed, package["name"], ids, today)
            used |= {entry["id"]} if entry else set()
            reason = f"{entry['reason']} (until {entry['until']})" if entry else ""
            name, version, fixed = package["name"], package["version"], tuple(known.get("fix_versions", ()))
            findings.append(Finding(name, version, ids, fixed, name in served, reason))
    unknown = tuple(package["name"] for package in report["dependencies"] if "skip_reason" in package)
    stale = tuple(f"{entry['package']} {entry['id']}" for entry in allowed if entry["id"] not in used)
    return Verdict(len(report["dependencies"]) - len(unknown), tuple(findings), unknown, stale)


def _entry(
    allowed: Sequence[Mapping[str, Any]], package: str, ids: Collection[str], today: date
) -> Mapping[str, Any] | None:
    fitting = (one for one in allowed if one["package"] == package and one["id"] in ids and today <= one["until"])
    return next(fitting, None)


def exported(uv: str, *options: str) -> str:
    """The locked requirements, with digests, for this platform and Python."""
    command = [uv, "export", "--quiet", "--locked", "--no-emit-project", "--no-header", *options]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)  # noqa: S603
    return done.stdout


def names(requirements: str) -> frozenset[str]:
    """The packages that a requirements file pins."""
    return frozenset(line.split("==")[0].strip() for line in requirements.splitlines() if "==" in line)


def looked_up(requirements: str, service: str, osv_url: str) -> dict[str, Any] | str:
    """What pip-audit says, or why it says nothing."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(requirements)
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--requirement", file.name, "--disable-pip", "--format", "json"]
        command += ["--progress-spinner", "off", "--vulnerability-service", service, "--osv-url", osv_url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    try:
        return json.loads(done.stdout)
    except ValueError:
        return (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]


def told(verdict: Verdict) -> str:
    """The verdict in words."""
    lines = [finding.line() for finding in verdict.findings]
    lines += [f"stale    {entry}: take it out of {ALLOWED.name}, or give it another day" for entry in verdict.stale]
    if verdict.unknown:
        some = ", ".join(verdict.unknown[:5]) + (", ..." if len(verdict.unknown) > 5 else "")
        lines.append(f"UNKNOWN  {len(verdict.unknown)} packages were not looked up: {some}")
    open_ones = sum(not finding.allowed for finding in verdict.findings)
    lines.append(f"{verdict.audited} packages looked up, {open_ones} open vulnerabilities")
    return "\n".join(lines)


def main() -> int:
    """Run an audit and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", default="uv", help="the uv that reads the lock")
    parser.add_argument("--report", action="store_true", help="tell, and end with 0 whatever was found")
    parser.add_argument("--service", default="pypi", choices=["pypi", "osv"], help="whom to ask")
    parser.add_argument("--osv-url", default=OSV_URL, help="where OSV answers, or its copy in the facility")
    asked = parser.parse_args()
    report = looked_up(exported(asked.uv, "--all-groups"), asked.service, asked.osv_url)
    if isinstance(report, str):
        sys.stdout.write(f"UNKNOWN  nothing could be looked up: {report}\n")
        return 0 if asked.report else UNKNOWN
    served = names(exported(asked.uv, "--no-default-groups", "--group", "service", "--no-hashes"))
    allowed = tomllib.loads(ALLOWED.read_text()).get("allow", [])
    verdict = judged(report, allowed, served, datetime.now(UTC).date())
    sys.stdout.write(told(verdict) + "\n")
    return 0 if asked.report else verdict.status


if __name__ == "__main__":
    sys.exit(main())
