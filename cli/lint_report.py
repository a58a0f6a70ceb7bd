"""The findings of ``lint`` as text, JSON, YAML, GitHub workflow commands, or SARIF 2.1.0."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from cli.formats import LintFormat
from cli.lint import ERROR
from cli.output import as_data, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.lint import LintFinding

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
RULE = "cni-annotation"


def render(findings: Sequence[LintFinding], form: LintFormat, version: str) -> str:
    """Return *findings* in the form asked for; *version* is that of the tool."""
    if form is LintFormat.JSON:
        return json.dumps(as_data(findings), indent=2, ensure_ascii=False) + "\n"
    if form is LintFormat.YAML:
        return yaml.safe_dump(as_data(findings), sort_keys=False, allow_unicode=True)
    if form is LintFormat.SARIF:
        return json.dumps(_sarif(findings, version), indent=2) + "\n"
    if form is LintFormat.TEXT:
        return "".join(f"{''.join(text_parts(each))}\n" for each in findings)
    return "".join(f"{_github(each)}\n" for each in findings)


def text_parts(finding: LintFinding) -> tuple[str, str, str]:
    """Return the line of a finding as its place, its severity, and the rest."""
    place = finding.place
    where = f"{place.file}:{place.line}:{place.column}: "
    field = f" {finding.field}" if finding.field else ""
    rest = f": {finding.subject}{field}: {finding.message}"
    return printable(where), finding.severity, printable(rest)


def _github(finding: LintFinding) -> str:
    """Return a workflow command, which marks the line in the pull request."""
    place = finding.place
    properties = {
        "file": place.file,
        "line": str(place.line),
        "col": str(place.column),
        "title": finding.subject,
    }
    listed = ",".join(f"{key}={_escape(each, ':,')}" for key, each in properties.items())
    return f"::{finding.severity} {listed}::{_escape(finding.message, '')}"


def _escape(text: str, more: str) -> str:
    for char in "%\r\n" + more:
        text = text.replace(char, f"%{ord(char):02X}")
    return text


def _sarif(findings: Sequence[LintFinding], version: str) -> dict[str, Any]:
    rule = {
        "id": RULE,
        "shortDescription": {"text": "Networks of pods, as Genie's webhook decides"},
    }
    tool = {"driver": {"name": "kubectl-genie", "version": version, "rules": [rule]}}
    results = [
        {
            "ruleId": RULE,
            "level": finding.severity if finding.severity == ERROR else "warning",
            "message": {"text": f"{finding.subject}: {finding.message}"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": finding.place.file.replace("\\", "/")},
                        "region": {
                            "startLine": finding.place.line,
                            "startColumn": finding.place.column,
                        },
                    }
                }
            ],
        }
        for finding in findings
    ]
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": tool, "results": results}],
    }
