from __future__ import annotations

from typing import Any

import pytest

from cli.explain import (
    BY_ANNOTATION,
    BY_CHOICE,
    BY_CLUSTER,
    BY_NAMESPACE,
    BY_NOBODY,
    Planned,
    explain,
)
from cli.facts import read_node
from tests.unit.kubectl_genie.builders import node
from webhook.snapshot import ClusterNetworks, Namespace, NodeCount

NODES = [
    read_node(node("n1", canal="true", weave="true")),
    read_node(node("n2", canal="true", weave="false")),
]
NETWORKS = ClusterNetworks(
    known=frozenset({"canal", "weave"}),
    present=frozenset({"canal", "weave"}),
    nodes={"canal": NodeCount(2, 2), "weave": NodeCount(1, 2)},
)
SHOP = Namespace(name="shop")


def pod(cni: str | None = None, **spec: Any) -> dict[str, Any]:
    annotations = {} if cni is None else {"cni": cni}
    return {"metadata": {"annotations": annotations}, "spec": spec}


CHOICES = [
    pytest.param(pod("weave,canal@net1"), SHOP, BY_ANNOTATION, ["eth0", "net1"], id="annotation"),
    pytest.param(pod(), SHOP._replace(default="weave"), BY_NAMESPACE, ["eth0"], id="namespace"),
    pytest.param(pod(), SHOP._replace(choose="weave"), BY_CHOICE, ["eth0"], id="list"),
    pytest.param(pod(), SHOP, BY_CLUSTER, ["eth0"], id="cluster"),
    pytest.param(pod(" "), SHOP, BY_CLUSTER, ["eth0"], id="a blank annotation"),
    pytest.param(
        pod("weave", hostNetwork=True),
        SHOP,
        f"{BY_NOBODY}uses the node's network (hostNetwork)",
        [],
        id="a pod on the host network",
    ),
    pytest.param(
        pod("weave", os={"name": "windows"}),
        SHOP,
        f"{BY_NOBODY}is a Windows pod",
        [],
        id="a Windows pod",
    ),
    pytest.param(
        {"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}},
        SHOP,
        f"{BY_NOBODY}is a mirror pod of a static pod",
        [],
        id="a mirror pod",
    ),
]


@pytest.mark.parametrize(("value", "namespace", "chosen_by", "interfaces"), CHOICES)
def test_who_chose_the_networks(
    value: dict[str, Any], namespace: Namespace, chosen_by: str, interfaces: list[str]
) -> None:
    """The nearest choice wins: the pod's, its namespace's, the cluster's."""
    result = explain("Pod shop/web", value, namespace, NODES, NETWORKS, "canal")
    assert result.chosen_by == chosen_by
    assert [each.interface for each in result.attachments] == interfaces


def test_nodes_qualify_if_they_can_attach_every_network() -> None:
    """A network that one node cannot attach at present keeps the pod from that node."""
    result = explain("Pod shop/web", pod("canal,weave"), SHOP, NODES, NETWORKS, "canal")
    assert (result.nodes, result.other_nodes) == (("n1",), ("n2",))
    assert result.attachments[0] == Planned("eth0", "canal", is_primary=True)
    result = explain("Pod shop/web", pod("canal"), SHOP, NODES, NETWORKS, "canal")
    assert result.nodes == ("n1", "n2")


@pytest.mark.parametrize(
    ("minimum", "network"),
    [
        pytest.param(50, "weave", id="half of the nodes are enough"),
        pytest.param(51, "canal", id="half of the nodes are too few"),
    ],
)
def test_a_choice_from_the_list_is_the_webhooks(minimum: int, network: str) -> None:
    """By what the nodes can attach now, and the webhook's setting."""
    namespace = SHOP._replace(choose="weave,canal")
    result = explain("Pod shop/web", pod(""), namespace, NODES, NETWORKS, "canal", minimum=minimum)
    assert [each.network for each in result.attachments] == [network]
    assert bool(result.warnings) == (network == "canal")
    offline = explain("Pod shop/web", pod(""), namespace, None, None, "canal", minimum=minimum)
    assert [each.network for each in offline.attachments] == ["weave"]
    assert offline.warnings == ()


def test_a_refusal_is_the_webhooks() -> None:
    """With the field, and the nearest name."""
    result = explain("Pod shop/web", pod("cannal"), SHOP, NODES, NETWORKS, "canal")
    [refusal] = result.refusals
    assert refusal.startswith("metadata.annotations[cni]: Unsupported value")
    assert result.attachments == ()


def test_without_a_default_a_pod_that_asks_for_nothing_gets_nothing_from_genie() -> None:
    """Nothing is installed on the nodes then."""
    assert explain("Pod shop/web", pod(), SHOP, NODES, NETWORKS, "").attachments == ()


def test_a_cluster_without_networks_cannot_decide() -> None:
    """As the webhook, which answers 503 then."""
    result = explain("Pod shop/web", pod("weave"), SHOP, [], ClusterNetworks(), "")
    assert "no network is known yet" in result.refusals[0]


def test_a_field_of_the_wrong_type_is_a_refusal() -> None:
    """With its reason, as `lint` prints it; not a traceback."""
    value = {"metadata": {"annotations": {"cni": 3}}}
    [refusal] = explain("Pod shop/web", value, SHOP, NODES, NETWORKS, "canal").refusals
    assert "annotations" in refusal


def test_where_nodes_are_not_known_every_well_formed_name_counts() -> None:
    """A namespaced developer may not list nodes; the grammar holds all the same."""
    result = explain("Pod shop/web", pod("cannal@eth0,weave"), SHOP, None, None, "canal")
    assert (result.refusals, result.nodes) == ((), None)
    assert [each.network for each in result.attachments] == ["cannal", "weave"]
    assert explain("Pod shop/web", pod("@"), SHOP, None, None, "canal").refusals
    [refusal] = explain("Pod shop/web", pod("canal@net1"), SHOP, None, None, "canal").refusals
    assert "one network must be attached" in refusal
