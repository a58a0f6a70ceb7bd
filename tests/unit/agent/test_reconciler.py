from __future__ import annotations

import errno
import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from dispatcher.agent.label_policy import GRACE_FOR_ALL, LabelGrace
from dispatcher.agent.reconciler import NodeReconciler
from tests.unit.host import RecordedEvents

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.host import Clock, Host


def test_the_conflist_appears_when_the_default_network_is_ready(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """At first boot: first nothing, then a configuration, then its executables."""
    ours = host.conf / "00-genie.conflist"
    reconciler = make_reconciler()
    assert "no configuration" in reconciler.reconcile().problem
    host.network("canal", ["bridge", "portmap"])
    host.executable("bridge")
    state = reconciler.reconcile()
    assert "no executable portmap" in state.problem
    assert "the runtime cannot call Genie, because " in state.networks["canal"]
    assert not ours.exists()
    host.executable("portmap")
    state = reconciler.reconcile()
    assert state.problem == ""
    assert state.networks["canal"] == ""
    assert json.loads(ours.read_text())["plugins"][0]["default"] == "canal"
    assert (host.bin / "genie").exists()


def test_the_executable_of_ipam_counts(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """A chain without its IPAM plugin cannot attach anything."""
    path = host.network("canal")
    conf = json.loads(path.read_text())
    conf["plugins"][0]["ipam"] = {"type": "host-local"}
    path.write_text(json.dumps(conf))
    host.executable("bridge")
    assert "no executable host-local" in make_reconciler().reconcile().problem


def test_a_conflist_that_is_there_stays_when_the_default_network_goes(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """An installer that rewrites its files must not take the node's network away."""
    path = host.network("canal")
    host.executable("bridge")
    reconciler = make_reconciler()
    reconciler.reconcile()
    path.unlink()
    state = reconciler.reconcile()
    assert "not ready" in state.problem
    assert (host.conf / "00-genie.conflist").exists()


def test_without_a_default_nothing_is_installed_and_the_candidates_are_listed(
    host: Host, make_reconciler: Callable[..., NodeReconciler], events: RecordedEvents
) -> None:
    """The node keeps what it had, and its networks are known but not attachable."""
    host.network("weave")
    host.executable("bridge")
    state = make_reconciler(default_network="").reconcile()
    assert not (host.bin / "genie").exists()
    assert not (host.conf / "00-genie.conflist").exists()
    [(name, reason, message)] = events.emitted
    assert (name, reason) == ("n1", "NotInstalled")
    assert '"default-network"' in message
    assert "weave" in message
    assert state.networks["weave"].startswith("the runtime cannot call Genie, because ")


def test_unsetting_the_default_keeps_an_installed_plugin_whole(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """The conflist is there, so the plugin must be."""
    host.network("canal")
    host.executable("bridge")
    make_reconciler().reconcile()
    (host.bin / "genie").unlink()
    state = make_reconciler(default_network="").reconcile()
    assert "no default network" in state.problem
    assert (host.bin / "genie").exists()
    assert state.networks["canal"] == ""


def test_a_broken_file_harms_only_its_own_network(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """And its label will say why."""
    host.network("canal")
    host.executable("bridge")
    (host.conf / "20-weave.conflist").write_text("{")
    state = make_reconciler().reconcile()
    assert state.problem == ""
    assert state.networks["canal"] == ""
    assert "20-weave.conflist" in state.networks["weave"]


def test_ignored_networks_are_not_seen(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """Neither attachable nor known, by none of their names."""
    host.network("canal")
    host.network("weave", file="10-weave.conflist")
    host.network("k8s-pod-network", file="10-calico.conflist")
    host.executable("bridge")
    state = make_reconciler(ignored_networks=("weave", "calico")).reconcile()
    assert state.networks == {"canal": ""}


def test_a_default_that_is_ignored_is_reported_as_that(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """Its configuration is there, so that it is not would be a false reason."""
    host.network("canal")
    host.executable("bridge")
    assert (
        'the ConfigMap genie lists it in "ignored-networks"'
        in make_reconciler(ignored_networks=("canal",)).reconcile().problem
    )


def test_restored_files_are_emitted_on_the_node(
    host: Host, reconciler: NodeReconciler, events: RecordedEvents
) -> None:
    """One Event for each thing."""
    (host.bin / "genie").unlink()
    (host.conf / "00-genie.conflist").unlink()
    reconciler.reconcile()
    assert events.reasons() == ["Restored", "Restored"]


def test_a_foreign_launcher_stops_the_conflist(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """No conf without a working plugin."""
    host.network("canal")
    host.executable("bridge", "genie")
    assert "not written by Genie" in make_reconciler().reconcile().problem
    assert not (host.conf / "00-genie.conflist").exists()


def test_nothing_can_be_attached_while_the_runtime_loads_another_file(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """The runtime does not call Genie then, and pods that ask for weave would get the other."""
    host.network("canal")
    host.network("weave")
    host.executable("bridge")
    reconciler = make_reconciler()
    assert set(reconciler.reconcile().networks.values()) == {""}
    shadow = host.conf / "00-aaa.conflist"
    shadow.write_text("{}")
    state = reconciler.reconcile()
    for reason in (state.problem, state.networks["canal"], state.networks["weave"]):
        assert "00-aaa.conflist sorts before" in reason
    shadow.unlink()
    assert set(reconciler.reconcile().networks.values()) == {""}


@pytest.mark.parametrize(
    ("shadow", "attached"),
    [
        pytest.param("00-aaa.conflist", {"aaa", "weave-net"}, id="a network of its own"),
        pytest.param("00-broken.conf", set(), id="a file that cannot be used"),
    ],
)
def test_labels_follow_at_once_when_the_runtime_uses_another_file(
    host: Host, make_reconciler: Callable[..., NodeReconciler], shadow: str, attached: set[str]
) -> None:
    """All but those of the network that the runtime itself uses: pods get it that ask for it."""
    host.network("canal")
    host.executable("bridge")
    reconciler = make_reconciler()
    assert reconciler.reconcile().grace == GRACE_FOR_ALL
    if shadow.endswith(".conf"):
        (host.conf / shadow).write_text("{")
    else:
        host.network("weave-net", file=shadow)
    assert reconciler.reconcile().grace == LabelGrace(frozenset(), frozenset(attached))
    (host.conf / shadow).unlink()
    assert reconciler.reconcile().grace == GRACE_FOR_ALL


def test_a_network_that_the_runtime_uses_but_cannot_attach_is_false_at_once_too(
    host: Host, reconciler: NodeReconciler
) -> None:
    """Its executable is missing, so no pod gets it."""
    host.network("weave", ["weave-net"], file="00-aaa.conflist")
    assert reconciler.reconcile().grace == LabelGrace(frozenset(), frozenset())


def test_a_file_that_was_taken_once_and_is_back_never_shows_in_the_labels(
    host: Host, make_reconciler: Callable[..., NodeReconciler], clock: Clock
) -> None:
    """The state at the end of a look counts. Who takes it again wins, and the labels say so."""
    host.network("canal")
    host.network("cilium", file="05-cilium.conflist")
    host.executable("bridge")
    reconciler = make_reconciler()
    reconciler.reconcile()
    ours = host.conf / "00-genie.conflist"
    ours.rename(f"{ours}.cilium_bak")
    state = reconciler.reconcile()
    assert (state.grace, set(state.networks.values())) == (GRACE_FOR_ALL, {""})
    clock.now += 10
    ours.rename(f"{ours}.cilium_bak")
    assert reconciler.reconcile().grace == LabelGrace(frozenset(), frozenset({"cilium"}))


def test_on_a_node_without_any_configuration_labels_may_wait(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """It boots: the runtime attaches no pod, so none gets a wrong network; installers follow."""
    host.extra.joinpath("canal.conflist").write_text("{")
    state = make_reconciler().reconcile()
    assert state.problem
    assert state.grace == GRACE_FOR_ALL


@pytest.mark.parametrize(
    ("mode", "grace"), [("install", GRACE_FOR_ALL), ("disable", LabelGrace(frozenset({"canal"})))]
)
@pytest.mark.parametrize("gone", ["genie", ".genie"], ids=["no launcher", "no version"])
def test_labels_wait_as_usual_when_our_conflist_is_loaded_and_the_plugin_cannot_be_started(
    host: Host,
    make_reconciler: Callable[..., NodeReconciler],
    monkeypatch: pytest.MonkeyPatch,
    *,
    gone: str,
    mode: str,
    grace: LabelGrace,
) -> None:
    """Each ADD fails and is retried, so no pod gets a wrong network. The full disk is injected."""
    host.network("canal")
    host.executable("bridge")
    reconciler = make_reconciler(mode=mode)
    reconciler.reconcile()
    (host.bin / gone).rename(host.bin / "elsewhere")
    full_disk(monkeypatch)
    state = reconciler.reconcile()
    assert "the runtime cannot call Genie" in state.networks["canal"]
    assert state.grace == grace


def test_labels_follow_at_once_when_the_launcher_is_another_programs(
    host: Host, reconciler: NodeReconciler
) -> None:
    """It may attach each pod to a network of its choice."""
    host.executable("genie")
    assert reconciler.reconcile().grace == LabelGrace(frozenset(), frozenset())


def test_nothing_can_be_attached_by_a_launcher_that_is_not_ours(
    host: Host, reconciler: NodeReconciler
) -> None:
    """It was replaced while the agent looked away: by the original CNI-Genie's installer, say."""
    host.executable("genie")
    assert "not written by Genie" in reconciler.reconcile().networks["canal"]


def test_nothing_can_be_attached_by_a_version_that_cannot_be_put_back(
    host: Host, reconciler: NodeReconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher without its folder starts nothing. The full disk is injected."""
    shutil.rmtree(host.bin / ".genie")
    full_disk(monkeypatch)
    assert "No space left" in reconciler.reconcile().networks["canal"]


def test_an_upgrade_that_the_disk_has_no_room_for_leaves_the_networks_attachable(
    host: Host, make_reconciler: Callable[..., NodeReconciler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version before works on. The full disk is injected."""
    host.network("canal")
    host.executable("bridge")
    make_reconciler().reconcile()
    host.image("v2")
    plugin = host.plugin("v2")
    full_disk(monkeypatch)
    events = RecordedEvents()
    state = NodeReconciler(host.settings(), plugin, events, lambda: None).reconcile()
    assert "No space left" in state.problem
    assert state.networks == {"canal": ""}


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("dispatcher.node.atomic_file.write", write)


@pytest.mark.parametrize("mode", ["disable", "remove"])
def test_the_choice_of_networks_is_taken_from_pods_only_when_the_labels_say_so(
    host: Host, make_reconciler: Callable[..., NodeReconciler], events: RecordedEvents, mode: str
) -> None:
    """Else a pod that asks for weave is scheduled here still, and silently gets canal."""
    host.network("canal")
    host.network("weave")
    host.executable("bridge")
    make_reconciler().reconcile()
    ours = host.conf / "00-genie.conflist"
    before = ours.read_bytes()
    reconciler = make_reconciler(mode=mode, labels_published=False)
    state = reconciler.reconcile()
    assert ours.read_bytes() == before
    waits = f'node labels to be updated before it applies mode "{mode}"'
    assert waits in state.problem
    assert waits in (host.state / ".agent-problem").read_text()
    assert (state.networks["canal"], state.networks["weave"]) == (
        "",
        f'mode "{mode}" attaches the default network only',
    )
    assert events.emitted == []
    reconciler.published_settings = host.settings(mode=mode).live
    assert reconciler.reconcile().problem == ""
    assert not ours.exists() if mode == "remove" else ours.read_bytes() != before


def test_a_mode_does_not_wait_for_ever_for_an_api_server_that_is_away(
    host: Host, make_reconciler: Callable[..., NodeReconciler], clock: Clock
) -> None:
    """After a minute it takes effect; a restart in this mode waits for nothing."""
    host.network("canal")
    host.executable("bridge")
    make_reconciler().reconcile()
    reconciler = make_reconciler(mode="disable", labels_published=False)
    for _ in range(15):
        assert reconciler.reconcile().problem
        clock.now += 4
    assert reconciler.reconcile().problem == ""
    assert '"agentSocket": ""' in (host.conf / "00-genie.conflist").read_text()
    assert make_reconciler(mode="disable", labels_published=False).reconcile().problem == ""


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("10-weave.conflist.cilium_bak", "{}", "Cilium"),
        ("weave.conf.cilium_bak", "{}", "Cilium"),
        ("05-net.conf.cilium_bak", '{"name": "weave", "type": "bridge"}', "Cilium"),
        ("10-other.conflist.cilium_bak", "{}", 'no configuration named "weave" in'),
        ("10-weave.conflist.old", "{}", 'no configuration named "weave" in'),
    ],
)
def test_the_reason_of_an_absence_names_cilium_only_for_its_backup_of_that_network(
    host: Host, make_reconciler: Callable[..., NodeReconciler], file: str, content: str, words: str
) -> None:
    """A network that vanished is explained as far as the directory tells."""
    (host.conf / file).write_text(content)
    assert words in make_reconciler().absence_reason("weave")


def test_a_disabled_agent_publishes_the_default_network_alone(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """New pods get the default network only, so nothing may be scheduled for another."""
    host.network("canal")
    host.network("weave")
    host.executable("bridge")
    state = make_reconciler(mode="disable").reconcile()
    assert state.problem == ""
    assert "disable" in state.networks["weave"]
    assert state.networks["canal"] == ""


def test_a_numeric_prefix_makes_no_second_name(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """10-canal.conflist is canal; a name that only begins with digits is one like any other."""
    host.network("canal", file="10-canal.conflist")
    host.network("5g", file="20-5g.conflist")
    (host.conf / "30-weave.conflist").write_text("{")
    host.executable("bridge")
    assert sorted(make_reconciler().reconcile().networks) == ["5g", "canal", "weave"]


def test_what_keeps_the_agent_from_its_work_is_left_for_the_doctor(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """``genie doctor`` cannot ask the agent; the note goes when the trouble does."""
    note = host.state / ".agent-problem"
    reconciler = make_reconciler()
    problem = reconciler.reconcile().problem
    assert note.read_text() == f"{problem}\n"
    host.network("canal")
    host.executable("bridge")
    reconciler.reconcile()
    assert not note.exists()


def test_a_conflist_that_is_fought_over_is_named_to_the_doctor(
    host: Host, reconciler: NodeReconciler, events: RecordedEvents, clock: Clock
) -> None:
    """With who it is and the cure, in the Event, the state (a metric shows that) and the note."""
    ours = host.conf / "00-genie.conflist"
    ours.rename(f"{ours}.cilium_bak")
    assert reconciler.reconcile().problem == ""
    clock.now += 10
    ours.rename(f"{ours}.cilium_bak")
    problem = reconciler.reconcile().problem
    assert not ours.exists()
    for sentence in (problem, events.emitted[-1][2], (host.state / ".agent-problem").read_text()):
        assert "Cilium renames" in sentence
        assert "cni.exclusive: false" in sentence


def test_a_state_directory_that_cannot_be_written_does_not_stop_the_agent(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """The note is a help, not a need; it is left as soon as it can be."""
    host.state.rmdir()
    reconciler = make_reconciler()
    assert reconciler.reconcile().problem
    host.state.mkdir()
    reconciler.reconcile()
    assert (host.state / ".agent-problem").exists()


def test_the_plugin_types_of_every_readable_network_are_told(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """By the names that have a label; whether the executables are there is the label's matter."""
    host.network("canal", ["calico", "portmap"])
    host.network("k8s-pod-network", ["calico"], file="10-calico.conflist")
    (host.conf / "20-weave.conflist").write_text("{")
    state = make_reconciler().reconcile()
    assert state.plugin_types == {
        "canal": ["calico", "portmap"],
        "calico": ["calico"],
        "k8s-pod-network": ["calico"],
    }
