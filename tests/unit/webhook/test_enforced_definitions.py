"""The mode ``enforce``: pods whose definitions have faults are refused, the others are prepared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.keys import ATTACHMENTS, DEFAULT_NETWORK, NETWORKS
from dispatcher.nad.definition import Definition
from tests.unit.webhook.builders import NETWORKS as KNOWN
from tests.unit.webhook.builders import admit_template, messages, patched, pod, review, workload
from tests.unit.webhook.definition_cases import (
    DEFINITIONS,
    FAULTY,
    HASH,
    JSON_PORTS,
    SHOP,
    VALID,
    decide,
)
from webhook.definition_snapshot import Definitions, KnownDefinition, parse_definition
from webhook.limits import CLUSTER
from webhook.pods import PodRules
from webhook.review import encode_response
from webhook.selections import read_selections
from webhook.snapshot import ClusterNetworks, Namespace
from webhook.templates import TemplateRules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from webhook.decision import Decision
    from webhook.settings import Severity

RULES = PodRules(
    "off", definitions="enforce", shared_namespaces=frozenset({"common", "kube-system"})
)
LABEL = "node.cni-genie.io/attachments"
COPIED = {"key": LABEL, "operator": "In", "values": ["true"]}
WEAVE = {"key": "network.cni-genie.io/weave", "operator": "In", "values": ["true"]}
SSD = {"key": "disk", "operator": "In", "values": ["ssd"]}
TERM = {"key": "zone", "operator": "Exists"}
NAMES = KNOWN.known | {"multus"}
MULTUS = KNOWN._replace(known=NAMES, present=NAMES, multus=frozenset({"multus"}))


def admit(
    annotations: dict[str, str],
    namespace: Namespace = SHOP,
    rules: PodRules = RULES,
    *,
    networks: ClusterNetworks = KNOWN,
    definitions: Definitions = DEFINITIONS,
    spec: Mapping[str, Any] | None = None,
    old: dict[str, Any] | None = None,
) -> tuple[Decision, dict[str, Any]]:
    """Return the decision on a pod, and the pod that is stored then."""
    manifest = pod(metadata={"annotations": annotations} if annotations else {}, spec=spec)
    decision = decide(
        manifest, rules, namespace, old=old, networks=networks, definitions=definitions
    )
    return decision, patched(manifest, decision) if decision.allowed else {}


def terms(stored: Mapping[str, Any]) -> list[list[Any]]:
    """Return the expressions of each required term of a pod."""
    affinity = stored["spec"].get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {})
    return [each["matchExpressions"] for each in required.get("nodeSelectorTerms", [])]


@pytest.mark.parametrize(("annotations", "expected"), VALID.values(), ids=VALID)
def test_a_valid_selection_is_written_without_a_word(
    annotations: dict[str, str], expected: str
) -> None:
    """Over a forgery, and with the label of nodes that have the copies; a second pass is idle."""
    for forged in ({}, {ATTACHMENTS: "=kube-system/secret:000000+hostPort"}):
        decision, stored = admit({**annotations, **forged})
        assert (decision.outcome, decision.warnings) == ("patched", ())
        assert decision.audit["attachments"] == expected
        assert stored["metadata"]["annotations"] == {**annotations, ATTACHMENTS: expected}
        [required] = terms(stored)
        assert COPIED in required
        assert (WEAVE in required) == (annotations.get(NETWORKS) == "weave")
        again, same = admit(stored["metadata"]["annotations"], spec=stored["spec"])
        assert (same, list(again.patch)) == (stored, [])


@pytest.mark.parametrize(("annotations", "namespace", "expected"), FAULTY.values(), ids=FAULTY)
def test_a_faulty_selection_is_refused_in_the_words_of_the_warning(
    annotations: dict[str, str], namespace: Namespace, expected: list[str]
) -> None:
    """Each fault is a cause at its annotation; a lack of permission alone is 403."""
    decision, _ = admit(annotations, namespace)
    assert decision.outcome == "denied"
    is_limit = expected[0].startswith("over the limit")
    for cause, words in zip(decision.causes, expected, strict=True):
        start = "Too many: must have at most" if is_limit else words
        assert cause.message[: len(start)] == start
        assert cause.field in {f"metadata.annotations[{key}]" for key in annotations}
    assert decision.code == (403 if expected[0].startswith("Forbidden") else 422)
    assert decision.audit["reason"] == decision.reason


def test_the_faults_of_all_annotations_are_named_at_once() -> None:
    """Those of ``cni`` first, and those of the cluster with those of the text."""
    decision, _ = admit({"cni": "wave", NETWORKS: "bleu,bank/gold@net2"})
    fields = [each.field for each in decision.causes]
    assert fields == ["metadata.annotations[cni]", *[f"metadata.annotations[{NETWORKS}]"] * 2]
    assert decision.reason == "unknown-network"
    assert admit({NETWORKS: "bleu"})[0].reason == "unknown-definition"
    assert admit({NETWORKS: "later"})[0].reason == "not-checked"


def test_a_text_with_many_faults_gives_a_refusal_of_limited_length() -> None:
    """And says where all of them are listed."""
    decision, _ = admit({NETWORKS: ",".join("A" * 31)})
    assert len(decision.causes) <= 33
    hostile = ["[" * 60_000, "[null]", '[{"name":1' + ',"x":1' * 9000 + "}]", "," * 60_000]
    for value in hostile:
        decision, _ = admit({NETWORKS: value})
        assert not decision.allowed
        assert 1 <= len(decision.causes) <= 33
        assert all(len(each) < 1024 for each in messages(decision))


@pytest.mark.parametrize("key", [r"\ud800", r"\"\udfff", "x" * 65 + r"\ud800"])
def test_the_response_to_any_key_can_be_encoded(key: str) -> None:
    """Without a response the API server would admit the pod unchecked."""
    for value in (
        f'[{{"name":"blue","{key}":1}}]',
        f'[{{"name":"blue","bandwidth":{{"{key}":1}}}}]',
    ):
        manifest = pod(metadata={"annotations": {NETWORKS: value}})
        decision = decide(manifest, RULES)
        assert not decision.allowed
        encode_response(review(manifest), decision)


def test_port_mappings_need_the_permission_of_the_namespace() -> None:
    """Then the annotation says so for that item; the refusal names the key."""
    refused, _ = admit({NETWORKS: JSON_PORTS})
    assert 'the annotation "cni-genie.io/host-ports" of "shop" to "allow"' in messages(refused)[0]
    both = JSON_PORTS.replace("]}]", ']}, {"name": "blue", "ips": ["10.0.0.3"]}]')
    _, stored = admit({NETWORKS: both}, SHOP._replace(allows_host_ports=True))
    written = stored["metadata"]["annotations"][ATTACHMENTS]
    assert written == f"shop/blue:{HASH}+hostPort,shop/blue:{HASH}"


def test_addresses_that_no_plugin_declares_may_go_into_cni_args() -> None:
    """With the setting, and a warning; not what plugins never took from there."""
    rules = RULES._replace(allows_cni_args=True)
    decision, stored = admit({NETWORKS: '[{"name":"red","mac":"02:00:00:00:00:01"}]'}, rules=rules)
    [warned] = decision.warnings
    assert warned == (
        f'metadata.annotations[{NETWORKS}]: "mac": item 1: no plugin of definition "shop/red" '
        "declares this capability; it is passed as MAC in CNI_ARGS"
    )
    assert stored["metadata"]["annotations"][ATTACHMENTS] == "shop/red:b01d77"
    more = '[{"name":"red","ips":["10.0.0.1"],"bandwidth":{"ingressRate":1}}]'
    assert len(admit({NETWORKS: more}, rules=rules)[0].causes) == 2


def test_a_definition_on_the_primary_takes_the_place_of_the_default() -> None:
    """It is not filled in, and its own networks do not count."""
    defaulted = Namespace("shop", default="canal,weave@net1")
    for own in ({}, {"cni": " "}):
        _, stored = admit({DEFAULT_NETWORK: "shop/red", NETWORKS: "blue@net1", **own}, defaulted)
        assert stored["metadata"]["annotations"].get("cni", "") == ""
        assert stored["metadata"]["annotations"][ATTACHMENTS].startswith("=shop/red:")
    _, stored = admit({NETWORKS: "blue"}, defaulted)
    assert stored["metadata"]["annotations"]["cni"] == "canal,weave@net1"
    over, _ = admit({NETWORKS: "blue,red,red"}, defaulted)
    assert "must have at most 4 networks" in messages(over)[0]


@pytest.mark.parametrize("nothing", ["", " \n", "[]", "\t[ ]\r\n"])
def test_what_selects_nothing_leaves_the_default(nothing: str) -> None:
    """As without the annotation; nothing is written."""
    decision, stored = admit(
        {DEFAULT_NETWORK: nothing, NETWORKS: nothing, ATTACHMENTS: "x"}, Namespace("shop", "canal")
    )
    assert stored["metadata"]["annotations"] == {
        DEFAULT_NETWORK: nothing,
        NETWORKS: nothing,
        "cni": "canal",
    }
    assert decision.warnings == ()


def test_of_a_tenants_definition_a_pod_may_ask_what_a_template_permits() -> None:
    """In the sense of the plugin, which refuses it too; CNI_ARGS are no way around."""
    known = {
        "shop/own": KnownDefinition(HASH, cni_args=frozenset({"a"})),
        "shop/weave": KnownDefinition(HASH, refers_to_node_network=True, cni_args=frozenset[str]()),
    }
    rules = RULES._replace(allows_cni_args=True)

    def refusals(element: str) -> list[str]:
        decision, _ = admit({NETWORKS: element}, rules=rules, definitions=Definitions(known))
        return [each.partition(": ")[2] for each in messages(decision)]

    assert refusals('[{"name":"own","cni-args":{"a":1}}]') == []
    [refused] = refusals('[{"name":"own","cni-args":{"a":1,"mac":2}}]')
    assert refused.startswith(
        'Forbidden: item 1: "shop/own": no tenant template of namespace "shop"'
    )
    assert refused.endswith('permits "mac" in "cni-args"')
    assert len(refusals('[{"name":"own","ips":["10.0.0.1"]}]')) == 1
    assert 'permits "ips"' in refusals('[{"name":"weave","ips":["10.0.0.1"]}]')[0]


def test_a_default_over_the_limits_does_not_hide_what_the_definitions_add() -> None:
    """A pod is not refused for the default alone."""
    large = Namespace("shop", default="canal,weave@a,canal@b,weave@c", max_attachments=2)
    assert admit({}, large)[0].allowed
    refused, _ = admit({NETWORKS: "blue"}, large)
    assert "must have at most 2 networks" in messages(refused)[0]


def test_limits_that_only_warn_refuse_no_pod() -> None:
    """The definitions are attached."""
    rules = RULES._replace(limits=CLUSTER._replace(are_enforced=False))
    decision, stored = admit({NETWORKS: "red,red,red"}, rules=rules)
    assert ["over the limit: 3 attachments" in each for each in decision.warnings] == [True]
    assert stored["metadata"]["annotations"][ATTACHMENTS].count("red") == 3


@pytest.mark.parametrize("own", [{"cni": "multus"}, {}], ids=["named", "default"])
def test_what_multus_attaches_is_not_genies(own: dict[str, str]) -> None:
    """An empty annotation says so, and faults of the text are warnings; Multus decides."""
    namespace = Namespace("shop", default="multus")
    decision, stored = admit(
        {**own, NETWORKS: "bleu,a@lo", ATTACHMENTS: "x"}, namespace, networks=MULTUS
    )
    assert stored["metadata"]["annotations"][ATTACHMENTS] == ""
    assert terms(stored) == []
    assert [NETWORKS in each for each in decision.warnings] == [True]
    _, stored = admit({**own, ATTACHMENTS: "x"}, namespace, networks=MULTUS)
    assert ATTACHMENTS not in stored["metadata"]["annotations"]


TYPES = {"calico": ("calico",), "canal": ("calico",), "weave": ("weave-net",)}


@pytest.mark.parametrize(
    ("annotations", "refused"),
    [
        pytest.param({"cni": "canal", NETWORKS: "once"}, True, id="beside-cni"),
        pytest.param({NETWORKS: "once,once"}, True, id="one-twice"),
        pytest.param({"cni": "weave", NETWORKS: "weave"}, True, id="without-a-config"),
        pytest.param({"cni": "weave", NETWORKS: "once"}, False, id="other-plugins"),
        pytest.param({"cni": "canal", NETWORKS: "weave,red"}, False, id="others"),
    ],
)
def test_the_rules_for_known_plugins_count_definitions_too(
    annotations: dict[str, str], *, refused: bool
) -> None:
    """By the plugins of the nodes, and those of the definition."""
    networks = KNOWN._replace(plugin_types=(TYPES,))
    known = {**DEFINITIONS.known, "shop/once": KnownDefinition("a", types=frozenset({"calico"}))}
    definitions = Definitions(known)
    for each in (networks, KNOWN) if annotations == {NETWORKS: "once,once"} else (networks,):
        decision, _ = admit(annotations, networks=each, definitions=definitions)
        assert decision.allowed is not refused
        words = [
            message for message in messages(decision) if "can attach a pod only once" in message
        ]
        assert bool(words) is refused
        assert all(f"annotations[{NETWORKS}]: Invalid value: " in message for message in words)


SELECTING = Definitions(
    {
        "shop/blue": KnownDefinition(HASH, node_label=("disk", "ssd")),
        "shop/weave": KnownDefinition(HASH, refers_to_node_network=True),
    }
)


@pytest.mark.parametrize("scheduling", ["required", "preferred", "off"])
def test_pods_go_to_nodes_with_the_copies_and_the_definitions_label(scheduling: Any) -> None:
    """In every mode, each requirement once in each alternative; an update restores them."""
    rules = RULES._replace(scheduling=scheduling)
    annotations = {"cni": "weave", NETWORKS: "blue,weave@x,blue"}
    rules = rules._replace(limits=CLUSTER._replace(per_network=3))
    node_affinity = {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [TERM]}, {"matchExpressions": [SSD]}]
        }
    }
    affinities: list[dict[str, Any]] = [{}, {"nodeAffinity": {}}, {"nodeAffinity": node_affinity}]
    for affinity in affinities:
        spec = {"affinity": affinity} if affinity else {}
        _, stored = admit(annotations, rules=rules, definitions=SELECTING, spec=spec)
        first, *others = terms(stored)
        own = [TERM] if affinity.get("nodeAffinity") else []
        in_mode = [WEAVE] if scheduling == "required" else []
        expected = [*own, *in_mode, COPIED, *([] if in_mode else [WEAVE]), SSD]
        assert first == expected
        assert all(each.count(COPIED) == each.count(SSD) == 1 for each in others)
        preferred = stored["spec"]["affinity"]["nodeAffinity"].get(
            "preferredDuringSchedulingIgnoredDuringExecution"
        )
        assert bool(preferred) == (scheduling == "preferred")
        _, after = admit(annotations, rules=rules, spec=spec, old=stored)
        assert after == stored
    assert terms(admit(annotations, spec={"nodeName": "n1"}, definitions=SELECTING)[1]) == []


def test_too_many_alternatives_are_refused_without_cni_too() -> None:
    """Each of them would get the label."""
    many = {"nodeSelectorTerms": [{"matchExpressions": [TERM]}] * 101}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": many}
    spec = {"affinity": {"nodeAffinity": required}}
    decision, _ = admit({NETWORKS: "blue"}, spec=spec)
    assert "Too many: must have at most 100 node selector terms" in messages(decision)[0]


def test_a_selection_cannot_be_changed_and_can_be_applied_again() -> None:
    """Neither added nor removed; what was validated comes back."""
    before = pod(metadata={"annotations": {NETWORKS: "blue", ATTACHMENTS: f"shop/blue:{HASH}"}})
    decision, stored = admit({NETWORKS: "blue"}, old=before)
    assert (stored, decision.warnings) == (before, ())
    for changed in ({NETWORKS: "red"}, {}, {NETWORKS: "blue", DEFAULT_NETWORK: "red"}):
        decision, _ = admit(changed, old=before)
        assert [each.reason for each in decision.causes] == ["FieldValueInvalid"]
        assert "field is immutable: the pod was created" in messages(decision)[0]
    both, _ = admit({"cni": "weave", NETWORKS: "red"}, old=before)
    assert len(both.causes) == 2
    unrelated = pod(metadata={"annotations": {NETWORKS: "from-before-genie"}})
    assert admit({NETWORKS: "from-before-genie"}, old=unrelated)[0].allowed


def of_template(
    annotations: dict[str, str],
    severity: tuple[Severity, Severity] = ("deny", "warn"),
    kind: str = "Deployment",
    *,
    namespace: Namespace = SHOP,
    old: dict[str, str] | None = None,
) -> Decision:
    """Return the decision on a workload with such a template."""
    template = {"metadata": {"annotations": annotations}}
    stored = (
        None if old is None else workload(None, kind, template={"metadata": {"annotations": old}})
    )
    return admit_template(
        review(workload(None, kind, template=template), stored),
        namespace,
        KNOWN,
        TemplateRules(*severity, RULES._replace(scheduling="required")),
        selections=read_selections(annotations, namespace, KNOWN),
        definitions=DEFINITIONS,
    )


PATH = f"spec.template.metadata.annotations[{NETWORKS}]: "


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Job", "ReplicaSet"])
def test_a_template_that_no_pod_can_come_from_is_refused(kind: str) -> None:
    """By its text; what the cluster lacks today is a warning, as for ``cni``."""
    decision = of_template({NETWORKS: "a@lo"}, kind=kind)
    assert messages(decision)[0].startswith(f'{PATH}Invalid value: "lo"')
    decision = of_template({NETWORKS: "bleu"}, kind=kind)
    assert decision.warnings[0].startswith(f'{PATH}pods will be refused: Not found: "shop/bleu"')
    assert of_template({NETWORKS: "blue"}, kind=kind).warnings == ()


def test_the_settings_for_templates_count_for_definitions_too() -> None:
    """Each of the two, and a template that is stored already is not refused."""
    assert not of_template({NETWORKS: "bleu"}, ("deny", "deny")).allowed
    assert of_template({NETWORKS: "a@lo"}, ("warn", "warn")).warnings
    assert of_template({NETWORKS: "bleu,a@lo"}, ("off", "off")).warnings == ()
    assert of_template({NETWORKS: "a@lo"}, old={NETWORKS: "a@lo"}).warnings
    assert not of_template({NETWORKS: "a@lo"}, old={NETWORKS: "b@lo"}).allowed
    many = of_template({NETWORKS: ",".join(["bleu"] * 9)})
    assert len(many.warnings) <= 5


def test_a_template_with_a_primary_does_not_get_the_default() -> None:
    """So its interfaces and networks are free."""
    namespace = Namespace("shop", default="canal,weave@net1")
    annotations = {DEFAULT_NETWORK: "shop/red", NETWORKS: "blue@net1"}
    assert of_template(annotations, namespace=namespace).warnings == ()


def test_a_daemonset_should_name_the_label_itself() -> None:
    """Otherwise it creates pods for nodes that will never have the copies."""
    [warned] = of_template({NETWORKS: "blue"}, kind="DaemonSet").warnings
    assert warned == (
        f'spec.template.spec.nodeSelector: add {LABEL}: "true"; otherwise the DaemonSet creates '
        "pods for nodes without this label, and they stay Pending"
    )


def test_what_is_kept_of_a_definition_has_its_label_and_plugins() -> None:
    """A label that cannot be read refuses the pods, not the definition on the nodes."""
    config = '{"plugins":[{"type":"calico","capabilities":{"ips":true}},{"type":"tuning"}]}'
    known = parse_definition(Definition("shop", "blue", config=config, node_selector="a/b = c"))
    assert known.node_label == ("a/b", "c")
    assert (known.types, known.capabilities) == (frozenset({"calico"}), frozenset({"ips"}))
    broken = parse_definition(Definition("shop", "blue", config=config, node_selector="a=b=c"))
    assert broken.node_label is None
    assert broken.refused.startswith("metadata.annotations[k8s.v1.cni.cncf.io/nodeSelector]: must")
