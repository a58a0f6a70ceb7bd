"""What ``lint`` and ``explain`` report of annotations that select NetworkAttachmentDefinitions."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cli.documents import read_documents
from cli.explain import explain
from cli.facts import NodeFacts
from cli.formats import LintFormat
from cli.lint import ERROR, WARNING, LintContext, LintFinding, lint
from cli.lint_report import render
from cli.pod_selections import DefinitionContext, IgnoredAttachment
from dispatcher.keys import DEFAULT_NETWORK, NETWORKS
from webhook.definition_snapshot import KnownDefinition
from webhook.snapshot import ClusterNetworks, Namespace

IGNORED = "Genie ignores this annotation"
POD = """\
kind: Pod
metadata:
  name: web
  annotations:
    cni: weave
    k8s.v1.cni.cncf.io/networks: {value}
"""


def run(text: str, context: LintContext = LintContext()) -> list[LintFinding]:  # noqa: B008 - immutable
    """Return the findings besides the one that the annotation is ignored."""
    findings = lint(read_documents(text, "f.yaml"), context)
    assert {each.severity for each in findings} <= {WARNING}
    return [each for each in findings if IGNORED not in each.message]


BLOCK = """|
      [
        {"name": "a"},

        {"name": "B"}
      ]"""
SCALARS = {
    "a plain text": ("a,b,C", 6, 38, "item 3"),
    "single quotes": ("'a, C''x'", 6, 38, '"C\'x"'),
    "double quotes with escapes": (r'"\u0061,\x61,\t\"C\""', 6, 49, '\\"C\\"'),
    "a literal block": (BLOCK, 10, 18, "item 2: name"),
    "a quote in single quotes": ("'a@''b'", 6, 35, "item 1"),
    "an anchor has the place in the value": ("&x a,b,C", 6, 34, "(line 1 column 5)"),
    "a folded block has the place in the value": (
        BLOCK.replace("|", ">"),
        6,
        34,
        "(line 4 column 12)",
    ),
    "a text of two lines has the place in the value": ("a,\n      C", 6, 34, "(line 1 column 4)"),
    "a block with an indentation indicator": ("|2\n        a,C", 6, 34, "(line 1 column 5)"),
}


@pytest.mark.parametrize(("value", "line", "column", "part"), SCALARS.values(), ids=SCALARS)
def test_a_fault_has_its_place_in_the_file(value: str, line: int, column: int, part: str) -> None:
    """Down to the character, in every style of YAML that keeps lines."""
    [finding] = run(POD.format(value=value))
    assert (finding.place.line, finding.place.column) == (line, column), finding.message
    assert part in finding.message
    assert finding.field == f"metadata.annotations[{NETWORKS}]"


@given(st.text("'\"\\\n é\t\x07\u2028x", max_size=9))
def test_every_character_of_a_value_has_its_place_or_none(noise: str) -> None:
    """However YAML spells it: what stands there is the character, or an escape of it."""
    value = f"a,\n{noise}C"
    for style in (None, "'", '"', "|"):
        text = yaml.safe_dump({"k": value}, default_style=style, allow_unicode=True, width=1000)
        [document] = read_documents(text, "f")
        offset = document.value["k"].index("C")
        place = document.place_in("k", offset)
        if place is not None:
            line = text.split("\n")[place.line - 1]
            assert line[place.column - 1] == "C"


TEMPLATES = {
    "Deployment": "spec.template.",
    "CronJob": "spec.jobTemplate.spec.template.",
    "Rollout": "spec.template.",
    "PodTemplate": "template.",
}


@pytest.mark.parametrize(("kind", "path"), TEMPLATES.items())
def test_the_template_of_every_workload_is_checked(kind: str, path: str) -> None:
    """With the path of the field in that object."""
    inner: dict[str, Any] = {
        "metadata": {"annotations": {NETWORKS: "A", DEFAULT_NETWORK: "a,b"}},
        "spec": {"containers": [{"name": "c"}]},
    }
    for key in reversed(path.split(".")[:-1]):
        inner = {key: inner}
    findings = run(yaml.safe_dump({"kind": kind, "metadata": {"name": "w"}, **inner}))
    assert [each.field for each in findings] == [
        f"{path}metadata.annotations[{key}]" for key in (NETWORKS, DEFAULT_NETWORK)
    ]


CASES = {
    "an interface of cni": ("weave,canal@x", "a@x", "", 'already used by "cni"'),
    "another primary beside cni": ("weave", "", "a", 'cannot be combined with "cni"'),
    "what the client library of others refuses": (
        "weave",
        "a@x_1",
        "",
        "other programs may refuse",
    ),
}


@pytest.mark.parametrize(("cni", "networks", "default", "part"), CASES.values(), ids=CASES)
def test_annotations_are_checked_against_each_other(
    cni: str, networks: str, default: str, part: str
) -> None:
    written = {"cni": cni, NETWORKS: networks, DEFAULT_NETWORK: default}
    pod = {"kind": "Pod", "metadata": {"name": "w", "annotations": written}}
    [finding] = run(yaml.safe_dump(pod))
    assert part in finding.message


@pytest.mark.parametrize("spec", [{"hostNetwork": True}, {"os": {"name": "windows"}}])
def test_a_pod_that_genie_leaves_alone_has_no_finding(spec: dict[str, Any]) -> None:
    pod = {"kind": "Pod", "metadata": {"annotations": {NETWORKS: "A"}}, "spec": spec}
    assert lint(read_documents(yaml.safe_dump(pod), "f"), LintContext()) == []


def test_on_a_network_of_multus_only_the_value_itself_is_checked() -> None:
    """Multus reads the annotations there, also beside ``cni``."""
    written = {"cni": "multus", NETWORKS: "a@x", DEFAULT_NETWORK: "b"}
    pod = {"kind": "Pod", "metadata": {"name": "w", "annotations": written}}
    assert lint(read_documents(yaml.safe_dump(pod), "f"), LintContext()) == []
    written[NETWORKS] = "a,,b"
    [finding] = lint(read_documents(yaml.safe_dump(pod), "f"), LintContext())
    assert "item 2" in finding.message


@pytest.mark.parametrize("form", LintFormat)
def test_every_format_has_line_and_column(form: LintFormat) -> None:
    text = render(run(POD.format(value="a,b,C")), form, "1")
    for part in {
        LintFormat.TEXT: ["f.yaml:6:38: warning: Pod default/web"],
        LintFormat.GITHUB: ["file=f.yaml,line=6,col=38,"],
        LintFormat.JSON: ['"line": 6', '"column": 38'],
        LintFormat.YAML: ["line: 6", "column: 38"],
        LintFormat.SARIF: ['"startLine": 6', '"startColumn": 38'],
    }[form]:
        assert part in text


def explained(annotations: dict[str, str], namespace: Namespace = Namespace("shop")) -> Any:  # noqa: B008 - immutable
    networks = ClusterNetworks(known=frozenset({"canal"}), present=frozenset({"canal"}))
    pod = {"metadata": {"annotations": annotations}, "spec": {}}
    return explain("Pod shop/web", pod, namespace, [], networks, "canal")


def test_explain_shows_what_is_ignored_and_says_so() -> None:
    """With the interface that it would have; the plan of ``cni`` stays what it is."""
    for choice in ({}, {"cni": "canal"}):
        result = explained({**choice, NETWORKS: "a,ns/b@data"})
        assert [each.interface for each in result.attachments] == ["eth0"]
        assert result.ignored == (
            IgnoredAttachment("net1", "a", NETWORKS),
            IgnoredAttachment("data", "ns/b", NETWORKS),
        )
        [warning] = result.warnings
        assert IGNORED in warning


def test_explain_shows_faults_instead_of_a_plan() -> None:
    result = explained({"cni": "canal", NETWORKS: '[{"name":"a"},\nnull]'})
    assert result.ignored == ()
    assert result.warnings[1].startswith(f"metadata.annotations[{NETWORKS}]: Invalid value")
    assert result.warnings[1].endswith("(line 2 column 1)")


def test_explain_shows_nothing_on_a_network_of_multus() -> None:
    """There they are not ignored."""
    assert explained({NETWORKS: "a"}, Namespace("shop", default="multus")).ignored == ()


def test_a_value_of_another_type_is_the_api_servers_to_refuse() -> None:
    pod = {"kind": "Pod", "metadata": {"name": "w", "annotations": {NETWORKS: [1]}}}
    [finding] = lint(read_documents(json.dumps(pod), "f"), LintContext())
    assert finding.severity == "error"


ENFORCED = DefinitionContext(
    "enforce",
    {
        "shop/blue": KnownDefinition("3f9c2a", frozenset({"ips"})),
        "shop/weave": KnownDefinition("3f9c2a", refers_to_node_network=True),
        "bank/gold": KnownDefinition("3f9c2a"),
    },
)
NEW = """\
---
kind: NetworkAttachmentDefinition
apiVersion: k8s.cni.cncf.io/v1
metadata: {name: new}
spec: {config: '{"type": "bridge"}'}
"""


def enforced(value: str, more: str = "") -> list[tuple[str, str]]:
    """Return severity and message of the findings in a cluster that enforces."""
    context = LintContext(
        definitions=ENFORCED,
        default_namespace="shop",
        namespaces={"shop": Namespace("shop")},
    )
    findings = lint(read_documents(POD.format(value=value) + more, "f.yaml"), context)
    return [(each.severity, each.message) for each in findings]


def test_in_a_cluster_that_enforces_faults_are_errors_in_the_words_of_the_webhook() -> None:
    """Those of the text keep their place, and definitions of the manifests count."""
    assert enforced("blue") == []
    assert enforced("bleu") == [
        (
            ERROR,
            (
                'Not found: "shop/bleu": item 1: no NetworkAttachmentDefinition has this name '
                '(did you mean "blue"?)'
            ),
        )
    ]
    [(severity, message)] = enforced("bank/gold")
    assert severity == ERROR
    assert message.startswith('Forbidden: item 1: "bank/gold" is in another namespace')
    assert [severity for severity, _ in enforced("blue@lo")] == [ERROR]
    [(severity, message)] = enforced("blue@x_1")
    assert (severity, message[:20]) == (WARNING, "other programs may r")
    assert enforced("new", NEW) == []


def test_what_of_the_definitions_is_unknown_is_not_reported() -> None:
    """Who may not list them learns the faults of the text."""
    context = LintContext(definitions=ENFORCED._replace(known=None))
    assert lint(read_documents(POD.format(value="bleu"), "f"), context) == []
    [finding] = lint(read_documents(POD.format(value="blue@lo"), "f"), context)
    assert finding.severity == ERROR


NODES = [
    NodeFacts("n1", {"canal": True}, {}, "0.1.0", has_definitions=True),
    NodeFacts("n2", {"canal": True, "weave": True}, {}, "0.1.0", has_definitions=True),
    NodeFacts("n3", {"canal": True, "weave": True}, {}, "0.1.0", has_definitions=False),
]


def explained_enforced(annotations: dict[str, str]) -> Any:
    names = frozenset({"canal", "weave"})
    networks = ClusterNetworks(known=names, present=names)
    pod = {"metadata": {"annotations": annotations}, "spec": {}}
    shop = Namespace("shop")
    return explain("Pod shop/web", pod, shop, NODES, networks, "canal", definitions=ENFORCED)


def test_explain_shows_what_a_cluster_that_enforces_attaches() -> None:
    """With full names, on the nodes that can attach all of it."""
    result = explained_enforced({NETWORKS: "blue@data"})
    assert [(each.interface, each.network) for each in result.attachments] == [
        ("eth0", "canal"),
        ("data", "shop/blue"),
    ]
    assert (result.nodes, result.other_nodes) == (("n1", "n2"), ("n3",))
    assert (result.ignored, result.warnings, result.refusals) == ((), (), ())
    result = explained_enforced({NETWORKS: "weave", DEFAULT_NETWORK: "shop/blue"})
    assert result.attachments[0].network == "shop/blue"
    assert result.nodes == ("n2",)
    assert "annotation" in result.chosen_by


def test_explain_shows_why_a_cluster_that_enforces_refuses_a_pod() -> None:
    """Beside the faults of ``cni``."""
    result = explained_enforced({"cni": "wave", NETWORKS: "bleu"})
    assert [each.partition("]")[0] for each in result.refusals] == [
        "metadata.annotations[cni",
        f"metadata.annotations[{NETWORKS}",
    ]
    assert result.attachments == ()
