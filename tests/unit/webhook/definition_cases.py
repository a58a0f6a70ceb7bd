"""Definitions of a small cluster, what pods of ``shop`` select of them, and the decision on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dispatcher.keys import DEFAULT_NETWORK, NETWORKS
from tests.unit.webhook.builders import NETWORKS as KNOWN
from tests.unit.webhook.builders import review
from webhook.definition_snapshot import Definitions, KnownDefinition
from webhook.objects import parse_pod
from webhook.pods import PodRules, admit_pod
from webhook.selections import read_selections
from webhook.snapshot import ClusterNetworks, Namespace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from webhook.decision import Decision

SHOP = Namespace("shop")
HASH = "3f9c2a"
IPS = frozenset({"ips", "portMappings"})
DEFINITIONS = Definitions(
    {
        "shop/blue": KnownDefinition(HASH, IPS),
        "shop/red": KnownDefinition("b01d77"),
        "shop/bleu": None,
        "shop/bad": KnownDefinition(HASH, refused="spec.config: type: is a path"),
        "shop/weave": KnownDefinition(HASH, refers_to_node_network=True),
        "shop/gone": KnownDefinition(HASH, refers_to_node_network=True),
        "bank/gold": KnownDefinition(HASH),
        "common/lan": KnownDefinition(HASH),
        "kube-system/lan": KnownDefinition(HASH),
        "kube-system/blue": None,
    },
    {"shop": frozenset({"blue", "red"})},
)


def decide(
    pod: Mapping[str, Any],
    rules: PodRules,
    namespace: Namespace = SHOP,
    *,
    old: Mapping[str, Any] | None = None,
    networks: ClusterNetworks = KNOWN,
    definitions: Definitions = DEFINITIONS,
) -> Decision:
    """Return the decision on *pod*, with the definitions that its annotations select."""
    annotations = pod["metadata"].get("annotations", {})
    return admit_pod(
        review(pod, old),
        parse_pod(pod),
        namespace,
        networks,
        rules,
        selections=read_selections(annotations, namespace, networks),
        definitions=definitions,
    )


VALID = {
    "one": ({NETWORKS: "blue"}, f"shop/blue:{HASH}"),
    "two, with blanks and an interface": (
        {NETWORKS: " red , blue@data"},
        f"shop/red:b01d77,shop/blue:{HASH}",
    ),
    "one twice": ({NETWORKS: "red,red"}, "shop/red:b01d77,shop/red:b01d77"),
    "beside cni": ({"cni": "weave", NETWORKS: "red"}, "shop/red:b01d77"),
    "the primary": (
        {DEFAULT_NETWORK: "common/lan", NETWORKS: "red"},
        f"=common/lan:{HASH},shop/red:b01d77",
    ),
    "the primary, one of Multus' namespace": (
        {DEFAULT_NETWORK: "lan", NETWORKS: "red"},
        f"=kube-system/lan:{HASH},shop/red:b01d77",
    ),
    "JSON, with addresses": (
        {NETWORKS: '[{"name": "blue", "ips": ["10.0.0.2/24"]}]'},
        f"shop/blue:{HASH}",
    ),
    "without a config": ({NETWORKS: "weave"}, f"shop/weave:{HASH}+nodeNetwork"),
}
"""Annotations without a fault, and the attachments that are written for them."""

JSON_PORTS = '[{"name": "blue", "portMappings": [{"hostPort": 80, "containerPort": 80}]}]'
LISTED = Namespace("shop", allowed=("canal", "bank/*"))
FAULTY: dict[str, tuple[dict[str, str], Namespace, list[str]]] = {
    "unknown": (
        {NETWORKS: "red,bleu"},
        SHOP,
        [
            (
                'Not found: "shop/bleu": item 2: no NetworkAttachmentDefinition has this name '
                '(did you mean "blue"?)'
            )
        ],
    ),
    "of another namespace": (
        {NETWORKS: "bank/gold"},
        SHOP,
        [
            (
                'Forbidden: item 1: "bank/gold" is in another namespace than the pod, "shop"; '
                "ask a cluster administrator to add it to the annotation "
                '"cni-genie.io/allowed" of "shop"'
            )
        ],
    ),
    "of another namespace, as the primary": (
        {DEFAULT_NETWORK: "bank/gold"},
        SHOP,
        ['Forbidden: item 1: "bank/gold" is in another namespace'],
    ),
    "a primary without a namespace, which is one of Multus' namespace": (
        {DEFAULT_NETWORK: "blue"},
        SHOP,
        ['Not found: "kube-system/blue": item 1: no NetworkAttachmentDefinition has this name'],
    ),
    "refused by the validator": (
        {NETWORKS: "bad"},
        SHOP,
        [
            (
                'Invalid value: "shop/bad": item 1: this definition cannot be attached on any '
                "node: spec.config: type: is a path"
            )
        ],
    ),
    "a capability that no plugin declares": (
        {NETWORKS: '[{"name": "blue"}, {"name": "red", "mac": "02:00:00:00:00:01"}]'},
        SHOP,
        [
            (
                'Invalid value: "mac": item 2: no plugin of definition "shop/red" declares this '
                'capability; do not request it, or add it to "capabilities" of a plugin'
            )
        ],
    ),
    "port mappings": (
        {NETWORKS: JSON_PORTS},
        SHOP,
        ['Forbidden: item 1: "portMappings": pods may not take ports of the node'],
    ),
    "a network of the nodes outside the allow-list": (
        {NETWORKS: "weave"},
        LISTED,
        [
            (
                'Forbidden: item 1: definition "shop/weave" has no config, so it selects the '
                'network "weave", which is not allowed in namespace "shop"'
            )
        ],
    ),
    "a network that no node has": (
        {NETWORKS: "gone"},
        SHOP,
        [
            (
                'Unsupported value: item 1: definition "shop/gone" has no config, so it selects '
                'the network "gone", which no node has'
            )
        ],
    ),
    "no answer": (
        {NETWORKS: "later"},
        SHOP,
        [
            (
                'Internal error: item 1: "shop/later" could not be validated: the API server did '
                "not answer; create the pod again"
            )
        ],
    ),
    "more networks than the limit": (
        {"cni": "weave,canal", NETWORKS: "red,blue,common/lan"},
        SHOP,
        ['over the limit: 5 networks, but at most 4 are allowed in namespace "shop"'],
    ),
    "one definition too often": (
        {NETWORKS: "red,red,red"},
        SHOP,
        ['over the limit: 3 attachments of network "shop/red", but at most 2'],
    ),
    "an empty definition counts as the network": (
        {"cni": "weave,weave", NETWORKS: "weave"},
        SHOP,
        ['over the limit: 3 attachments of network "weave"'],
    ),
    "cni beside default-network": (
        {"cni": "weave", DEFAULT_NETWORK: "red"},
        SHOP,
        ['Invalid value: cannot be combined with "cni", because both choose the primary'],
    ),
    "an interface twice": (
        {"cni": "canal,weave@data", NETWORKS: "red@data"},
        SHOP,
        ['Duplicate value: "data": item 1: the interface is already used by "cni"'],
    ),
}
"""Annotations with faults, the namespace of their pod, and the beginning of each sentence."""
