from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cli.documents import read_documents
from cli.formats import LintFormat
from cli.lint import ERROR, WARNING, LintContext, all_present, lint
from cli.lint_report import render
from webhook.objects import TEMPLATE_PATHS, parse_pod
from webhook.pods import PodRules, admit_pod
from webhook.review import Review
from webhook.snapshot import ClusterNetworks, Namespace

if TYPE_CHECKING:
    from cli.lint import LintFinding

KNOWN = frozenset({"canal", "weave"})
CONTEXT = LintContext(networks=all_present(KNOWN))


def run(
    value: dict[str, Any] | list[dict[str, Any]], context: LintContext = CONTEXT
) -> list[LintFinding]:
    values = value if isinstance(value, list) else [value]
    return lint(read_documents(yaml.safe_dump_all(values), "f.yaml"), context)


def errors(findings: list[LintFinding]) -> list[LintFinding]:
    return [each for each in findings if each.severity == ERROR]


def pod(cni: str, **more: Any) -> dict[str, Any]:
    metadata = {"name": "web", "annotations": {"cni": cni, **more}}
    return {"kind": "Pod", "metadata": metadata, "spec": {}}


def workload(kind: str, path: tuple[str, ...], cni: str) -> dict[str, Any]:
    """Return an object of *kind* with its pod template at *path*."""
    inner: dict[str, Any] = {
        "metadata": {"annotations": {"cni": cni}},
        "spec": {"containers": [{"name": "c"}]},
    }
    for key in reversed(path):
        inner = {key: inner}
    return {"kind": kind, "metadata": {"name": "web"}, **inner}


PATHS = {**TEMPLATE_PATHS, "Rollout": ("spec", "template"), "PodTemplate": ("template",)}


@pytest.mark.parametrize("kind", sorted(PATHS))
def test_the_template_of_every_kind_is_checked(kind: str) -> None:
    """Kinds that only this command knows, too."""
    path = PATHS[kind]
    [finding] = errors(run(workload(kind, path, "cannal")))
    assert finding.field == f"{'.'.join(path)}.metadata.annotations[cni]"
    assert finding.subject == f"{kind} default/web"
    assert 'did you mean "canal"?' in finding.message
    assert errors(run(workload(kind, path, "canal"))) == []


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"kind": "Service", "spec": {"template": 3}}, id="a Service"),
        pytest.param({"kind": "Deployment", "metadata": {"name": "d"}}, id="no template"),
        pytest.param({"kind": "Pod"}, id="an empty pod"),
        pytest.param({"spec": {"template": {"spec": {"x": 1}}}}, id="a template of something else"),
    ],
)
def test_objects_without_networks_are_fine(value: dict[str, Any]) -> None:
    assert run(value) == []


def test_objects_in_excluded_namespaces_are_left_alone() -> None:
    """The API server does not send them to the webhook."""
    system = pod("cannal")
    system["metadata"]["namespace"] = "kube-system"
    assert run(system) == []


def test_a_field_of_the_wrong_type_is_an_error() -> None:
    """The API server would refuse it, too."""
    [finding] = run({"kind": "Pod", "metadata": {"name": "web", "annotations": {"cni": 3}}})
    assert (finding.severity, finding.subject) == (ERROR, "Pod default/web")


def test_warnings_name_their_field() -> None:
    """A key of another product has no effect."""
    [finding] = run(pod("canal", **{"k8s.v1.cni.cncf.io/networks": "a"}))
    assert finding.severity == WARNING
    assert finding.field == "metadata.annotations[k8s.v1.cni.cncf.io/networks]"
    assert not finding.message.startswith("metadata")


def test_namespaces_among_the_manifests_count() -> None:
    """As if they had been applied first, wherever they stand."""
    annotations = {"cni-genie.io/allowed": "weave", "cni": "weave"}
    shop = {"kind": "Namespace", "metadata": {"name": "shop", "annotations": annotations}}
    web = pod("canal")
    web["metadata"]["namespace"] = "shop"
    [finding] = run([web, shop])
    assert 'network "canal" is not allowed in namespace "shop"' in finding.message


def test_without_networks_every_well_formed_name_counts() -> None:
    """What is not of the grammar is an error all the same."""
    offline = LintContext()
    assert run(pod("anything"), offline) == []
    assert {each.severity for each in run(pod("@"), offline)} == {ERROR}
    namespace = {"kind": "Namespace", "metadata": {"name": "s", "annotations": {"cni": "mine"}}}
    assert run(namespace, offline) == []


def test_without_networks_the_names_of_an_invalid_value_are_no_fault() -> None:
    """The namespace names another network, so some are known."""
    web = pod("weave@net1")
    web["metadata"]["namespace"] = "shop"
    shop = {"kind": "Namespace", "metadata": {"name": "shop", "annotations": {"cni": "wave"}}}
    [finding] = errors(run([shop, web], LintContext()))
    assert finding.message.startswith('Required value: one network must be attached to "eth0"')


@given(st.text(alphabet="cnalwe@,. 1", max_size=40) | st.text(max_size=20))
def test_lint_says_what_the_webhook_says(value: str) -> None:
    """For any value: the same fields and sentences, or nothing."""
    body = pod(value)
    networks = ClusterNetworks(known=KNOWN, present=KNOWN)
    review = Review("u", "CREATE", "", "Pod", "web", "default", "", body, {})
    namespace = Namespace(name="default")
    decision = admit_pod(review, parse_pod(body), namespace, networks, PodRules())
    expected = [(cause.field, cause.message) for cause in decision.causes]
    assert [(each.field, each.message) for each in errors(run(body))] == expected


FINDINGS = run([pod("cannal"), pod("canal", CNI="x", networks="y")])
TEXT = """\
f.yaml:4:10: error: Pod default/web metadata.annotations[cni]: Unsupported value: "cannal": \
item 1: supported values: "canal", "weave" (did you mean "canal"?); to list networks, try: \
kubectl get networks.cni-genie.io
"""


def test_text_begins_with_file_line_and_column() -> None:
    """Editors and terminals make a link of it."""
    assert render(FINDINGS[:1], LintFormat.TEXT, "1") == TEXT


def test_github_gets_workflow_commands() -> None:
    """One line each, with what would end a property escaped."""
    first = render(FINDINGS, LintFormat.GITHUB, "1").splitlines()[0]
    assert first.startswith("::error file=f.yaml,line=4,col=10,title=Pod default/web::Unsupported")
    hostile = [FINDINGS[0]._replace(message="a\n::error::b%", subject="a:b,c")]
    assert render(hostile, LintFormat.GITHUB, "1").splitlines() == [
        "::error file=f.yaml,line=4,col=10,title=a%3Ab%2Cc::a%0A::error::b%25"
    ]


def test_sarif_has_a_result_with_its_place_for_each_finding() -> None:
    """In the form that code scanning reads."""
    [report] = json.loads(render(FINDINGS, LintFormat.SARIF, "1"))["runs"]
    assert report["tool"]["driver"]["version"] == "1"
    rules = {rule["id"] for rule in report["tool"]["driver"]["rules"]}
    assert len(report["results"]) == len(FINDINGS)
    for result, finding in zip(report["results"], FINDINGS, strict=True):
        [location] = result["locations"]
        region = location["physicalLocation"]["region"]
        assert (region["startLine"], region["startColumn"]) == finding.place[1:]
        assert result["level"] == finding.severity
        assert result["ruleId"] in rules


def test_json_and_yaml_have_the_same_findings() -> None:
    """As objects."""
    data = json.loads(render(FINDINGS, LintFormat.JSON, "1"))
    assert yaml.safe_load(render(FINDINGS, LintFormat.YAML, "1")) == data
    assert data[0]["place"] == {"file": "f.yaml", "line": 4, "column": 10}


def test_escape_sequences_of_strangers_do_not_reach_a_terminal() -> None:
    """A manifest may come from anybody."""
    text = render(run(pod("\x1b[31m")), LintFormat.TEXT, "1")
    assert text
    assert "\x1b" not in text
