"""A pod is twice on one network whose plugin keeps state per container."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dispatcher import cni_errors

if TYPE_CHECKING:
    from tests.node.harness import Node


def test_one_delete_frees_both_interfaces_of_a_masquerading_bridge(node: Node) -> None:
    """``bridge`` has one chain of rules for both and cannot remove it with the first one."""
    node.network("twice", {**node.bridge_conf("twice", "10.9.0.0/24"), "ipMasq": True})
    pod = node.container("pod")
    node.add(pod, "twice,twice@net1").succeeded()
    rules = "iptables-save -t nat | grep CNI- || true"
    assert "10.9.0." in node.sh(rules)
    node.delete(pod).succeeded()
    assert (node.records(), node.addresses("twice"), node.sh(rules)) == ({}, [], "")


@pytest.mark.parametrize(
    ("first", "second", "plugin_type"),
    [
        pytest.param("flannel", "flannel", "flannel", id="one network"),
        pytest.param("canal", "calico", "calico", id="two networks of one plugin"),
    ],
)
def test_a_plugin_that_can_attach_a_pod_only_once_is_not_called_twice(
    node: Node, first: str, second: str, plugin_type: str
) -> None:
    """The pod is refused before anything is attached; each network alone works.

    The stand-in is the real bridge plugin under the name of the product's.
    """
    node.delegate(plugin_type, 'echo "$CNI_COMMAND" >> $HERE/calls; exec $REAL/bridge')
    for number, name in enumerate(sorted({first, second})):
        node.bridge(name, f"10.{9 + number}.0.0/24", kind=plugin_type)
    calls = node.folder / "calls"
    pod = node.container("pod")
    before = node.left(pod)

    refused = node.add(pod, f"weave,{first}@net1,{second}@net2").failed(
        cni_errors.INVALID_ANNOTATION
    )
    assert f'plugin "{plugin_type}"' in refused["msg"]
    assert "can attach a pod only once" in refused["msg"]
    assert (calls.exists(), node.left(pod)) == (False, before)

    node.delete(pod, f"weave,{first}@net1,{second}@net2").succeeded()
    for name in sorted({first, second}):
        node.add(pod, f"weave,{name}@net1").succeeded()
        node.delete(pod).succeeded()
    assert not any(node.left(pod).addresses.values())
