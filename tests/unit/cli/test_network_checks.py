"""What ``genie doctor`` says of networks that cannot be attached, or that harm one another."""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.plugin.cli import network_checks
from dispatcher.plugin.cli.doctor import check_node
from dispatcher.plugin.cli.genie_conflist import GenieConflist
from dispatcher.plugin.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dispatcher.plugin.cli.finding import DoctorFinding
    from tests.unit.plugin.rig import Rig


class Node:
    """The folders of a node: the runtime's own, Genie's networks, and plugins."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.net = rig.folder / "net.d"
        self.bin = rig.folder / "bin"
        for folder in (self.net, self.bin):
            folder.mkdir()
        for kind in ("w1", "w2", "c1", "bridge", "host-local", "flannel", "calico"):
            (self.bin / kind).touch(mode=0o755)
        self.own(default="canal")

    def own(self, **options: Any) -> None:
        """Write Genie's conflist."""
        entry = {
            "type": "genie",
            "confDirs": [str(self.rig.conf), str(self.net)],
            "stateDir": str(self.rig.state),
            **options,
        }
        conf = {"cniVersion": "1.0.0", "name": "genie", "plugins": [entry]}
        (self.net / "00-genie.conflist").write_text(json.dumps(conf))

    def network(self, file: str, name: str, ipam: Any = None, kind: str = "bridge") -> Path:
        """Write a network of the cluster's."""
        plugin = {"type": kind} if ipam is None else {"type": kind, "ipam": ipam}
        conf = {"cniVersion": "1.0.0", "name": name, "plugins": [plugin]}
        path = self.net / file
        path.write_text(json.dumps(conf))
        return path

    def findings(self, about: str) -> list[DoctorFinding]:
        """Return what doctor says whose subject begins with *about*."""
        own = GenieConflist(str(self.net))
        findings = check_node(
            own, str(self.net), own.settings.conf_dirs, [str(self.bin)], lambda _: ""
        )
        return [each for each in findings if each.subject.startswith(about)]

    def levels(self, about: str) -> list[tuple[str, str]]:
        """Return the same, as level and sentence."""
        return [(each.level, each.message) for each in self.findings(about)]


@pytest.fixture
def node(rig: Rig) -> Node:
    return Node(rig)


def host_local(*subnets: str, **more: Any) -> dict[str, Any]:
    return {"type": "host-local", "ranges": [[{"subnet": each}] for each in subnets], **more}


# What may be removed


def test_the_default_network_is_never_advised_to_be_removed(node: Node) -> None:
    """Broken, or without its plugin."""
    (node.bin / "c1").unlink()
    [missing] = node.findings("network canal")
    assert missing.is_problem
    assert missing.fix.endswith("do not remove the file: it is the default network")
    (node.rig.conf / "10-canal.conflist").write_text("{")
    [broken] = node.findings("network canal")
    assert broken.fix == "correct the file; do not remove the file: it is the default network"


def test_a_network_that_pods_use_is_never_advised_to_be_removed(node: Node) -> None:
    """The records know."""
    node.rig.run("ADD", "weave", netns="/proc/self/ns/net")
    (node.bin / "w1").unlink()
    [finding] = node.findings("network weave")
    assert finding.fix.endswith("do not remove the file: pods of this node use its network")


def test_a_record_that_cannot_be_read_may_be_of_a_pod_that_uses_the_network(node: Node) -> None:
    """Which network it uses is unknown, so no file may go."""
    node.rig.state.mkdir(exist_ok=True)
    (node.rig.state / "odd.json").write_text("{")
    (node.bin / "w1").unlink()
    [finding] = node.findings("network weave")
    assert finding.fix.endswith(
        "do not remove the file: pods may use it whose records cannot be read"
    )


def test_the_file_that_the_runtime_loads_without_genie_is_never_advised_to_be_removed(
    node: Node,
) -> None:
    """It is the cluster's own network; its installer writes it, and nodes are NotReady without."""
    for file in ("10-calico.conflist", "20-spare.conflist"):
        (node.net / file).write_text("{")
    cures = {each.subject: each.fix for each in node.findings("network ")}
    assert cures["network calico"].endswith(
        "do not remove the file: the runtime loads it after Genie is removed"
    )
    assert cures["network spare"] == (
        "correct the file; remove the file only if this network was uninstalled"
    )


def test_without_root_no_file_is_advised_to_be_removed(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records cannot be read, so nobody knows whether pods use it."""
    (node.net / "20-spare.conflist").write_text("{")
    real = os.listdir

    def listdir(path: str) -> list[str]:
        if path == str(node.rig.state):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("posix.listdir", listdir)
    [finding] = node.findings("network spare")
    assert finding.fix == "correct the file; run as root to check whether pods use it"


# Names that several files claim


def test_a_name_that_only_one_file_claims_is_not_mentioned(node: Node) -> None:
    """Nor is one that a file claims twice, by its own name and its name inside."""
    node.network("10-weave2.conflist", "weave2")
    assert node.levels("name ") == []


def test_of_equal_claims_the_first_file_wins_and_that_is_a_warning(node: Node) -> None:
    """As Canal's and Calico's installers have it; the file that comes next may move the name."""
    calico = node.network("10-calico.conflist", "k8s-pod-network")
    canal = node.network("10-canal2.conflist", "k8s-pod-network")
    [(level, output)] = node.levels("name ")
    assert level == "warning"
    assert output.startswith(f"belongs to {calico}, not to {canal}: ")
    assert 'both claim it by the "name" in the file, and the first file' in output


@pytest.mark.parametrize(
    ("file", "name", "why"),
    [
        (
            "10-w.conflist",
            "weave",
            'the name of the file takes precedence over the "name" in the file',
        ),
        ("10-weave.conflist", "w", "its directory is searched first"),
    ],
    ids=["a stronger rule", "an earlier directory"],
)
def test_a_claim_that_is_settled_by_a_rule_is_a_note(
    node: Node, file: str, name: str, why: str
) -> None:
    """Who wins does not change with the next file."""
    path = node.network(file, name)
    assert node.levels("name weave") == [
        ("ok", f"belongs to {node.rig.conf}/10-weave.conflist, not to {path}: {why}")
    ]


# Ranges that overlap


@pytest.fixture
def subnet_env(node: Node, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return flannel's file of the node, which is not there yet."""
    path = node.rig.folder / "subnet.env"
    monkeypatch.setattr(network_checks, "SUBNET_FILE", str(path))
    return path


FLANNEL = ("flannel", None)
CANAL = ("calico", host_local("usePodCidr"))
LEGACY = {"type": "host-local", "subnet": "10.1.0.0/16", "rangeEnd": "10.1.0.99"}
PAIRS: dict[str, tuple[Any, Any, str]] = {
    "the same range": (("bridge", host_local("10.1.0.0/16")), None, "10.1.0.0/16"),
    "a range within the other": (("bridge", host_local("10.1.7.0/24")), None, "10.1.7.0/24"),
    "a second range of IPv6": (
        ("bridge", host_local("10.9.0.0/16", "fd00::/64")),
        ("bridge", host_local("fd00::/80")),
        "fd00::/64",
    ),
    "ranges side by side": (("bridge", host_local("10.2.0.0/16")), None, ""),
    "parts of one subnet": (
        ("bridge", {**LEGACY, "rangeStart": "10.1.0.10"}),
        ("bridge", {**LEGACY, "rangeStart": "10.1.0.100", "rangeEnd": "10.1.0.200"}),
        "",
    ),
    "the old form, parts that meet": (("bridge", LEGACY), None, "10.1.0.0/16"),
    "another IPAM": (("bridge", {"type": "whereabouts", "range": "10.1.0.0/16"}), None, ""),
    "what nobody can read": (
        ("bridge", {"type": "host-local", "ranges": [[{"subnet": 5}]]}),
        None,
        "",
    ),
    "no subnet": (("bridge", host_local("10.1.0.0/ten")), None, ""),
    "flannel and Canal": (FLANNEL, CANAL, "the node's podCIDR"),
    "flannel alone": (FLANNEL, None, ""),
    "Canal in its old form": (
        FLANNEL,
        ("calico", {"type": "host-local", "subnet": "usePodCIDR"}),
        "the node's podCIDR",
    ),
}


@pytest.mark.usefixtures("subnet_env")
@pytest.mark.parametrize(("one", "other", "shared"), PAIRS.values(), ids=PAIRS)
def test_two_networks_that_hand_out_the_same_addresses_are_a_warning(
    node: Node, one: Any, other: Any, shared: str
) -> None:
    """Each from a store of its own, so neither knows what the other has handed out."""
    kind, ipam = one
    node.network("10-a.conflist", "a", ipam, kind)
    kind, ipam = other or ("bridge", host_local("10.1.0.0/16"))
    node.network("20-b.conflist", "b", ipam, kind)
    actual = node.levels("addresses")
    assert [level for level, _ in actual] == ["warning"] * bool(shared)
    assert all(f"both allocate from {shared}, each" in output for _, output in actual)


def test_one_store_keeps_its_addresses_apart(node: Node) -> None:
    """Two files with one name inside share it, unless one has a folder of its own."""
    node.network("10-a.conflist", "same", host_local("10.1.0.0/16"))
    node.network("20-b.conflist", "same", host_local("10.1.0.0/16"))
    assert node.levels("addresses") == []
    node.network("20-b.conflist", "same", host_local("10.1.0.0/16", dataDir="/run/elsewhere"))
    assert len(node.levels("addresses")) == 1


def test_what_flannels_daemon_says_is_held_against_plain_ranges(
    node: Node, subnet_env: Path
) -> None:
    """The podCIDR is known then."""
    node.network("10-a.conflist", "a", None, "flannel")
    node.network("20-b.conflist", "b", host_local("10.244.1.128/25"))
    assert node.levels("addresses") == []
    subnet_env.write_text("FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n")
    assert len(node.levels("addresses")) == 1
    subnet_env.write_text("FLANNEL_SUBNET=10.244.2.1/24\n")
    assert node.levels("addresses") == []
    subnet_env.write_bytes(b"FLANNEL_SUBNET=nonsense\n\xff\n")
    assert node.levels("addresses") == []


# whereabouts, and the agent that writes what its reconciler reads


def test_whereabouts_under_the_default_network_is_a_warning(node: Node) -> None:
    """Its reconciler does not count a pod's primary network, so it frees what pods use."""
    node.network("10-wide.conflist", "wide", {"type": "whereabouts"})
    node.own(default="wide")
    (finding,) = node.findings("whereabouts")
    assert finding.level == "warning"
    assert "running pods of the default network wide" in finding.message
    assert "disable the reconciler" in finding.fix


def test_whereabouts_under_another_network_is_a_note(node: Node) -> None:
    """Each network once, by its plainest name."""
    node.network("10-wide.conflist", "wide-net", {"type": "whereabouts"})
    [(level, output)] = node.levels("whereabouts")
    assert level == "ok"
    assert "use wide as a secondary only" in output


@pytest.fixture
def agent(node: Node) -> Iterator[str]:
    """Return the address of an agent that answers one caller as the real one does."""
    address = str(node.rig.folder / "agent.sock")
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen()

    def answer() -> None:
        connection, _ = server.accept()
        assert connection.makefile("rb").readline() == b""
        connection.sendall(b"{}\n")
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    yield address
    thread.join()
    server.close()


def test_an_agent_that_answers_is_a_note(node: Node, agent: str) -> None:
    """It is asked nothing, and does not find the caller gone."""
    node.own(default="canal", agentSocket=agent)
    assert node.levels("agent") == [("ok", f"the agent answers on {agent}")]


def test_an_agent_that_is_down_is_a_problem_and_names_what_whereabouts_frees_meanwhile(
    node: Node,
) -> None:
    """The reconciler takes a pod without network-status for one without addresses."""
    gone = str(node.rig.folder / "gone.sock")
    node.own(default="canal", agentSocket=gone)
    [(level, output)] = node.levels("agent")
    assert (level, "whereabouts" in output) == ("problem", False)
    assert f"the agent does not answer on {gone} (No such file or directory)" in output
    node.network("10-wide.conflist", "wide", {"type": "whereabouts"})
    [(_, output)] = node.levels("agent")
    assert output.endswith("the reconciler of whereabouts frees addresses of new pods on wide")


def test_whether_the_agent_runs_only_root_can_tell(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket answers nobody else."""

    class Closed:
        def __init__(self, *_: int) -> None:
            """Make none."""

        def settimeout(self, _: float) -> None:
            """Wait for nothing."""

        def connect(self, _: str) -> None:
            raise PermissionError(13, "Permission denied")

        def close(self) -> None:
            """Close nothing."""

    monkeypatch.setattr("dispatcher.plugin.cli.node_checks.socket", Closed)
    node.own(default="canal", agentSocket="/run/genie/agent.sock")
    assert node.levels("agent") == [("ok", "cannot check whether the agent runs: run as root")]


def test_a_warning_is_printed_with_its_cure_and_fails_nothing(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be meant as it is: networks that never meet may share a range."""
    node.network("10-a.conflist", "a", host_local("10.1.0.0/16"))
    node.network("20-b.conflist", "b", host_local("10.1.0.0/16"))
    words = ["doctor", "--net-dir", str(node.net), "--cni-path", str(node.bin)]
    assert main(words, "/opt/cni/bin/genie") == 0
    shown = capsys.readouterr().out
    assert "warning: addresses: " in shown
    assert "    fix: give one network another range" in shown
