"""DEL releases everything that ADD attached, whatever has changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.node.harness import Left

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.node.harness import Node
    from tests.node.namespaces import Container

NOTHING = Left({"weave": [], "canal": []}, [], [], [])
BOTH = "weave,canal@net1"


def _after_reboot(node: Node, pod: Container) -> dict[str, Any]:
    node.reboot(pod)
    return {}


def _after_reboot_without_netns(node: Node, pod: Container) -> dict[str, Any]:
    node.reboot(pod)
    return {"env": {"CNI_NETNS": ""}}


def _empty_conf_dir(node: Node, _: Container) -> dict[str, Any]:
    for file in (node.folder / "conf").iterdir():
        file.unlink()
    return {}


CHANGES: dict[str, Callable[[Node, Container], dict[str, Any]]] = {
    "nothing changed": lambda _, __: {},
    "the node was rebooted": _after_reboot,
    "the netns is gone and none is named": _after_reboot_without_netns,
    "the conf directory is empty": _empty_conf_dir,
    "the annotation names something else": lambda _, __: {"annotation": "weave"},
    "the annotation is gone": lambda _, __: {"annotation": None},
    "the annotation is refused by the grammar": lambda _, __: {"annotation": "..,@"},
    "the default is another": lambda _, __: {"default": "another"},
    "neither runtime nor API nor agent know the annotation": lambda _, __: {
        "runtimeConfig": {},
        "agentSocket": "/run/no-agent.sock",
    },
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_del_frees_all_although(
    node: Node, change: Callable[[Node, Container], dict[str, Any]]
) -> None:
    """DEL needs only the record, and succeeds; so does a second DEL."""
    pod = node.container("pod")
    node.add(pod, BOTH).succeeded()
    assert node.links(pod) == ["eth0", "net1"]
    assert [len(node.addresses(name)) for name in ("weave", "canal")] == [1, 1]
    more = {"annotation": BOTH, **change(node, pod)}
    for _ in range(2):
        assert node.delete(pod, **more).succeeded() is None
        assert node.left(*([pod] if pod.netns.exists() else [])) == NOTHING


def test_a_delegate_that_really_fails_keeps_the_record_and_the_next_del_goes_on(
    node: Node,
) -> None:
    """DEL returns the delegate's error; what is released stays so, the rest stays recorded."""
    pod = node.container("pod")
    node.add(pod, BOTH).succeeded()
    refusal = '{"cniVersion": "1.0.0", "code": 123, "msg": "no", "details": "the switch is down"}'
    node.delegate(
        "bridge",
        f"[ \"$CNI_IFNAME\" = eth0 ] || exec $REAL/bridge\necho '{refusal}'; exit 1",
    )
    error = node.delete(pod, BOTH).failed(123)
    assert error["details"] == "the switch is down"
    assert "weave" in error["msg"]
    assert error["msg"].endswith(": no")
    assert node.phases(pod) == {"eth0": "releasing"}
    assert (len(node.addresses("weave")), node.addresses("canal")) == (1, [])
    (node.bin / "bridge").unlink()
    node.delete(pod, BOTH).succeeded()
    assert node.left(pod) == NOTHING


def test_a_call_frees_only_what_the_call_with_its_interface_made(node: Node) -> None:
    """A runtime may attach a container twice; the DEL of one keeps the record of the other."""
    pod = node.container("pod")
    node.add(pod, BOTH).succeeded()
    node.add(pod, "canal,weave@net6", env={"CNI_IFNAME": "net5"}).succeeded()
    assert node.links(pod) == ["eth0", "net1", "net5", "net6"]
    node.delete(pod, BOTH).succeeded()
    assert node.links(pod) == ["net5", "net6"]
    assert list(node.phases(pod)) == ["net5", "net6"]
    node.delete(pod, env={"CNI_IFNAME": "net5"}).succeeded()
    assert node.left(pod) == NOTHING


def test_the_chain_of_a_network_is_freed_when_its_last_plugin_fails(node: Node) -> None:
    """ADD fails in portmap, after bridge: the roll-back covers the whole chain."""
    node.network("canal", node.bridge_conf("canal", "10.244.0.0/16"), {"type": "portmap"})
    node.delegate("portmap", "[ $CNI_COMMAND != ADD ] || exit 1\nexec $REAL/portmap")
    pod = node.container("pod")
    assert "plugin portmap" in node.add(pod, BOTH).failed(103)["msg"]
    assert node.left(pod) == NOTHING
