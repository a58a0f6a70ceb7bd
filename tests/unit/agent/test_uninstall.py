from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dispatcher.agent.records import Stored
from dispatcher.agent.uninstall import explain, in_the_way, successor
from dispatcher.plugin import store
from tests.unit.agent.test_status import ARGS, CANAL, attached, record

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.agent.node import Node
    from dispatcher.plugin.record import Record
    from tests.unit.agent.conftest import Clock, Host, Said


def only_canal(path: str) -> Record:
    made = record()
    made.attachments = [attached("canal", "eth0", CANAL, args=ARGS)]
    made.attachments[0].conf.path = path
    return made


def ready(host: Host) -> None:
    host.network("canal", file="10-canal.conflist")
    host.executable("bridge")


def test_the_successor_is_the_first_other_configuration(host: Host) -> None:
    """In lexical order, as runtimes read the directory."""
    assert successor(host.conf) == ""
    for name in ("00-genie.conflist", "05-readme.txt", "20-weave.conf", "10-canal.conflist"):
        (host.conf / name).touch()
    assert successor(host.conf) == str(host.conf / "10-canal.conflist")


def test_only_a_pod_with_nothing_but_the_successors_network_is_not_in_the_way() -> None:
    """Whatever else, the runtime's DEL after us would leave something."""
    following = "/etc/cni/net.d/10-canal.conflist"
    alone = Stored("a", 0, only_canal(following), "")
    other = Stored("b", 0, only_canal("/etc/cni/net.d/20-weave.conflist"), "")
    both = Stored("c", 0, record(), "")
    unreadable = Stored("d", 0, None, "corrupt")
    found = in_the_way([alone, other, both, unreadable], following)
    assert [stored.container_id for stored in found] == ["b", "c", "d"]
    assert len(in_the_way([alone], "")) == 1


def test_the_explanation_names_pods_and_what_to_do() -> None:
    """Ten of them, and how many more."""
    stored = [Stored(f"c{number}", 0, record(), "") for number in range(12)]
    sentence = explain([*stored[:11], Stored("bad", 0, None, "x")], "/etc/cni/net.d/10-canal.conf")
    assert "ns/p, ns/p" in sentence
    assert "and 2 more" in sentence
    assert "Drain" in sentence
    assert "no configuration would follow" in explain(stored[:1], "")
    assert "of bad." in explain([Stored("bad", 0, None, "x")], "/x")


def test_removing_refuses_while_a_pod_needs_us_and_says_which(
    host: Host, node: Callable[..., Node], said: Said
) -> None:
    """Meanwhile new pods get the default network only."""
    ready(host)
    node().look()
    store.write(str(host.state), record())
    view = node(mode="remove").look()
    assert not view.removed
    [plugin] = json.loads((host.conf / "00-genie.conflist").read_text())["plugins"]
    assert plugin["agentSocket"] == ""
    assert said.reasons() == ["NotRemoved"]
    assert "ns/p" in said.events[0][2]
    assert (host.bin / "genie").exists()


def test_removing_takes_the_conflist_first_and_the_plugin_when_no_call_can_run(
    host: Host, node: Callable[..., Node], clock: Clock
) -> None:
    """And then the records, which are the next configuration's business."""
    ready(host)
    node().look()
    store.write(str(host.state), only_canal(str(host.conf / "10-canal.conflist")))
    leaving = node(mode="remove")
    assert leaving.look().removed
    assert not (host.conf / "00-genie.conflist").exists()
    assert (host.bin / "genie").exists()
    clock.now += 91
    assert leaving.look().removed
    assert [path.name for path in host.bin.iterdir()] == ["bridge"]
    assert list(host.state.iterdir()) == []
    assert [path.name for path in host.conf.iterdir()] == ["10-canal.conflist"]


@pytest.mark.parametrize("mode", ["remove", "remove --force"])
def test_removing_from_a_node_that_never_had_us_is_nothing(
    host: Host, node: Callable[..., Node], mode: str
) -> None:
    """A node that joins meanwhile stays as it is."""
    ready(host)
    assert node(mode=mode).look().removed
    assert [path.name for path in host.conf.iterdir()] == ["10-canal.conflist"]


def test_what_has_left_does_not_come_back_for_a_record(
    host: Host, node: Callable[..., Node]
) -> None:
    """Another configuration may come to follow later; the mode still says "remove"."""
    ready(host)
    node().look()
    leaving = node(mode="remove")
    assert leaving.look().removed
    store.write(str(host.state), record())
    assert leaving.look().removed
    assert not (host.conf / "00-genie.conflist").exists()
