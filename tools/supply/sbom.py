"""Write what a serving machine runs, as CycloneDX JSON: `make sbom`.

The Python packages are those of an environment with the locked group `service`; the JavaScript is what `app/static`
holds, as its README lists it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

REPOSITORY = Path(__file__).resolve().parents[2]
STATIC = REPOSITORY / "app" / "static"
ROW = re.compile(
    r"\| `(?P<folder>[\w-]+)/` \| (?P<name>\S+) \| (?P<version>\S+) \| (?P<licence>\S+) \| (?P<files>.+) \|"
)
UNNAMED = {"hdf5plugin": "MIT", "protobuf": "BSD-3-Clause", "pysimdjson": "MIT"}
"""Packages whose metadata name no licence that the format knows: that of their licence file."""
SPEC = SchemaVersion.V1_6


def python_packages(python: str) -> dict[str, Any]:
    """The bill of an environment: packages, licences, who needs whom."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(REPOSITORY / "pyproject.toml")]
    command += ["--spec-version", "1.6", "--output-reproducible", "--output-format", "JSON", python]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return json.loads(done.stdout)


def javascript() -> list[dict[str, Any]]:
    """The packages that are copied into `app/static`, each with its files and their digests."""
    rows = (ROW.fullmatch(line) for line in (STATIC / "README.md").read_text().splitlines())
    return [_component(**row.groupdict()) for row in rows if row]


def _component(folder: str, name: str, version: str, licence: str, files: str) -> dict[str, Any]:
    purl = f"pkg:npm/{name.replace('@', '%40')}@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": [{"license": {"id": licence}}],
        "components": [_file(STATIC / folder / file) for file in re.findall(r"`([^`]+)`", files)],
    }


def _file(path: Path) -> dict[str, Any]:
    name = path.relative_to(REPOSITORY).as_posix()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"type": "file", "bom-ref": name, "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}


def joined(bill: dict[str, Any], copied: list[dict[str, Any]]) -> dict[str, Any]:
    """Add components that the application itself holds."""
    root = bill["metadata"]["component"]["bom-ref"]
    bill["components"] += copied
    for one in bill["components"]:
        if one["name"] in UNNAMED:
            one.setdefault("licenses", [{"license": {"id": UNNAMED[one["name"]]}}])
    bill["dependencies"] += [{"ref": one["bom-ref"]} for one in copied]
    for entry in bill["dependencies"]:
        if entry["ref"] == root:
            # The groups of pyproject.toml are no dependencies of a package: what nobody else needs, the service does.
            needed = {ref for other in bill["dependencies"] for ref in other.get("dependsOn", ())}
            entry["dependsOn"] = sorted({one["bom-ref"] for one in bill["components"]} - needed)
    return bill


def main() -> int:
    """Write the bill, once it holds to the schema."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="the Python of an environment with the group service alone")
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    bill = joined(python_packages(asked.python), javascript())
    text = json.dumps(bill, indent=2, sort_keys=True) + "\n"
    if wrong := JsonStrictValidator(SPEC).validate_str(text):
        sys.stderr.write(f"error: the bill does not hold to CycloneDX {SPEC.to_version()}: {wrong}\n")
        return 1
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text(text)
    sys.stdout.write(f"{asked.output}: {len(bill['components'])} components\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
