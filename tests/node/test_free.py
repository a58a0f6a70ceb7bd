"""``genie free`` with real plugins: it releases a container by hand, and not a running one."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.node.calls import LONG, Answer, wait_for
from tests.node.harness import Left
from tests.node.runtime import id_given_by_cnitool, libcni

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.node.harness import Node
    from tests.node.namespaces import Container

BOTH = "weave,canal@net1"
NOTHING = Left({"weave": [], "canal": []}, [], [], [])


@pytest.fixture
def free(node: Node) -> Callable[..., Answer]:
    """Return a function that runs ``genie free`` on a node with Genie's conflist."""
    net_dir = node.folder / "net.d"
    net_dir.mkdir()
    own = {key: node.conf()[key] for key in ("type", "default", "confDirs", "stateDir")}
    conflist = {"cniVersion": "1.0.0", "name": "genie", "plugins": [own]}
    (net_dir / "00-genie.conflist").write_text(json.dumps(conflist))
    directories: list[str | Path] = [
        "--net-dir",
        net_dir,
        "--cni-path",
        node.bin,
        "--cni-path",
        node.plugins,
    ]

    def run(pod: Container, *more: str) -> Answer:
        command: list[str | Path] = [node.genie, "free", pod.id, "--yes", *directories, *more]
        running = node.start({"PATH": os.environ["PATH"]}, b"", program=command)
        out, err = running.process.communicate(timeout=LONG)
        seconds = time.monotonic() - running.started
        return Answer(running.process.returncode, out, err.decode(), seconds)

    return run


def test_a_pod_that_runs_is_refused_and_released_once_it_has_ended(
    node: Node, free: Callable[..., Answer]
) -> None:
    """No runtime sends a DEL: its addresses, interfaces and record would stay."""
    pod = node.container("pod")
    node.add(pod, BOTH).succeeded()
    process = subprocess.Popen([*node.inside(net=pod.netns), "sleep", "60"])
    try:
        wait_for(lambda: "sleep 60" in node.processes(), "the pod's process")
        refused = free(pod)
        assert (refused.code, refused.out) == (1, b"")
        assert f"process {process.pid} (sleep) uses its network namespace" in refused.err
        assert node.links(pod) == ["eth0", "net1"]
    finally:
        process.kill()
        process.wait()

    done = free(pod)
    assert (done.code, done.err) == (0, "")
    assert b"released: network canal, interface net1, 10.244.0.2/16\n" in done.out
    assert node.left(pod) == NOTHING
    node.delete(pod).succeeded()  # the runtime's own DEL, if it comes after all


def test_a_pod_without_its_network_namespace_is_released(
    node: Node, free: Callable[..., Answer]
) -> None:
    """After a reboot, say."""
    pod = node.container("pod")
    node.add(pod, BOTH).succeeded()
    node.reboot(pod)
    assert free(pod).code == 0
    assert (node.addresses("weave"), node.addresses("canal"), node.records()) == ([], [], {})


# DEL fails by a configuration that names the old place.
MOVED = """conf=$(cat)
case "$CNI_COMMAND $conf" in DEL*/old*) echo '{"code": 7, "msg": "no kubeconfig"}'; exit 1;; esac
echo "$conf" | exec $REAL/bridge"""


def test_a_pod_from_before_genie_is_released_with_the_current_configuration(
    node: Node, free: Callable[..., Answer], cnitool: Path
) -> None:
    """For good: with its entry in libcni's cache, which has the configuration that fails."""
    node.delegate("moved", MOVED)
    conf = node.bridge_conf("weave", "10.32.0.0/16", kind="moved")
    node.network("weave", {**conf, "kubeconfig": "/old"})
    pod = node.container("pod")
    libcni(node, cnitool, "add", "weave", pod)
    known = id_given_by_cnitool(node, pod)
    assert "no kubeconfig" in node.delete(known, default="canal").failed()["msg"]

    node.network("weave", {**conf, "kubeconfig": "/new"})
    done = free(known, "--current-config")
    assert (done.code, done.err) == (0, "")
    node.delete(known, default="canal").succeeded()  # the runtime's own DEL
    assert (node.addresses("weave"), node.links(pod), node.records()) == ([], [], {})
    assert list(node.cache.iterdir()) == []
