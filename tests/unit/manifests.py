"""What is installed, as objects, read without Helm.

`GENIE` are the objects of manifests/genie.yaml, the chart rendered with its defaults; that it is
the chart is held by tests/cluster/test_chart.py. Templates that the defaults leave out are read by
`template`, if their only actions are a condition around the file, the release's namespace, and the
pods that Genie attaches.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).parents[2] / "manifests"
CHART = MANIFESTS / "chart"
FILES = CHART / "files"
NAMESPACE = "genie-system"

GENIE: list[dict[str, Any]] = [
    each for each in yaml.safe_load_all((MANIFESTS / "genie.yaml").read_text()) if each
]


def installed(kind: str, name: str) -> dict[str, Any]:
    """Return the object of genie.yaml with this kind and name."""
    [item] = [each for each in GENIE if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return item


def component(*names: str) -> list[dict[str, Any]]:
    """Return the objects of genie.yaml whose label names one of these components."""
    return [
        each
        for each in GENIE
        if each["metadata"]["labels"].get("app.kubernetes.io/component") in names
    ]


def helper(name: str) -> str:
    """Return the text of a named template of the chart."""
    helpers = (CHART / "templates" / "_helpers.tpl").read_text()
    return helpers.partition(f'{{{{- define "{name}" -}}}}\n')[2].partition("\n{{- end -}}")[0]


def attached(variable: str) -> str:
    """Return the expression of the pods that Genie attaches, for the pod in *variable*."""
    return helper("genie.attached").replace("{{ . }}", variable)


def template(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a simple template. Raises ValueError for any other action in it."""
    text = path.read_text().replace("{{ .Release.Namespace }}", NAMESPACE)
    text = re.sub(r'\{\{ include "genie.attached" "(\w+)" \}\}', lambda m: attached(m[1]), text)
    text = re.sub(r"\A\{\{- if [^}]+ \}\}\n(.*)\{\{- end \}\}\n\Z", r"\1", text, flags=re.DOTALL)
    if "{{" in text:
        raise ValueError(f"{path} has other actions than this function knows")
    return [each for each in yaml.safe_load_all(text) if each]
