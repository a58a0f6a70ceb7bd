"""Containers that outlive Genie on a node: the runtime or a reinstalled Genie releases them.

The real cnitool, with the real libcni inside, is the runtime.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.node.harness import Left
from tests.node.runtime import id_given_by_cnitool, install_genie_conflist, libcni, reap

if TYPE_CHECKING:
    from pathlib import Path

    from tests.node.harness import Node
    from tests.node.namespaces import Container

NOTHING = Left({"weave": []}, [], [], [])


def leave(node: Node, pod: Container) -> None:
    """Let the reaper hand *pod* over to the runtime, on a node where weave becomes the network."""
    (node.folder / "conf" / "10-canal.conflist").unlink()
    arguments = ["--mode=remove", f"--cni-bin-dir={node.bin}", f"--cni-conf-dir={node.folder}/conf"]
    assert reap(node, pod.id, arguments) == []
    left = sorted(path.name for path in node.state.iterdir())
    assert left == [".gc.lock", "journal"]


def test_a_genie_with_another_default_releases_what_was_handed_over(node: Node) -> None:
    """The pod is on the former default network, and has no annotation."""
    pod = node.container("pod")
    node.add(pod, default="weave").succeeded()
    leave(node, pod)
    node.bridge("canal", "10.244.0.0/16")
    assert len(node.addresses("weave")) == 1
    node.delete(pod, default="canal").succeeded()
    assert node.left(pod) == NOTHING
    assert list(node.cache.iterdir()) == []


def test_the_runtime_releases_what_was_handed_over_with_the_result(
    node: Node, cnitool: Path
) -> None:
    """Libcni reads the cache entry as its own, passes the result to the plugins, and removes it."""
    install_genie_conflist(node)
    pod = node.container("pod")
    libcni(node, cnitool, "add", "genie", pod)
    leave(node, id_given_by_cnitool(node, pod))
    told = "[ $CNI_COMMAND = DEL ] || exec $REAL/bridge\ntee $HERE/told | $REAL/bridge"
    node.delegate("bridge", told)
    libcni(node, cnitool, "del", "weave", pod)
    conf = json.loads((node.folder / "told").read_bytes())
    assert conf["prevResult"]["ips"]
    assert node.left(pod) == NOTHING
    assert list(node.cache.iterdir()) == []
