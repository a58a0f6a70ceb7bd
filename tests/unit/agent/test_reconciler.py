from __future__ import annotations

import errno
import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from dispatcher.agent.label_policy import PATIENT, Patience
from dispatcher.agent.reconciler import Node
from tests.unit.host import Said

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.host import Clock, Host


def test_the_conflist_appears_when_the_default_network_is_ready(
    host: Host, node: Callable[..., Node]
) -> None:
    """At first boot: first nothing, then a configuration, then its executables."""
    ours = host.conf / "00-genie.conflist"
    subject = node()
    assert "no configuration" in subject.look().problem
    host.network("canal", ["bridge", "portmap"])
    host.executable("bridge")
    view = subject.look()
    assert "no executable portmap" in view.problem
    assert "does not attach pods on this node" in view.networks["canal"]
    assert not ours.exists()
    host.executable("portmap")
    view = subject.look()
    assert view.problem == ""
    assert view.networks["canal"] == ""
    assert json.loads(ours.read_text())["plugins"][0]["default"] == "canal"
    assert (host.bin / "genie").exists()


def test_the_executable_of_ipam_counts(host: Host, node: Callable[..., Node]) -> None:
    """A chain without its IPAM plugin cannot attach anything."""
    path = host.network("canal")
    conf = json.loads(path.read_text())
    conf["plugins"][0]["ipam"] = {"type": "host-local"}
    path.write_text(json.dumps(conf))
    host.executable("bridge")
    assert "no executable host-local" in node().look().problem


def test_a_conflist_that_is_there_stays_when_the_default_network_goes(
    host: Host, node: Callable[..., Node]
) -> None:
    """An installer that rewrites its files must not take the node's network away."""
    path = host.network("canal")
    host.executable("bridge")
    subject = node()
    subject.look()
    path.unlink()
    view = subject.look()
    assert "not ready" in view.problem
    assert (host.conf / "00-genie.conflist").exists()


def test_without_a_default_nothing_is_installed_and_the_candidates_are_listed(
    host: Host, node: Callable[..., Node], said: Said
) -> None:
    """The node keeps what it had, and its networks are known but not attachable."""
    host.network("weave")
    host.executable("bridge")
    view = node(default_network="").look()
    assert not (host.bin / "genie").exists()
    assert not (host.conf / "00-genie.conflist").exists()
    [(name, reason, message)] = said.events
    assert (name, reason) == ("n1", "NotInstalled")
    assert '"default-network"' in message
    assert "weave" in message
    assert view.networks["weave"].startswith("Genie does not attach pods")


def test_unsetting_the_default_keeps_an_installed_plugin_whole(
    host: Host, node: Callable[..., Node]
) -> None:
    """The conflist is there, so the plugin must be."""
    host.network("canal")
    host.executable("bridge")
    node().look()
    (host.bin / "genie").unlink()
    view = node(default_network="").look()
    assert "no default network" in view.problem
    assert (host.bin / "genie").exists()
    assert view.networks["canal"] == ""


def test_a_broken_file_harms_only_its_own_network(host: Host, node: Callable[..., Node]) -> None:
    """And its label will say why."""
    host.network("canal")
    host.executable("bridge")
    (host.conf / "20-weave.conflist").write_text("{")
    view = node().look()
    assert view.problem == ""
    assert view.networks["canal"] == ""
    assert "20-weave.conflist" in view.networks["weave"]


def test_ignored_networks_are_not_seen(host: Host, node: Callable[..., Node]) -> None:
    """Neither attachable nor known, by none of their names."""
    host.network("canal")
    host.network("weave", file="10-weave.conflist")
    host.network("k8s-pod-network", file="10-calico.conflist")
    host.executable("bridge")
    view = node(ignored_networks=("weave", "calico")).look()
    assert view.networks == {"canal": ""}


def test_a_default_that_is_ignored_is_told_as_that(host: Host, node: Callable[..., Node]) -> None:
    """Its configuration is there, so that it is not would be a false reason."""
    host.network("canal")
    host.executable("bridge")
    assert 'the setting "ignored-networks"' in node(ignored_networks=("canal",)).look().problem


def test_what_was_restored_is_said_on_the_node(
    host: Host, node: Callable[..., Node], said: Said
) -> None:
    """One Event for each thing."""
    host.network("canal")
    host.executable("bridge")
    subject = node()
    subject.look()
    (host.bin / "genie").unlink()
    (host.conf / "00-genie.conflist").unlink()
    subject.look()
    assert said.reasons() == ["Restored", "Restored"]


def test_a_foreign_launcher_stops_the_conflist(host: Host, node: Callable[..., Node]) -> None:
    """No conf without a working plugin."""
    host.network("canal")
    host.executable("bridge", "genie")
    assert "not ours" in node().look().problem
    assert not (host.conf / "00-genie.conflist").exists()


def test_nothing_can_be_attached_while_the_runtime_loads_another_file(
    host: Host, node: Callable[..., Node]
) -> None:
    """The runtime does not call Genie then, and pods that ask for weave would get the other."""
    host.network("canal")
    host.network("weave")
    host.executable("bridge")
    subject = node()
    assert set(subject.look().networks.values()) == {""}
    shadow = host.conf / "00-aaa.conflist"
    shadow.write_text("{}")
    view = subject.look()
    for reason in (view.problem, view.networks["canal"], view.networks["weave"]):
        assert "00-aaa.conflist sorts before" in reason
    shadow.unlink()
    assert set(subject.look().networks.values()) == {""}


@pytest.mark.parametrize(
    ("shadow", "unchanged"),
    [
        pytest.param("00-aaa.conflist", {"aaa", "weave-net"}, id="a network of its own"),
        pytest.param("00-broken.conf", set(), id="a file that cannot be used"),
    ],
)
def test_labels_follow_at_once_when_the_runtime_uses_another_file(
    host: Host, node: Callable[..., Node], shadow: str, unchanged: set[str]
) -> None:
    """All but those of the network that the runtime itself uses: pods get it that ask for it."""
    host.network("canal")
    host.executable("bridge")
    subject = node()
    assert subject.look().patience == PATIENT
    if shadow.endswith(".conf"):
        (host.conf / shadow).write_text("{")
    else:
        host.network("weave-net", file=shadow)
    assert subject.look().patience == Patience(frozenset(), frozenset(unchanged))
    (host.conf / shadow).unlink()
    assert subject.look().patience == PATIENT


def test_a_network_that_the_runtime_uses_but_cannot_attach_is_false_at_once_too(
    host: Host, node: Callable[..., Node]
) -> None:
    """Its executable is missing, so no pod gets it."""
    host.network("canal")
    host.executable("bridge")
    subject = node()
    subject.look()
    host.network("weave", ["weave-net"], file="00-aaa.conflist")
    assert subject.look().patience == Patience(frozenset(), frozenset())


def test_a_file_that_was_taken_once_and_is_back_never_shows_in_the_labels(
    host: Host, node: Callable[..., Node], clock: Clock
) -> None:
    """The state at the end of a look counts. Who takes it again wins, and the labels say so."""
    host.network("canal")
    host.network("cilium", file="05-cilium.conflist")
    host.executable("bridge")
    subject = node()
    subject.look()
    ours = host.conf / "00-genie.conflist"
    ours.rename(f"{ours}.cilium_bak")
    view = subject.look()
    assert (view.patience, set(view.networks.values())) == (PATIENT, {""})
    clock.now += 10
    ours.rename(f"{ours}.cilium_bak")
    assert subject.look().patience == Patience(frozenset(), frozenset({"cilium"}))


def test_on_a_node_without_any_configuration_labels_may_wait(
    host: Host, node: Callable[..., Node]
) -> None:
    """It boots: the runtime attaches no pod, so none gets a wrong network; installers follow."""
    host.extra.joinpath("canal.conflist").write_text("{")
    view = node().look()
    assert view.problem
    assert view.patience == PATIENT


@pytest.mark.parametrize(
    ("mode", "patience"), [("install", PATIENT), ("disable", Patience(frozenset({"canal"})))]
)
@pytest.mark.parametrize("gone", ["genie", ".genie"], ids=["no launcher", "no version"])
def test_labels_wait_as_usual_when_our_conflist_is_loaded_and_the_plugin_cannot_be_started(
    host: Host,
    node: Callable[..., Node],
    monkeypatch: pytest.MonkeyPatch,
    *,
    gone: str,
    mode: str,
    patience: Patience,
) -> None:
    """Each ADD fails and is retried, so no pod gets a wrong network. The full disk is injected."""
    host.network("canal")
    host.executable("bridge")
    subject = node(mode=mode)
    subject.look()
    (host.bin / gone).rename(host.bin / "elsewhere")
    full_disk(monkeypatch)
    view = subject.look()
    assert "does not attach pods" in view.networks["canal"]
    assert view.patience == patience


def test_labels_follow_at_once_when_the_launcher_is_another_programs(
    host: Host, node: Callable[..., Node]
) -> None:
    """It may attach each pod to a network of its choice."""
    host.network("canal")
    host.executable("bridge")
    subject = node()
    subject.look()
    host.executable("genie")
    assert subject.look().patience == Patience(frozenset(), frozenset())


def test_nothing_can_be_attached_by_a_launcher_that_is_not_ours(
    host: Host, node: Callable[..., Node]
) -> None:
    """It was replaced while the agent looked away: by the original CNI-Genie's installer, say."""
    host.network("canal")
    host.executable("bridge")
    subject = node()
    subject.look()
    host.executable("genie")
    assert "not ours" in subject.look().networks["canal"]


def test_nothing_can_be_attached_by_a_version_that_cannot_be_put_back(
    host: Host, node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher without its folder starts nothing. The full disk is injected."""
    host.network("canal")
    host.executable("bridge")
    subject = node()
    subject.look()
    shutil.rmtree(host.bin / ".genie")
    full_disk(monkeypatch)
    assert "No space left" in subject.look().networks["canal"]


def test_an_upgrade_that_the_disk_has_no_room_for_leaves_the_networks_attachable(
    host: Host, node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version before works on. The full disk is injected."""
    host.network("canal")
    host.executable("bridge")
    node().look()
    host.image("v2")
    plugin = host.plugin("v2")
    full_disk(monkeypatch)
    said = Said()
    view = Node(host.settings(), plugin, said, lambda: None).look()
    assert "No space left" in view.problem
    assert view.networks == {"canal": ""}


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("dispatcher.node.atomic_file.write", write)


@pytest.mark.parametrize("mode", ["disable", "remove"])
def test_the_choice_of_networks_is_taken_from_pods_only_when_the_labels_say_so(
    host: Host, node: Callable[..., Node], said: Said, mode: str
) -> None:
    """Else a pod that asks for weave is scheduled here still, and silently gets canal."""
    host.network("canal")
    host.network("weave")
    host.executable("bridge")
    node().look()
    ours = host.conf / "00-genie.conflist"
    before = ours.read_bytes()
    subject = node(mode=mode, labelled=False)
    view = subject.look()
    assert ours.read_bytes() == before
    assert f'"{mode}" takes effect when this node\'s labels say' in view.problem
    assert (view.networks["canal"], view.networks["weave"]) == ("", f"the agent's mode is {mode}")
    assert said.events == []
    subject.labelled = True
    assert subject.look().problem == ""
    assert not ours.exists() if mode == "remove" else ours.read_bytes() != before


def test_a_mode_does_not_wait_for_ever_for_an_api_server_that_is_away(
    host: Host, node: Callable[..., Node], clock: Clock
) -> None:
    """After a minute it takes effect; a restart in this mode waits for nothing."""
    host.network("canal")
    host.executable("bridge")
    node().look()
    subject = node(mode="disable", labelled=False)
    for _ in range(15):
        assert subject.look().problem
        clock.now += 4
    assert subject.look().problem == ""
    assert '"agentSocket": ""' in (host.conf / "00-genie.conflist").read_text()
    assert node(mode="disable", labelled=False).look().problem == ""


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("10-weave.conflist.cilium_bak", "{}", "Cilium"),
        ("weave.conf.cilium_bak", "{}", "Cilium"),
        ("05-net.conf.cilium_bak", '{"name": "weave", "type": "bridge"}', "Cilium"),
        ("10-other.conflist.cilium_bak", "{}", "no configuration in"),
        ("10-weave.conflist.old", "{}", "no configuration in"),
    ],
)
def test_the_reason_of_an_absence_names_cilium_only_for_its_backup_of_that_network(
    host: Host, node: Callable[..., Node], file: str, content: str, words: str
) -> None:
    """A network that vanished is explained as far as the directory tells."""
    (host.conf / file).write_text(content)
    assert words in node().absence("weave")


def test_a_disabled_agent_publishes_the_default_network_alone(
    host: Host, node: Callable[..., Node]
) -> None:
    """New pods get the default network only, so nothing may be scheduled for another."""
    host.network("canal")
    host.network("weave")
    host.executable("bridge")
    view = node(mode="disable").look()
    assert view.problem == ""
    assert "disable" in view.networks["weave"]
    assert view.networks["canal"] == ""


def test_a_numeric_prefix_makes_no_second_name(host: Host, node: Callable[..., Node]) -> None:
    """10-canal.conflist is canal; a name that only begins with digits is one like any other."""
    host.network("canal", file="10-canal.conflist")
    host.network("5g", file="20-5g.conflist")
    (host.conf / "30-weave.conflist").write_text("{")
    host.executable("bridge")
    assert sorted(node().look().networks) == ["5g", "canal", "weave"]


def test_what_keeps_the_agent_from_its_work_is_left_for_the_doctor(
    host: Host, node: Callable[..., Node]
) -> None:
    """``genie doctor`` cannot ask the agent; the note goes when the trouble does."""
    note = host.state / ".agent-problem"
    subject = node()
    problem = subject.look().problem
    assert note.read_text() == f"{problem}\n"
    host.network("canal")
    host.executable("bridge")
    subject.look()
    assert not note.exists()


def test_a_conflist_that_is_fought_over_is_named_to_the_doctor(
    host: Host, node: Callable[..., Node], said: Said, clock: Clock
) -> None:
    """With who it is and the cure, in the Event, the view (a metric shows that) and the note."""
    host.network("canal")
    host.executable("bridge")
    subject = node()
    subject.look()
    ours = host.conf / "00-genie.conflist"
    ours.rename(f"{ours}.cilium_bak")
    assert subject.look().problem == ""
    clock.now += 10
    ours.rename(f"{ours}.cilium_bak")
    problem = subject.look().problem
    assert not ours.exists()
    for sentence in (problem, said.events[-1][2], (host.state / ".agent-problem").read_text()):
        assert "Cilium renames" in sentence
        assert "cni.exclusive: false" in sentence


def test_a_state_directory_that_cannot_be_written_does_not_stop_the_agent(
    host: Host, node: Callable[..., Node]
) -> None:
    """The note is a help, not a need; it is left as soon as it can be."""
    host.state.rmdir()
    subject = node()
    assert subject.look().problem
    host.state.mkdir()
    subject.look()
    assert (host.state / ".agent-problem").exists()


def test_the_plugin_types_of_every_readable_network_are_told(
    host: Host, node: Callable[..., Node]
) -> None:
    """By the names that have a label; whether the executables are there is the label's matter."""
    host.network("canal", ["calico", "portmap"])
    host.network("k8s-pod-network", ["calico"], file="10-calico.conflist")
    (host.conf / "20-weave.conflist").write_text("{")
    view = node().look()
    assert view.plugin_types == {
        "canal": ["calico", "portmap"],
        "calico": ["calico"],
        "k8s-pod-network": ["calico"],
    }
