"""What cannot be released at once is released later, by the next DEL or by the reaper."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from dispatcher import cni_errors
from tests.node.calls import DIE, wait_for
from tests.node.harness import Left
from tests.node.runtime import reap

if TYPE_CHECKING:
    from pathlib import Path

    from tests.node.harness import Node

NOTHING = Left({"weave": [], "canal": []}, [], [], [])
BOTH = "weave,canal@net1"


def _run_reaper(node: Node, *known: str) -> list[str]:
    """Run two rounds of the reaper, with an installed conflist; return what it released.

    The runtime knows the sandboxes *known*.
    """
    own = {"cniVersion": "1.0.0", "name": "genie", "plugins": [node.conf()]}
    (node.folder / "net.d").mkdir(exist_ok=True)
    (node.folder / "net.d" / "00-genie.conflist").write_text(json.dumps(own))
    return reap(
        node,
        ",".join(known),
        [
            f"--cni-bin-dir={node.genie.parent}",
            f"--other-bin-dirs={node.bin},{node.plugins}",
            f"--cni-conf-dir={node.folder}/net.d",
        ],
    )


def _busy(node: Node) -> Path:
    """Give weave an executable of its own, which a test can keep open for writing."""
    node.network("weave", node.bridge_conf("weave", "10.32.0.0/16", kind="own"))
    own = node.bin / "own"
    shutil.copy2(node.plugins / "bridge", own)
    return own


def test_del_waits_for_an_executable_that_is_being_written(node: Node) -> None:
    """ETXTBSY, as while an installer copies in place, is retried for a few seconds."""
    pod = node.container("pod")
    own = _busy(node)
    node.add(pod, BOTH).succeeded()
    with own.open("r+b"):
        running = node.begin("DEL", pod, BOTH)
        freed = {"eth0": "releasing"}
        wait_for(lambda: node.phases(pod) == freed, "the other network to be freed")
        time.sleep(0.3)  # so long the installer takes
        assert (running.process.poll(), node.phases(pod)) == (None, freed)
    running.answer().succeeded()
    assert node.left(pod) == NOTHING


def test_del_of_an_executable_that_stays_busy_fails_and_the_next_one_goes_on(node: Node) -> None:
    """The other network is released; this one stays recorded until its executable can run."""
    pod = node.container("pod")
    own = _busy(node)
    node.add(pod, BOTH).succeeded()
    with own.open("r+b"):
        error = node.delete(pod, BOTH).failed(cni_errors.CANNOT_RUN)
        assert "Text file busy" in error["msg"]
        assert node.phases(pod) == {"eth0": "releasing"}
        assert (len(node.addresses("weave")), node.addresses("canal")) == (1, [])
    node.delete(pod, BOTH).succeeded()
    assert node.left(pod) == NOTHING


def test_what_is_parked_is_freed_by_the_agent_once_the_executable_is_back(node: Node) -> None:
    """A runtime does not repeat a successful DEL; the reaper does, with the real plugin."""
    pod = node.container("pod")
    own = _busy(node)
    node.add(pod, BOTH).succeeded()
    own.rename(node.folder / "kept")
    node.delete(pod, BOTH).failed(cni_errors.CANNOT_RUN)
    wait_for(lambda: node.delete(pod, BOTH, parkAfterSeconds=1).code == 0, "parking")
    assert node.phases(pod) == {"eth0": "parked"}
    assert _run_reaper(node) == []
    assert node.phases(pod) == {"eth0": "parked"}
    assert len(node.addresses("weave")) == 1
    (node.folder / "kept").rename(own)
    assert _run_reaper(node) == ["pod"]
    assert node.left(pod) == NOTHING


def test_a_corrupt_record_of_a_network_that_is_not_configured_now_is_not_forgotten(
    node: Node,
) -> None:
    """Without record and configuration, DEL fails and parks it; the reaper releases it later."""
    pod = node.container("pod")
    node.add(pod, BOTH).succeeded()
    (node.state / "pod.json").write_bytes(b"")
    conf = node.folder / "conf" / "10-canal.conflist"
    conf.rename(node.folder / "kept")
    error = node.delete(pod, BOTH).failed(cni_errors.CANNOT_RUN)
    assert 'no configuration for the network "canal"' in error["msg"]
    assert (node.addresses("weave"), len(node.addresses("canal"))) == ([], 1)
    wait_for(lambda: node.delete(pod, BOTH, parkAfterSeconds=1).code == 0, "parking")
    assert node.phases(pod) == {"net1": "parked"}
    (node.folder / "kept").rename(conf)
    assert _run_reaper(node) == ["pod"]
    (node.state / "pod.json.corrupt").unlink()
    assert node.left(pod) == NOTHING


@pytest.mark.parametrize("by", ["the agent", "GC"])
def test_what_a_plugin_left_that_was_killed_before_its_first_record_is_collected(
    node: Node, by: str
) -> None:
    """No DEL comes for it. Killed before each of its first effects, it leaves no file for ever."""
    neighbour = node.container("neighbour")
    node.add(neighbour, BOTH).succeeded()
    before = node.left(neighbour)
    left = set()
    for step in range(100):
        pod = node.container(f"pod{step}")
        node.call("ADD", pod, BOTH, program=["/usr/bin/python3", "-IS", DIE, str(step), node.genie])
        if pod.id in node.records():
            node.delete(pod, BOTH).succeeded()
            break
        left |= {file.name.removeprefix(pod.id) for file in node.state.glob(f"{pod.id}.*")}
    assert left == {".lock", ".json.tmp"}
    if by == "GC":
        node.gc(("neighbour", "eth0")).succeeded()
    else:
        _run_reaper(node, "neighbour")
    assert node.left(neighbour) == before
