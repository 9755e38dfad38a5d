"""Renders a chart by Helm's own code, in a process of its own: the library brings Go's runtime along.

Standard input: JSON, ``{"chart": folder, "values": [...]}``. Standard output: for each of the values either
``{"files": {template: text}}`` or ``{"error": text}``, and last what ``helm lint`` says.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import helm_python


def rendered(chart: helm_python.Chart, values: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"files": chart.render(values, name="beamline", namespace="d3")}
    except helm_python.HelmError as error:
        return {"error": str(error)}


def main() -> None:
    asked = json.load(sys.stdin)
    with helm_python.Chart.load(asked["chart"]) as chart:
        answers = [rendered(chart, values) for values in asked["values"]]
    lint = helm_python.lint(asked["chart"], asked["values"][0], strict=True)
    json.dump([*answers, lint], sys.stdout)


if __name__ == "__main__":
    main()
