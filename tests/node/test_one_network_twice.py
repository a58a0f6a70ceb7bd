"""A pod that is twice on one network, where that network's plugin keeps state per container."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.node.harness import Node


def test_one_delete_frees_both_interfaces_of_a_masquerading_bridge(node: Node) -> None:
    """``bridge`` keeps one chain of rules for both, and cannot remove it with the first of them."""
    node.network("twice", {**node.bridge_conf("twice", "10.9.0.0/24"), "ipMasq": True})
    pod = node.container("pod")
    node.add(pod, "twice,twice@net1").succeeded()
    rules = "iptables-save -t nat | grep CNI- || true"
    assert "10.9.0." in node.sh(rules)
    node.delete(pod).succeeded()
    assert (node.records(), node.addresses("twice"), node.sh(rules)) == ({}, [], "")
