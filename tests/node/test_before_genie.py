"""Containers that were attached before Genie was installed: libcni's cache describes them.

The real cnitool, with the real libcni inside, attaches them and so writes the real cache.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.node.harness import Left
from tests.node.runtime import id_given_by_cnitool, install_genie_conflist, libcni

if TYPE_CHECKING:
    from pathlib import Path

    from tests.node.harness import Node

NOTHING = Left({"weave": []}, [], [], [])


CHANGES = {
    "and its conf is still there": lambda _: None,
    "and its conf is gone since": lambda node: (node.folder / "conf/10-weave.conflist").unlink(),
    "and its conf has another store since": lambda node: node.bridge(
        "weave", "10.99.0.0/16", dataDir=str(node.folder / "other")
    ),
}


@pytest.mark.parametrize("reboot", [False, True], ids=["", "and the node was rebooted"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_del_frees_a_container_that_was_attached_before_genie(
    node: Node, cnitool: Path, change: Any, *, reboot: bool
) -> None:
    """DEL uses the cached configuration, and removes the cache entry."""
    pod = node.container("pod")
    libcni(node, cnitool, "add", "weave", pod)
    assert len(node.addresses("weave")) == 1
    assert node.links(pod) == ["eth0"]
    known = id_given_by_cnitool(node, pod)
    change(node)
    if reboot:
        node.reboot(pod)
    node.delete(known, "canal", default="canal").succeeded()
    assert node.left(*([] if reboot else [pod])) == NOTHING
    assert list(node.cache.iterdir()) == []


def test_a_failed_del_is_retried_with_the_cached_configuration(node: Node, cnitool: Path) -> None:
    """The cache entry is removed only after success."""
    pod = node.container("pod")
    libcni(node, cnitool, "add", "weave", pod)
    known = id_given_by_cnitool(node, pod)
    node.delegate("bridge", "exit 1")
    node.delete(known, default="canal").failed()
    assert len(node.addresses("weave")) == 1
    (node.bin / "bridge").unlink()
    node.delete(known, default="canal").succeeded()
    assert node.left(pod) == NOTHING
    assert list(node.cache.iterdir()) == []


def test_plugins_in_separate_files_are_called_too(node: Node, cnitool: Path) -> None:
    """The cache has only the list; DEL also calls the plugin that libcni loads from a file."""
    more = node.folder / "conf" / "weave"
    more.mkdir()
    (more / "10-more.conf").write_text('{"type": "more"}')
    passes_on = "import json, sys; print(json.dumps(json.load(sys.stdin)['prevResult']))"
    node.delegate("more", f'echo $CNI_COMMAND >>$HERE/log\nexec python3 -IS -c "{passes_on}"')
    pod = node.container("pod")
    libcni(node, cnitool, "add", "weave", pod)
    node.delete(id_given_by_cnitool(node, pod), default="canal").succeeded()
    assert (node.folder / "log").read_text().split() == ["ADD", "DEL"]
    assert node.left(pod) == NOTHING


def test_an_unusable_cached_result_does_not_prevent_a_release(node: Node, cnitool: Path) -> None:
    """The plugins of the cached configuration release without a result."""
    pod = node.container("pod")
    libcni(node, cnitool, "add", "weave", pod)
    (entry,) = node.cache.iterdir()
    content = json.loads(entry.read_bytes())
    content["result"]["ips"][0]["address"] = "nonsense"
    entry.write_text(json.dumps(content))
    node.delete(id_given_by_cnitool(node, pod), default="canal").succeeded()
    assert node.left(pod) == NOTHING


def test_installing_genie_on_a_running_node_leaks_nothing(node: Node, cnitool: Path) -> None:
    """Libcni deletes an older and a newer container through Genie."""
    before, after = node.container("before"), node.container("after")
    libcni(node, cnitool, "add", "weave", before)
    install_genie_conflist(node)
    libcni(node, cnitool, "add", "genie", after)
    assert len(node.addresses("weave")) == 2
    for pod in (before, after):
        libcni(node, cnitool, "del", "genie", pod)
    assert node.left(before, after) == NOTHING


def test_gc_keeps_a_container_that_was_attached_before_genie(node: Node, cnitool: Path) -> None:
    """The list of the network that the cache names holds it, and the default's does too.

    bridge ignores GC, so a fake in front of it writes down what it is told.
    """
    told = "[ $CNI_COMMAND = GC ] || exec $REAL/bridge\ncat >>$HERE/told; echo >>$HERE/told"
    node.delegate("bridge", told)
    for name, subnet in (("weave", "10.32.0.0/16"), ("canal", "10.244.0.0/16")):
        node.network(name, node.bridge_conf(name, subnet), version="1.1.0")
    old, new = node.container("old"), node.container("new")
    libcni(node, cnitool, "add", "canal", old)
    known = id_given_by_cnitool(node, old)
    node.add(new, "weave,canal@net1").succeeded()
    node.gc((known.id, "eth0"), (new.id, "eth0")).succeeded()
    lists = {}
    for line in (node.folder / "told").read_text().splitlines():
        conf = json.loads(line)
        assert conf["cni.dev/attachments"] == conf["cni.dev/valid-attachments"]
        lists[conf["name"]] = {
            (each["containerID"], each["ifname"]) for each in conf["cni.dev/attachments"]
        }
    assert lists == {
        "weave": {(known.id, "eth0"), ("new", "eth0")},
        "canal": {(known.id, "eth0"), ("new", "net1")},
    }


def test_cache_entries_of_genie_itself_are_ignored(node: Node, cnitool: Path) -> None:
    """Without a record, libcni's entry for Genie itself must not make Genie call Genie."""
    pod = node.container("pod")
    install_genie_conflist(node)
    libcni(node, cnitool, "add", "genie", pod)
    known = id_given_by_cnitool(node, pod)
    for file in (node.folder / "state").iterdir():
        file.unlink()
    node.delete(known).succeeded()  # the default network's DEL
    assert node.left(pod) == NOTHING
    assert len(list(node.cache.iterdir())) == 1, "that file is the runtime's to remove"


def test_the_cache_entry_of_containerds_loopback_is_ignored(node: Node, cnitool: Path) -> None:
    """It has the same container id; DEL still calls the default network."""
    pod = node.container("pod")
    node.network("cni-loopback", {"type": "loopback"})
    libcni(node, cnitool, "add", "cni-loopback", pod)
    known = id_given_by_cnitool(node, pod)
    node.delegate("bridge", "echo $CNI_COMMAND $CNI_IFNAME >>$HERE/log\nexec $REAL/bridge")
    node.delegate("loopback", "echo loopback >>$HERE/log\nexec $REAL/loopback")
    node.delete(known).succeeded()
    assert (node.folder / "log").read_text() == "DEL eth0\n"
    assert len(list(node.cache.iterdir())) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"kind": "cniCacheV9"}',
        b'{"kind": "cniCacheV1", "containerId": "pod", "ifName": "eth0", "config": "!!"}',
        b'{"kind": "cniCacheV1", "containerId": "pod", "ifName": "eth0", "config": "e30="}',
    ],
)
def test_an_invalid_cache_entry_is_ignored(node: Node, content: bytes) -> None:
    """DEL succeeds and does not remove it."""
    pod = node.container("pod")
    node.cache.mkdir(parents=True)
    file = node.cache / "weave-pod-eth0"
    file.write_bytes(content)
    node.delete(pod).succeeded()
    assert file.read_bytes() == content
