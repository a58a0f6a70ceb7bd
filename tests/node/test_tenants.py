"""Definitions of tenants on a node: the agent's code copies them, and the real plugins attach."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import cni_errors
from dispatcher.nad.tenant_templates import TenantRules, read_templates
from tests.node.definitions import asks, copy_as_agent, permit_copies, sync
from tests.tenants import BRIDGE, TEMPLATES, TRUSTED, attacks, network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dispatcher.nad.definition_copy import DefinitionCopy
    from tests.node.harness import Node
    from tests.node.namespaces import Container

RULES = TenantRules(frozenset({TRUSTED}), read_templates(json.dumps(TEMPLATES)))
MAC = "02:00:00:00:00:09"


@pytest.fixture
def pod(node: Node) -> Iterator[Container]:
    """Yield a container, which has nothing after the test, nor has the node of it."""
    container = node.container("pod")
    before = host_state(node)
    yield container
    node.delete(container).succeeded()
    assert (node.links(container), node.records()) == ([], {})
    assert host_state(node) == before


def host_state(node: Node) -> list[str]:
    """Return addresses and host ports of *node*, which an attack would change.

    Without the bridges of the pods' own networks.
    """
    addresses = json.loads(node.sh("ip -json -4 address"))
    rules = node.sh("iptables-save -t nat | grep -e CNI-DN || true").splitlines()
    return rules + [
        f"{link['ifname']} {each['local']}"
        for link in addresses
        for each in link["addr_info"]
        if link["ifname"] not in {BRIDGE, "weave0"}
    ]


def copied(node: Node, name: str, config: Any) -> DefinitionCopy:
    """Return the agent's copy of the tenant's definition *name*."""
    sync_folder(node)
    return copy_as_agent(
        node, RULES, name, config if isinstance(config, str) else json.dumps(config)
    )


def sync_folder(node: Node) -> None:
    (node.folder / "state" / "nad").mkdir(parents=True, exist_ok=True)
    sync(node)


@pytest.mark.parametrize("name", attacks("ns"))
def test_an_attack_attaches_nothing(node: Node, pod: Container, name: str) -> None:
    """Code 102 with the sentence of the agent; the pod gets its other networks neither."""
    config, part = attacks("ns")[name]
    copy = copied(node, name, config)
    assert part in copy.refused
    assert copy.config == ""
    error = node.add(pod, **asks(name, permit_copies(node, name))).failed(cni_errors.BROKEN_NETWORK)
    assert copy.refused in error["msg"]
    assert (node.links(pod), node.records()) == ([], {})


def test_a_pod_takes_an_address_of_the_range_and_no_other(node: Node, pod: Container) -> None:
    """By the capability ``ips``, which host-local holds against the tenant's range."""
    assert copied(node, "net", network("ns")).refused == ""
    outside = [{"name": "net", "ips": ["10.78.2.9/24"]}]
    error = node.add(pod, **asks(outside, permit_copies(node, "net"))).failed()
    assert "failed to allocate all requested IPs" in error["msg"]
    inside = [{"name": "net", "ips": ["10.78.1.77/24"]}]
    node.add(pod, **asks(inside, permit_copies(node, "net"))).succeeded()
    assert "10.78.1.77" in node.sh("ip -4 address show net1", net=pod.netns)


CNI_ARGS: dict[str, dict[str, Any]] = {
    "a sysctl, by tuning": {"sysctl": {"net.ipv4.conf.IFNAME.forwarding": "1"}},
    "a MAC, by bridge": {"mac": MAC},
    "an address, by host-local": {"ips": ["10.78.1.77"]},
}


@pytest.mark.parametrize("cni_args", CNI_ARGS.values(), ids=CNI_ARGS)
def test_a_pod_overrides_nothing_by_cni_args(
    node: Node, pod: Container, cni_args: dict[str, Any]
) -> None:
    """Nor by ``mac`` where the cluster passes missing capabilities in CNI_ARGS."""
    assert copied(node, "net", network("ns")).refused == ""
    selection = [{"name": "net", "cni-args": cni_args}]
    error = node.add(pod, **asks(selection, permit_copies(node, "net"))).failed(
        cni_errors.INVALID_ANNOTATION
    )
    assert 'in "cni-args"' in error["msg"]
    request = asks([{"name": "net", "mac": MAC}], permit_copies(node, "net"))
    request["args"] = {
        key: {**each, "missingCapability": "cni-args"} for key, each in request["args"].items()
    }
    node.add(pod, **request).failed(cni_errors.INVALID_ANNOTATION)
    assert (node.links(pod), node.records()) == ([], {})


def test_what_a_template_lists_reaches_the_plugins(node: Node, pod: Container) -> None:
    """Which read it over their configuration: that is why a template lists it."""
    templates = json.dumps([{**TEMPLATES[0], "cniArgs": ["mac"]}])
    sync_folder(node)
    rules = TenantRules(frozenset(), read_templates(templates))
    copy_as_agent(node, rules, "net", json.dumps(network("ns")))
    node.add(
        pod, **asks([{"name": "net", "cni-args": {"mac": MAC}}], permit_copies(node, "net"))
    ).succeeded()
    assert MAC in node.sh("ip link show net1", net=pod.netns)
