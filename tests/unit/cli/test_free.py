"""``genie free``: what it releases, what it says, and when it refuses."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from dispatcher.plugin.cli.release import record_current_confs
from dispatcher.state import store
from tests.unit.cli.builders import CommandLine, in_this_process
from tests.unit.plugin.rig import add_cache_entry, error_of, failure
from tests.unit.plugin.shell_plugin import script

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.plugin.rig import Rig

BOTH = "weave,canal@net1"
USED = "/proc/self/ns/net"
"""A network namespace in which processes run."""


@pytest.fixture
def calls(node: Rig) -> Path:
    """Return the file to which the networks' plugins, which succeed, write their calls."""
    file = node.folder / "calls"
    for plugin_type in ("w1", "w2", "c1"):
        line = f"$CNI_COMMAND {plugin_type} $CNI_CONTAINERID $CNI_IFNAME [$CNI_NETNS] $CNI_ARGS"
        script(node.folder / "bin", f'echo "{line}" >> {file}', plugin_type)
    return file


def test_it_releases_all_networks_of_the_record_and_names_them(
    node: Rig, genie: CommandLine, calls: Path
) -> None:
    """By the DELs of the networks' plugins, the last one first, as the runtime's own DEL."""
    node.run("ADD", BOTH)
    done = genie("free", "c1", "--yes")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "released: network weave, interface eth0, 10.1.0.2/16",
        "released: network canal, interface net1, 10.1.0.2/16",
        "removed: the record of container c1",
    ]
    pod = "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=pod;K8S_POD_UID=u"
    assert calls.read_text().splitlines() == [
        f"DEL c1 c1 net1 [] {pod}",
        f"DEL w2 c1 eth0 [] {pod}",
        f"DEL w1 c1 eth0 [] {pod}",
    ]
    assert node.records == []


def test_as_json_it_has_each_attachment(node: Rig, genie: CommandLine, calls: Path) -> None:
    """With the same keys as ``genie attachments``."""
    node.run("ADD", BOTH)
    rows = genie.json("attachments")
    answer = genie.json("free", "c1", "--yes")
    assert answer == {
        "container": "c1",
        "namespace": "ns",
        "pod": "pod",
        "released": rows,
        "left": [],
        "errors": [],
    }
    assert calls.exists()


@pytest.mark.parametrize("typed", [b"yes\n", b"y\n"])
def test_without_yes_it_asks(node: Rig, genie: CommandLine, calls: Path, typed: bytes) -> None:
    """The question names pod and networks; standard output has the answer alone."""
    node.run("ADD", BOTH)
    done = genie("free", "c1", stdin=typed)
    assert done.code == 0
    assert "container c1 (pod ns/pod)" in done.err
    assert "network canal, interface net1" in done.err
    assert done.out.startswith("released: ")
    assert calls.exists()


@pytest.mark.parametrize("typed", [b"no\n", b"\n", b""], ids=["no", "nothing", "end of input"])
def test_anything_but_yes_releases_nothing(
    node: Rig, genie: CommandLine, calls: Path, typed: bytes
) -> None:
    """A command in a script that forgot --yes changes nothing."""
    node.run("ADD", BOTH)
    done = genie("free", "c1", stdin=typed)
    assert (done.code, done.out) == (1, "")
    assert "nothing was released" in done.err
    assert (calls.exists(), node.records) == (False, ["c1"])


def test_a_container_that_runs_keeps_its_networks_unless_forced(
    node: Rig, genie: CommandLine, calls: Path
) -> None:
    """It runs while a process is in its network namespace; the refusal names the process."""
    node.run("ADD", "canal", netns=USED)
    done = genie("free", "c1", "--yes")
    assert (done.code, done.out) == (1, "")
    assert "container c1 is running: process " in done.err
    assert f"uses its network namespace {USED}; nothing was released" in done.err
    assert "--force" in done.err
    assert (calls.exists(), node.records) == (False, ["c1"])
    # A path below /proc may lead to another process by now, so DEL does not get it.
    assert genie("free", "c1", "--yes", "--force").code == 0
    assert "c1 eth0 []" in calls.read_text()
    assert node.records == []


def test_what_is_not_released_stays_in_the_record_and_is_named(
    node: Rig, genie: CommandLine, calls: Path
) -> None:
    """With the reason, beside what was released; the exit code says so."""
    node.run("ADD", BOTH)
    error = '{"cniVersion": "1.0.0", "code": 7, "msg": "no such pool"}'
    script(node.folder / "bin", f"echo '{error}'; exit 1", "c1")
    done = genie("free", "c1", "--yes")
    assert done.code == 1
    released, left = done.out.splitlines()
    assert released == "released: network weave, interface eth0, 10.1.0.2/16"
    assert left.startswith("not released: network canal, interface net1, 10.1.0.2/16 (releasing): ")
    assert "no such pool" in left
    assert done.err.startswith("error: ")
    assert [each["network"] for each in node.record()["attachments"]] == ["canal"]
    assert "w1" in calls.read_text()


def test_a_record_without_attachments_is_removed(
    node: Rig, genie: CommandLine, calls: Path
) -> None:
    """By a DEL, which runs that of the default network as for every container without a record."""
    node.run("ADD", "canal")
    node.rewrite({**node.record(), "attachments": []})
    done = genie("free", "c1", stdin=b"yes\n")
    assert (done.code, done.out) == (0, "removed: the record of container c1\n")
    assert "no attachment: only the record is removed" in done.err
    assert (calls.read_text()[:12], node.records) == ("DEL c1 c1 et", [])


def test_the_beginning_of_an_id_is_enough(node: Rig, genie: CommandLine, calls: Path) -> None:
    """``genie attachments`` prints no more; one that is whole wins over longer ones."""
    for container in ("abc1", "abc2", "abc"):
        node.run("ADD", "canal", container=container)
    done = genie("free", "ab", "--yes")
    assert done.code == 1
    assert "'ab' begins several container ids: abc, abc1, abc2" in done.err
    assert not calls.exists()
    assert genie("free", "abc", "--yes").code == 0
    assert genie("free", "abc2", "--yes").code == 0
    assert node.records == ["abc1"]


def test_an_unknown_container(node: Rig, genie: CommandLine) -> None:
    """The error names the directory and the command that lists the containers."""
    node.run("ADD", "canal")
    done = genie("free", "zzz", "--yes")
    assert (done.code, done.out) == (1, "")
    assert f"{node.state} has no record of a container 'zzz'" in done.err
    assert "genie attachments" in done.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("{", ["not valid JSON", "delete the pod"], id="corrupt"),
        pytest.param(
            json.dumps({"format": 9, "oldestReader": 9}),
            ["it has format 9", "upgrade Genie"],
            id="newer",
        ),
    ],
)
def test_a_record_that_cannot_be_read(
    node: Rig, genie: CommandLine, content: str, words: list[str]
) -> None:
    """It names the file and the fix; the file stays."""
    node.state.mkdir()
    file = node.state / "c1.json"
    file.write_text(content)
    done = genie("free", "c1", "--yes")
    assert done.code == 1
    assert all(word in done.err for word in [str(file), *words])
    assert file.read_text() == content


def test_an_invalid_conflist_does_not_stop_it(node: Rig, genie: CommandLine, calls: Path) -> None:
    """Only the directory of the records counts, which --state-dir gives then."""
    node.run("ADD", "canal")
    conf = {"cniVersion": "1.0.0", "name": "genie", "plugins": [{"type": "genie", "defualt": "x"}]}
    (node.folder / "net.d" / "00-genie.conflist").write_text(json.dumps(conf))
    assert genie("free", "c1", "--yes", "--state-dir", str(node.state)).code == 0
    assert (calls.exists(), node.records) == (True, [])


def test_a_configuration_that_no_longer_works_can_be_replaced_by_todays(
    node: Rig, genie: CommandLine, calls: Path
) -> None:
    """As recorded, DEL reads a file that has moved; the network's own file names the new place."""
    node.network("moved", "kube", kubeconfig="/old")
    node.run("ADD", "moved")
    fails = 'echo \'{"code": 7, "msg": "no kubeconfig"}\'; exit 1'
    script(
        node.folder / "bin", f"grep -q new && echo $CNI_COMMAND >> {calls} && exit; {fails}", "kube"
    )
    assert "no kubeconfig" in genie("free", "c1", "--yes").out
    conf = {"cniVersion": "1.1.0", "name": "moved-net", "plugins": [{"type": "kube", "new": True}]}
    (node.conf / "10-moved.conflist").write_text(json.dumps(conf))
    assert genie("free", "c1", "--yes").code == 1
    done = genie("free", "c1", "--yes", "--current-config")
    assert (done.code, calls.read_text(), node.records) == (0, "DEL\n", [])


def test_a_network_without_a_configuration_leaves_the_record_as_it_was(
    node: Rig, genie: CommandLine
) -> None:
    """Nothing is released; the error names the network."""
    node.run("ADD", BOTH)
    before = node.record()
    (node.conf / "10-canal.conflist").unlink()
    done = genie("free", "c1", "--yes", "--current-config")
    assert (done.code, done.out) == (1, "")
    assert '"canal"' in done.err
    assert node.record() == before


def test_a_record_that_goes_before_its_configurations_are_replaced(node: Rig) -> None:
    """The runtime's own DEL was faster: there is nothing left to do."""
    node.state.mkdir()
    record_current_confs(str(node.state), "c1", [str(node.conf)], str(node.cache))
    assert node.records == []


def test_a_pod_from_before_genie_is_released_for_good(node: Rig) -> None:
    """Its entry in libcni's cache goes as well: a later DEL would use the old configuration."""
    add_cache_entry(node, ["kube"])
    node.delegates.faults["DEL", "kube"] = failure(msg="no kubeconfig")
    error_of(node, "DEL")
    conf = {"cniVersion": "0.4.0", "name": "cbr0", "plugins": [{"type": "kube2"}]}
    (node.conf / "10-cbr0.conflist").write_text(json.dumps(conf))
    record_current_confs(str(node.state), "c1", [str(node.conf)], str(node.cache))
    node.run("DEL", netns="")
    assert (node.records, list(node.cache.iterdir())) == ([], [])
    for netns in ("", "/ns"):
        node.run("DEL", netns=netns)
    assert node.records == []


@in_this_process
def test_it_must_run_as_root(
    node: Rig, genie: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs the networks' plugins."""
    node.run("ADD", "canal")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    done = genie("free", "c1", "--yes")
    assert (done.code, done.out) == (1, "")
    assert "run it as root" in done.err


@in_this_process
def test_a_process_that_ends_meanwhile_is_passed_over(
    node: Rig, genie: CommandLine, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of processes is old as soon as it is read."""
    namespace = node.folder / "namespace"
    namespace.symlink_to(USED)
    node.run("ADD", "canal", netns=str(namespace))
    listdir = os.listdir
    monkeypatch.setattr(
        "os.listdir", lambda path: ["0", "self"] if path == "/proc" else listdir(path)
    )
    assert genie("free", "c1", "--yes").code == 1  # the plugin refuses its own namespace
    assert list(store.container_ids(str(node.state))) == ["c1"]
    assert not calls.exists()
