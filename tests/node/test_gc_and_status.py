"""GC and STATUS, with real plugins and with one that implements GC.

`sweeper` is a fake and has to be one: host-local 1.9.1 ignores GC, so nothing real would notice a
wrong list. It holds a file per attachment of its network, and on GC really deletes every one that
is not listed as valid.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import cni_errors
from tests.node.calls import wait_for
from tests.records import sealed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.node.harness import Node

START = 3.0
"""Seconds that a busy machine may need before the plugin's deadline starts."""

SWEEPER = """#!/usr/bin/python3 -IS
import json, os, sys
conf = json.load(sys.stdin)
command, network = os.environ["CNI_COMMAND"], conf["name"]
held = f"{conf['held']}/{network}"
os.makedirs(held, exist_ok=True)
own = f"{held}/{os.environ['CNI_CONTAINERID']}@{os.environ['CNI_IFNAME']}"
with open(f"{conf['held']}.log", "a") as log:
    log.write(f"{command} {network} {os.environ['CNI_CONTAINERID']}\\n")
if command in conf.get("fails", []):
    print(json.dumps({"code": 123, "msg": f"{command} of {network} is refused"}))
    sys.exit(1)
if command == "ADD":
    open(own, "w").close()
    print(json.dumps({"cniVersion": conf["cniVersion"], "ips": []}))
elif command == "DEL":
    if os.path.exists(own):
        os.unlink(own)
elif command == "GC":
    keys = ("cni.dev/valid-attachments", "cni.dev/attachments")
    valid = [{f"{each['containerID']}@{each['ifname']}" for each in conf[key]} for key in keys]
    assert valid[0] == valid[1]
    for name in set(os.listdir(held)) - valid[0]:
        os.unlink(f"{held}/{name}")
"""


def _sweeper(node: Node, name: str, **more: object) -> None:
    """Install a network of the plugin that deletes what is not listed."""
    file = node.bin / "sweeper"
    if not file.exists():
        file.write_text(SWEEPER)
        file.chmod(0o755)
    conf = {"type": "sweeper", "held": str(node.folder / "held"), **more}
    node.network(name, conf, version="1.1.0")


def _held(node: Node, network: str) -> list[str]:
    return sorted(file.name for file in (node.folder / "held" / network).iterdir())


def _before_genie(node: Node, network: str, container: str) -> None:
    """Attach a container as before Genie: only the plugin has state of it."""
    folder = node.folder / "held" / network
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{container}@eth0").touch()


def _valid(*pairs: tuple[str, str]) -> dict[str, Any]:
    listed = [{"containerID": container, "ifname": name} for container, name in pairs]
    return {"cni.dev/valid-attachments": listed}


def _log(node: Node) -> list[str]:
    return (node.folder / "held.log").read_text().splitlines()


def test_gc_frees_the_invalid_and_keeps_what_is_valid_or_older_than_genie(node: Node) -> None:
    """Pods from before Genie keep their address; each network gets its own interfaces."""
    _sweeper(node, "weave")
    _sweeper(node, "canal")
    valid, invalid = node.container("valid"), node.container("invalid")
    node.add(valid, "weave,canal@net1").succeeded()
    node.add(invalid, "canal@net1,weave").succeeded()
    _before_genie(node, "weave", "old")
    _before_genie(node, "weave", "stray")  # of a container that the runtime no longer knows
    _before_genie(node, "canal", "stray")
    node.gc(("valid", "eth0"), ("old", "eth0")).succeeded()
    assert _held(node, "weave") == ["old@eth0", "valid@eth0"]
    assert _held(node, "canal") == ["valid@net1"]
    assert list(node.records()) == ["valid"]
    collected = [line for line in _log(node) if not line.startswith("ADD")]
    assert collected[:2] == ["DEL weave invalid", "DEL canal invalid"], "real DELs come first"
    assert sorted(collected[2:]) == ["GC canal ", "GC weave "]


def test_gc_deletes_invalid_containers_of_real_plugins_through_real_dels(node: Node) -> None:
    """Bridge and host-local ignore GC; their DEL frees address and interface."""
    valid, invalid, gone = (node.container(name) for name in ("valid", "invalid", "gone"))
    for pod in (valid, invalid, gone):
        node.add(pod, "weave,canal@net1").succeeded()
    node.reboot(gone)
    node.gc(("valid", "eth0")).succeeded()
    assert (len(node.addresses("weave")), len(node.addresses("canal"))) == (1, 1)
    assert node.links(invalid) == []
    assert node.links(valid) == ["eth0", "net1"]
    assert list(node.records()) == ["valid"]
    node.delete(valid).succeeded()
    assert node.left(valid, invalid).links == []


def test_gc_goes_on_after_an_error_and_reports_all(node: Node) -> None:
    """A failed DEL and a failed GC are both reported; everything else is released."""
    _sweeper(node, "weave")
    _sweeper(node, "canal")
    pods = [node.container(f"pod{number}") for number in range(3)]
    for pod, annotation in zip(pods, ("canal", "weave", "weave"), strict=True):
        node.add(pod, annotation).succeeded()
    _sweeper(node, "weave", fails=["GC"])
    record = node.state / "pod0.json"  # its network now refuses DEL
    changed = record.read_text().replace('"held"', '"fails":["DEL"],"held"')
    record.write_bytes(sealed(json.loads(changed)))
    error = node.gc(("pod2", "eth0")).failed(123)
    assert error["msg"].startswith("GC failed for 2 networks or records: ")
    assert "DEL of canal is refused" in error["msg"]
    assert "GC of weave is refused" in error["msg"]
    assert _held(node, "weave") == ["pod2@eth0"]
    assert set(node.records()) == {"pod0", "pod2"}
    assert "GC canal " in _log(node)


@pytest.mark.parametrize(
    "conf",
    [
        {},
        {"cni.dev/valid-attachments": "none"},
        {"cni.dev/valid-attachments": [{"containerID": "pod"}]},
    ],
)
def test_gc_without_a_valid_list_releases_nothing(node: Node, conf: dict[str, Any]) -> None:
    """A missing list is not an empty one."""
    pod = node.container("pod")
    node.add(pod, "weave").succeeded()
    node.call("GC", **conf).failed(cni_errors.INVALID_CONF)
    assert node.links(pod) == ["eth0"]
    assert len(node.addresses("weave")) == 1


@pytest.mark.parametrize(
    "data", [b"{", b'{"format": 99, "oldestReader": 98}'], ids=["corrupt", "of a newer Genie"]
)
def test_gc_with_an_unreadable_record_of_a_valid_pod_releases_no_valid_pod(
    node: Node, data: bytes
) -> None:
    """The lists for its networks would lack it, so none is called; the error names the record."""
    _sweeper(node, "weave")
    _sweeper(node, "canal")
    for name in ("valid", "invalid"):
        node.add(node.container(name), "weave,canal@net1").succeeded()
    (node.state / "valid.json").write_bytes(data)
    error = node.gc(("valid", "eth0")).failed()
    assert "valid.json" in error["msg"]
    assert (_held(node, "weave"), _held(node, "canal")) == (["valid@eth0"], ["valid@net1"])
    assert not [line for line in _log(node) if line.startswith("GC")]


def test_gc_keeps_a_pod_from_before_genie_while_the_default_cannot_be_read(node: Node) -> None:
    """An installer is rewriting the default's configuration, and a record is on that network."""
    _sweeper(node, "weave")
    node.add(node.container("valid"), "weave").succeeded()
    _before_genie(node, "weave", "old")
    _spoil_conf(node, "weave")
    node.gc(("valid", "eth0"), ("old", "eth0")).failed(cni_errors.BROKEN_NETWORK)
    assert _held(node, "weave") == ["old@eth0", "valid@eth0"]


def test_a_plugin_that_hangs_costs_neither_other_networks_nor_other_calls_their_time(
    node: Node,
) -> None:
    """GC ends in time and has released the rest; a pod is attached meanwhile. Fake: the hang."""
    _sweeper(node, "weave")
    _sweeper(node, "canal")
    node.network("stuck", {"type": "stuck"}, version="1.1.0")
    node.delegate("stuck", "[ $CNI_COMMAND != ADD ] || { echo '{}'; exit; }\nexec sleep 600")
    for name, networks in (("a", "stuck"), ("b", "weave,canal@net1"), ("valid", "stuck,weave@n1")):
        node.add(node.container(name), networks).succeeded()
    collecting = node.begin("GC", **_valid(("valid", "eth0")), deadlineSeconds=18)
    wait_for(lambda: "sleep 600" in node.processes(), "a hang")
    node.add(node.container("new"), "weave", deadlineSeconds=18).succeeded()
    answer = collecting.answer()
    answer.failed(cni_errors.TRY_AGAIN)
    assert answer.seconds < 18 + START
    assert set(node.records()) == {"a", "valid", "new"}
    assert _held(node, "weave") == ["new@eth0", "valid@n1"]
    assert node.processes() == []


def test_a_plugin_that_outlives_a_killed_gc_frees_no_pod_made_afterwards(node: Node) -> None:
    """Its list is older than such a pod, so the pod's ADD waits for its end."""
    _sweeper(node, "weave")
    file = node.bin / "sweeper"
    begun = node.folder / "held.gc"
    slow = """import time
    parent = os.getppid()
    open(f"{conf['held']}.gc", "w").close()
    while os.getppid() == parent:
        time.sleep(0.01)
    time.sleep(1)"""
    file.write_text(SWEEPER.replace('command == "GC":\n', f'command == "GC":\n    {slow}\n'))
    collecting = node.begin("GC", **_valid())
    wait_for(begun.exists, "the plugin's GC")
    collecting.kill()
    assert collecting.answer().killed
    pod = node.container("pod")
    node.add(pod, "weave").succeeded()
    assert node.processes() == []
    assert _held(node, "weave") == ["pod@eth0"]


def test_a_plugin_that_hangs_after_a_killed_gc_does_not_block_pods_for_ever(
    node: Node,
) -> None:
    """After its deadline, the next call that waits for the lock kills it. Fake: the hang."""
    # Like any plugin it reads its configuration first: when it has that, the lock file names it.
    hang = "cat >/dev/null; touch $HERE/hangs; exec sleep 600"
    node.delegate("stuck", f"[ $CNI_COMMAND != GC ] || {{ {hang}; }}\necho '{{}}'")
    node.network("stuck", {"type": "stuck"}, version="1.1.0")
    pod = node.container("pod")
    node.add(pod, "stuck").succeeded()
    collecting = node.begin("GC", **_valid(("pod", "eth0")), deadlineSeconds=9)
    wait_for((node.folder / "hangs").exists, "the plugin's GC")
    collecting.kill()
    assert collecting.answer().killed
    node.add(node.container("new"), "weave").succeeded()
    assert node.processes() == []


def test_gc_accepts_the_older_key(node: Node) -> None:
    """Drafts of the specification, which some runtimes follow, call it `cni.dev/attachments`."""
    pods = [node.container(name) for name in ("valid", "invalid")]
    for pod in pods:
        node.add(pod, "weave").succeeded()
    older: dict[str, Any] = {"cni.dev/attachments": [{"containerID": "valid", "ifname": "eth0"}]}
    node.call("GC", **older).succeeded()
    assert list(node.records()) == ["valid"]


def test_gc_waits_for_calls_that_run(node: Node) -> None:
    """An ADD in progress is never treated as stale."""
    pod = node.container("pod")
    node.delegate("bridge", "[ $CNI_COMMAND != ADD ] || sleep 0.5\nexec $REAL/bridge")
    adding = node.begin("ADD", pod, "weave,canal@net1")
    while not node.phases(pod):
        assert adding.process.poll() is None
    node.gc(("pod", "eth0")).succeeded()
    assert node.phases(pod) == {"eth0": "attached", "net1": "attached"}
    adding.answer().succeeded()
    node.delete(pod).succeeded()


# -- STATUS ------------------------------------------------------------------------------------


def _spoil_conf(node: Node, name: str) -> None:
    (node.folder / "conf" / f"10-{name}.conflist").write_text("{")


def _no_conf(node: Node, name: str) -> None:
    (node.folder / "conf" / f"10-{name}.conflist").unlink()


def _no_plugin(node: Node, name: str) -> None:
    node.network(name, {"type": "absent"})


def _no_ipam(node: Node, name: str) -> None:
    node.network(name, {"type": "bridge", "ipam": {"type": "absent"}})


def _not_executable(node: Node, name: str) -> None:
    node.network(name, {"type": "own"})
    node.delegate("own", "").chmod(0o644)


def _says(code: int) -> object:
    def spoil(node: Node, name: str) -> None:
        answer = json.dumps({"cniVersion": "1.1.0", "code": code, "msg": "not now"})
        node.delegate(f"own{code}", f"[ $CNI_COMMAND != STATUS ] || {{ echo '{answer}'; exit 1; }}")
        node.network(name, {"type": f"own{code}"}, version="1.1.0")

    return spoil


TROUBLE = {
    "its conf cannot be read": (_spoil_conf, 50),
    "it has no conf": (_no_conf, 50),
    "an executable of its chain is missing": (_no_plugin, 50),
    "its IPAM executable is missing": (_no_ipam, 50),
    "its executable cannot be executed": (_not_executable, 50),
    "its own STATUS says 50": (_says(50), 50),
    "its own STATUS says 51": (_says(51), 51),
    "its own STATUS fails otherwise": (_says(123), 50),
}


@pytest.mark.parametrize(("spoil", "code"), TROUBLE.values(), ids=TROUBLE)
def test_status_of_the_default_network_decides_where(node: Node, spoil: object, code: int) -> None:
    """A fault of the default network makes the node NotReady; the same of another does not."""
    assert callable(spoil)
    spoil(node, "canal")
    node.status().succeeded()
    spoil(node, "weave")
    assert node.status().failed(code)["msg"]


def test_status_asks_the_real_plugins(node: Node) -> None:
    """They answer STATUS in 1.1.0; for older configurations it is skipped."""
    calls = node.folder / "calls"
    node.delegate("bridge", f"echo $CNI_COMMAND >>{calls}\nexec $REAL/bridge")
    assert node.status().succeeded() is None
    assert not calls.exists(), "the conf is of 1.0.0, which has no STATUS"
    node.network("weave", node.bridge_conf("weave", "10.32.0.0/16"), version="1.1.0")
    assert node.status().succeeded() is None
    assert calls.read_text() == "STATUS\n"


def test_status_leaves_no_file(node: Node) -> None:
    """It is called every few seconds, so it writes nothing."""
    before: set[Path] = set(node.folder.rglob("*"))
    node.status().succeeded()
    assert set(node.folder.rglob("*")) == before
