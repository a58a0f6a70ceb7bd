"""``lint`` on NetworkAttachmentDefinitions: each fault at the line of its field, in all formats."""

from __future__ import annotations

import json

import pytest

from cli.documents import read_documents
from cli.formats import LintFormat
from cli.lint import ERROR, LintContext, lint
from cli.lint_report import render

MANIFEST = """\
apiVersion: v1
kind: List
items:
- apiVersion: k8s.cni.cncf.io/v1
  kind: NetworkAttachmentDefinition
  metadata: {name: good}
  spec:
    config: |
      {"type": "bridge", "ipam": {"type": "host-local", "subnet": "10.0.0.0/24"}}
- apiVersion: k8s.cni.cncf.io/v1
  kind: NetworkAttachmentDefinition
  metadata: {name: bad, namespace: kube-system}
  spec:
    config: |
      {"plugins": [{"type": "bridge"}, {"type": "multus", "ipam": {"type": "../x"}}]}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata:
  generateName: sriov-
  annotations:
    k8s.v1.cni.cncf.io/resourceName: intel.com/sriov
spec:
  config: {type: sriov}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: weave}
---
apiVersion: example.org/v1
kind: NetworkAttachmentDefinition
metadata: {name: other}
spec: {config: not JSON}
"""

FINDINGS = lint(read_documents(MANIFEST, "nads.yaml"), LintContext())

EXPECTED = [
    ((14, 13), "kube-system/bad", "spec.config", "plugins[1].ipam.type: "),
    ((14, 13), "kube-system/bad", "spec.config", 'plugins[1].type: the plugin "multus" cannot be'),
    ((24, 11), "default/sriov-", "spec.config", "must be a string, not an object: write the JSON"),
    (
        (22, 38),
        "default/sriov-",
        "metadata.annotations[k8s.v1.cni.cncf.io/resourceName]",
        'asks for the device "intel.com/sriov"',
    ),
]


def test_each_fault_has_its_place() -> None:
    """In Lists and several documents; another group's kind of this name is left alone."""
    assert len(FINDINGS) == len(EXPECTED)
    for finding, (place, name, field, message) in zip(FINDINGS, EXPECTED, strict=True):
        assert finding.place == ("nads.yaml", *place)
        assert finding.subject == f"NetworkAttachmentDefinition {name}"
        assert (finding.severity, finding.field) == (ERROR, field)
        assert finding.message.startswith(message)


@pytest.mark.parametrize("form", list(LintFormat))
def test_every_format_has_every_fault(form: LintFormat) -> None:
    """With its line, or, in JSON and YAML, its place."""
    text = render(FINDINGS, form, "1")
    assert text.count("kube-system/bad") >= 2
    assert "plugins[1].ipam.type" in text
    marks = {
        LintFormat.TEXT: "nads.yaml:14:13: error: ",
        LintFormat.GITHUB: "::error file=nads.yaml,line=14,col=13",
        LintFormat.SARIF: '"startLine": 14',
        LintFormat.JSON: '"line": 14',
        LintFormat.YAML: "line: 14",
    }
    assert marks[form] in text


@pytest.mark.parametrize("config", ["[null]", "[" * 50_000, "x" * 2_000_000, "", "\ud800"])
def test_a_hostile_config_is_a_finding_or_fine(config: str) -> None:
    """Never a crash."""
    value = {"kind": "NetworkAttachmentDefinition", "spec": {"config": config}}
    findings = lint(read_documents(json.dumps(value), "f.json"), LintContext())
    assert len(findings) == bool(config)
