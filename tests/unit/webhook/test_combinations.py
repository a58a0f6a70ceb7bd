"""Networks that cannot be combined: refused where all nodes agree, else a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from dispatcher import keys, plugin_rules, plugin_types
from tests.unit.webhook.builders import (
    PLAIN,
    admit,
    admit_template,
    messages,
    pod,
    review,
    workload,
)
from webhook import combinations
from webhook.informer_caches import MAX_INTERNED, InformerCaches
from webhook.namespaces import admit_namespace
from webhook.node_index import merge_nodes
from webhook.pods import PodRules
from webhook.snapshot import (
    MAX_KNOWN,
    MAX_PER_NODE,
    ClusterNetworks,
    Namespace,
    parse_node,
)
from webhook.templates import TemplateRules

if TYPE_CHECKING:
    from dispatcher.kube.client import KubeClient

TWICE = (
    'metadata.annotations[cni]: Invalid value: "weave": item 2: item 1 is the same network, and '
    'its plugin "weave-net" can attach a pod only once: it names the host side of the link after '
    "the container, so the second attachment fails; list the network once"
)
SOME_TWICE = (
    'some nodes will refuse the pod: "weave" listed twice: '
    'plugin "weave-net" can attach a pod only once; list it once'
)
CALICO_SECONDARY = (
    '"calico" works only as the primary (on eth0): '
    'plugin "calico" leaves other interfaces unreachable'
)
WEAVE = "weave=weave-net"


def node(*networks: str, types: str | None = None, absent: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a Node with the labels of *networks* and *types* as its annotation."""
    labels = {keys.network_label(name): "true" for name in networks}
    labels |= {keys.network_label(name): "false" for name in absent}
    annotations = {} if types is None else {keys.PLUGIN_TYPES: types}
    return {"metadata": {"name": "n", "labels": labels, "annotations": annotations}}


def cluster(*nodes: dict[str, Any], listed: tuple[str, ...] = ()) -> ClusterNetworks:
    return merge_nodes(map(parse_node, nodes), listed)


def decide(value: str, *nodes: dict[str, Any]) -> tuple[list[str], tuple[str, ...]]:
    """Return why a pod with *value* is refused, and what it is warned of."""
    decision = admit(pod(value), PLAIN, cluster(*nodes), "off")
    return messages(decision), decision.warnings


@pytest.mark.parametrize(
    ("nodes", "refusals", "warnings"),
    [
        pytest.param([node("weave", types=WEAVE)], [TWICE], (), id="the only node"),
        pytest.param([node("weave", types=WEAVE)] * 3, [TWICE], (), id="every node"),
        pytest.param(
            [node("weave", types=f"{WEAVE},portmap"), node("weave", "canal", types=WEAVE)],
            [TWICE],
            (),
            id="nodes of different kinds that agree",
        ),
        pytest.param(
            [node("weave", types=WEAVE), node("canal", types="canal=bridge"), node()],
            [TWICE],
            (),
            id="nodes without the network are not asked",
        ),
        pytest.param(
            [node("weave", types=WEAVE), node("canal", types="canal=ptp", absent=("weave",))],
            [],
            (SOME_TWICE,),
            id="one node cannot attach it now, and may do it otherwise",
        ),
        pytest.param(
            [node("canal", types=WEAVE, absent=("weave",)), node("weave", types=WEAVE)],
            [],
            (SOME_TWICE,),
            id="one node that claims to be the only one refuses nothing",
        ),
        pytest.param([node("weave")], [], (), id="no annotation"),
        pytest.param([node("weave", types="weave=bridge")], [], (), id="a plugin without a limit"),
        pytest.param(
            [node("weave", types=WEAVE), node("weave", types="weave=bridge")],
            [],
            (SOME_TWICE,),
            id="one node disagrees",
        ),
        pytest.param(
            [node("weave", types=WEAVE), node("weave")],
            [],
            (SOME_TWICE,),
            id="one node has no annotation",
        ),
        pytest.param(
            [node("weave", types=WEAVE), node("weave", types="x" * (plugin_types.MAX_BYTES + 1))],
            [],
            (SOME_TWICE,),
            id="one node has an annotation that is too long",
        ),
        pytest.param(
            [node("weave", types=WEAVE), node("weave", types="weave=weave=net;;\x00")],
            [],
            (SOME_TWICE,),
            id="one node has an annotation that is malformed",
        ),
        pytest.param(
            [node("weave", types="weave=bridge"), node("weave", types=f"{WEAVE};canal=calico")],
            [],
            (SOME_TWICE,),
            id="one hostile node refuses nothing",
        ),
        pytest.param(
            [node("weave", types="weave=bridge"), node(types=WEAVE)],
            [],
            (),
            id="a node that names a network without having it",
        ),
        pytest.param(
            [node("weave", types="weave=calico"), node("weave", types="weave=flannel")],
            [],
            (
                SOME_TWICE.replace("weave-net", "calico"),
                SOME_TWICE.replace("weave-net", "flannel"),
                CALICO_SECONDARY.replace("calico", "weave", 1),
            ),
            id="nodes that refuse for different reasons do not agree",
        ),
    ],
)
def test_one_network_twice_is(
    nodes: list[dict[str, Any]], refusals: list[str], warnings: tuple[str, ...]
) -> None:
    """Refused if every node that has the network says so."""
    assert decide("weave,weave@net1", *nodes) == (refusals, warnings)


BOTH = "canal=calico,portmap;calico=calico"


@pytest.mark.parametrize(
    ("nodes", "refused"),
    [
        pytest.param([node("canal", "calico", types=BOTH)], True, id="one node with both"),
        pytest.param(
            [node("canal", "calico", types=BOTH), node("canal", types="canal=bridge")],
            True,
            id="a node with one of them cannot run the pod",
        ),
        pytest.param(
            [node("canal", "calico", types=BOTH), node("canal", "calico", types="calico=calico")],
            False,
            id="a node that says nothing of one of them",
        ),
        pytest.param(
            [node("canal", "calico", types=BOTH), node("canal", absent=("calico",))],
            False,
            id="a node that has both, one of them not at present",
        ),
        pytest.param(
            [node("canal", "calico", types=BOTH), node(absent=("canal", "calico"))],
            False,
            id="a node that has neither at present",
        ),
        pytest.param(
            [node("canal", types=BOTH), node("calico", types=BOTH)], False, id="no node has both"
        ),
    ],
)
def test_two_networks_of_one_plugin(nodes: list[dict[str, Any]], refused: bool) -> None:  # noqa: FBT001 - a column of the table
    """Are refused by plugin type, whatever their names."""
    refusals, _ = decide("canal,calico", *nodes)
    assert bool(refusals) == refused
    assert not refused or '"calico": item 2: item 1 ("canal") uses the same plugin' in refusals[0]


@pytest.mark.parametrize("listed", ["canal", "calico"])
def test_a_network_of_the_setting_is_refused_by_no_node_that_exists(listed: str) -> None:
    """A node group that scales from zero may bring nodes which can run the pod."""
    networks = cluster(node("canal", "calico", types=BOTH), listed=(listed, "weave"))
    decision = admit(pod("canal,calico"), PLAIN, networks, "off")
    both = '"canal", "calico": plugin "calico" can attach a pod only once; choose one'
    assert decision.allowed
    assert decision.warnings[0] == f"some nodes will refuse the pod: {both}"


def test_kinds_of_nodes_that_say_the_same_of_a_pod_are_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A review costs little with hundreds of kinds of nodes, the next of its value nothing."""
    calls: list[Any] = []
    conflicts = plugin_rules.conflicts

    def counted(plan: Any) -> Any:
        calls.append(plan)
        return conflicts(plan)

    monkeypatch.setattr(plugin_rules, "conflicts", counted)
    nodes = [node("weave", f"n{i}", types=f"{WEAVE};n{i}=calico") for i in range(500)]
    networks = cluster(*nodes)
    assert len(networks.plugin_types) == 500
    for _ in range(2):
        decision = admit(pod("weave,weave@net1"), PLAIN, networks, "off")
        assert (messages(decision), len(calls)) == ([TWICE], 1)


def test_what_the_nodes_said_is_forgotten_when_they_change() -> None:
    """And of many values only some are remembered."""
    for types, refusals in ((WEAVE, [TWICE]), ("weave=bridge", [])):
        networks = cluster(node("weave", types=types))
        for number in range(2 * combinations.MAX_REMEMBERED):
            decision = admit(pod(f"weave,weave@n{number}"), PLAIN, networks, "off")
            assert messages(decision) == refusals
    assert len(combinations._cache._results) <= combinations.MAX_REMEMBERED


def test_plugins_of_networks_that_are_left_out_are_left_out_too() -> None:
    """Pods cannot name them: nodes with ever more names do not make reviews slower."""
    hostile = [
        node(*names, types=";".join(f"{name}=calico" for name in names))
        for letter in "abcde"
        for names in [[f"{letter}{number}" for number in range(MAX_PER_NODE)]]
    ]
    named = {name for kind in cluster(*hostile).plugin_types for name in kind}
    assert len(named) == MAX_KNOWN


def test_a_secondary_that_would_be_unreachable_is_a_warning() -> None:
    """The pod starts; nobody reaches it there."""
    nodes = [node("weave", "calico", types=f"calico=calico;{WEAVE}")]
    assert decide("weave,calico@net1", *nodes) == ([], (CALICO_SECONDARY,))
    assert decide("weave@net1,calico", *nodes) == ([], ())
    assert decide("calico", *nodes) == ([], ())


def test_a_conflict_stands_among_the_other_faults_in_the_order_of_the_items() -> None:
    """Everything that is wrong with a value is said at once."""
    refusals, _ = decide("weave,wave,weave", node("weave", types=WEAVE))
    assert [text.partition(": item ")[2][:1] for text in refusals] == ["2", "3"]


def test_a_default_that_was_filled_in_is_named_as_such() -> None:
    """Its author is not the pod's."""
    namespace = Namespace("team-a", default="weave,weave")
    networks = cluster(node("weave", types=WEAVE))
    refusal = admit(pod(), namespace, networks, "off")
    assert messages(refusal) == [f'{TWICE} (the default of namespace "team-a")']


TEMPLATE = (
    'pods will be refused: "weave" listed twice: plugin "weave-net" can attach a pod only once; '
    "list it once"
)
IN_TEMPLATE = "spec.template.metadata.annotations[cni]: "
IN_NAMESPACE = "metadata.annotations[cni]: "


@pytest.mark.parametrize(
    ("types", "rules", "code", "warnings"),
    [
        pytest.param((WEAVE,), TemplateRules(), 200, (TEMPLATE,), id="a warning"),
        pytest.param((WEAVE,), TemplateRules(doubtful="deny"), 422, (), id="a refusal, if so set"),
        pytest.param((WEAVE,), TemplateRules(doubtful="off"), 200, (), id="nothing, if so set"),
        pytest.param(
            (WEAVE, "weave=bridge"), TemplateRules(), 200, (SOME_TWICE,), id="of some nodes"
        ),
        pytest.param((WEAVE, ""), TemplateRules(doubtful="off"), 200, (), id="of some nodes, off"),
    ],
)
def test_a_template_is_treated_as_for_other_faults_that_may_pass(
    types: tuple[str, ...], rules: TemplateRules, code: int, warnings: tuple[str, ...]
) -> None:
    """The nodes may change."""
    networks = cluster(*(node("weave", types=each) for each in types))
    rules = rules._replace(pods=PodRules(scheduling="off"))
    decision = admit_template(review(workload("weave,weave")), PLAIN, networks, rules)
    expected = tuple(f"{IN_TEMPLATE}{each}" for each in warnings)
    assert (decision.code, decision.warnings) == (code, expected)


@pytest.mark.parametrize(
    ("types", "warnings"),
    [
        pytest.param((WEAVE,), (TEMPLATE,), id="every node"),
        pytest.param((WEAVE, "weave=bridge"), (SOME_TWICE,), id="some nodes"),
        pytest.param(("weave=bridge",), (), id="none"),
    ],
)
def test_a_namespaces_default_is_warned_of(
    types: tuple[str, ...], warnings: tuple[str, ...]
) -> None:
    """Namespaces are often written before the nodes exist, so it is no refusal."""
    manifest = {
        "kind": "Namespace",
        "metadata": {"name": "x", "annotations": {"cni": "weave,weave"}},
    }
    networks = cluster(*(node("weave", types=each) for each in types))
    decision = admit_namespace(review(manifest), networks)
    expected = tuple(f"{IN_NAMESPACE}{each}" for each in warnings)
    assert (decision.allowed, decision.warnings) == (True, expected)


def test_thousands_of_nodes_of_one_kind_are_one_entry() -> None:
    """And nodes that differ in nothing that a rule is about are of one kind."""
    nodes = [
        node("weave", f"own-{number}", types=f"{WEAVE};own-{number}=bridge")
        for number in range(2000)
    ]
    assert cluster(*nodes).plugin_types == ({"weave": ("weave-net",)},)


def test_a_node_that_changes_for_ever_fills_no_memory() -> None:
    """Kinds of nodes that are gone are forgotten."""
    caches = InformerCaches(cast("KubeClient", None), ())  # nothing is asked for
    for number in range(3 * MAX_INTERNED):
        caches._keep_node(node("weave", types=f"n{number}=calico", absent=(f"n{number}",)))
    assert len(caches._interned) <= MAX_INTERNED
