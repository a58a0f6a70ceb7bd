"""What is left to the runtime when Genie leaves a node whose pods keep running."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.agent import handover
from dispatcher.conf import VERSIONS
from dispatcher.plugin import cache, lock, store
from tests.unit.agent.test_reaper import World
from tests.unit.agent.test_status import ARGS, CANAL, attached
from tests.unit.agent.test_uninstall import note as note_of_runtime
from tests.unit.agent.test_uninstall import only_canal

if TYPE_CHECKING:
    from pathlib import Path

    from dispatcher.agent.reaper import Reaper
    from dispatcher.plugin.record import Record
    from tests.unit.agent.conftest import Clock, Host

FOLLOWING = "/etc/cni/net.d/10-canal.conflist"


class Leaving:
    """A node that Genie leaves: its plugin is gone, canal follows."""

    def __init__(self, host: Host, clock: Clock) -> None:
        self.world = World(host, clock)
        self.results = host.root / "var/lib/cni/results"
        self.results.mkdir()
        host.network("canal")
        self.world.netns()
        places = {"cni_conf_dir": "/etc/cni/net.d", "cni_bin_dir": "/opt/cni/bin"}
        self.reaper: Reaper = self.world.reap(host, mode="remove", **places)

    def write(self, record: Record) -> None:
        """Put *record* on the disk."""
        store.write(str(self.world.state), record)

    @property
    def notes(self) -> list[str]:
        """The files of libcni's cache."""
        return sorted(path.name for path in self.results.iterdir())

    @property
    def left(self) -> list[str]:
        """The files in the folder of the records."""
        return sorted(path.name for path in self.world.state.iterdir())

    def found(self, container: str = "c1") -> cache.Cached | None:
        """Return what a Genie that comes back finds of *container*."""
        return cache.find(str(self.results), [], container, "eth0")


@pytest.fixture
def leaving(host: Host, clock: Clock) -> Leaving:
    return Leaving(host, clock)


def test_a_pod_that_keeps_running_is_found_by_a_genie_that_comes_back(leaving: Leaving) -> None:
    """With its network, whatever the default is then; Genie's own note and record are gone."""
    leaving.write(only_canal(FOLLOWING))
    note_of_runtime(leaving.results, "genie", "genie")
    leaving.reaper.turn()
    assert leaving.notes == ["canal-c1-eth0"]
    assert (leaving.results / "canal-c1-eth0").stat().st_mode & 0o777 == 0o600
    assert leaving.left == []
    found = leaving.found()
    assert found is not None
    [was] = only_canal(FOLLOWING).attachments
    now = found.attachment
    assert (now.network, now.interface, now.conf.plugins) == ("canal", "eth0", was.conf.plugins)
    assert sorted(now.args.split(";")) == sorted(ARGS.split(";"))
    assert now.result == CANAL
    leaving.reaper.turn()
    assert leaving.notes == ["canal-c1-eth0"]


def test_the_note_has_the_form_of_libcnis_own(leaving: Leaving) -> None:
    """Field by field, so that the runtime's next DEL gets the result (specification, section 4)."""
    record = only_canal(FOLLOWING)
    record.attachments[0].capability_args = {"portMappings": [{"hostPort": 80}]}
    leaving.write(record)
    leaving.reaper.turn()
    note: dict[str, Any] = json.loads((leaving.results / "canal-c1-eth0").read_bytes())
    config = json.loads(b64decode(note.pop("config")))
    assert (config["name"], config["cniVersion"]) == ("canal", "1.0.0")
    assert note == {
        "kind": "cniCacheV1",
        "containerId": "c1",
        "ifName": "eth0",
        "networkName": "canal",
        "netns": "/run/netns/x",
        "cniArgs": [item.split("=") for item in ARGS.split(";")],
        "capabilityArgs": {"portMappings": [{"hostPort": 80}]},
        "result": {
            "cniVersion": "1.0.0",
            "ips": [{"address": "10.2.0.2/24"}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.2.0.1"}],
        },
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_is_noted_in_the_version_of_its_network(version: str) -> None:
    """Where that has no form for it, without one: plugins release so, too."""
    record = only_canal(FOLLOWING)
    record.attachments[0].conf.cni_version = version
    noted = handover.note(record, record.attachments[0])
    assert noted["result"]["cniVersion"] == version
    record.attachments[0].result = {"interfaces": [], "ips": [], "routes": [], "dns": {}}
    assert ("result" in handover.note(record, record.attachments[0])) == (version > "0.2.0")
    record.attachments[0].result = None
    assert "result" not in handover.note(record, record.attachments[0])


def test_of_a_sandbox_that_is_gone_no_note_is_left(leaving: Leaving) -> None:
    """Nobody will ask for it; its record goes."""
    record = only_canal(FOLLOWING)
    record.netns = "/run/netns/gone"
    leaving.write(record)
    leaving.reaper.turn()
    assert (leaving.notes, leaving.left) == ([], [])


def test_what_the_next_configuration_cannot_release_is_not_handed_over(leaving: Leaving) -> None:
    """Its record stays until the pod is gone, or is freed by force."""
    record = only_canal(FOLLOWING)
    record.attachments.append(attached("weave", "net1", CANAL))
    leaving.write(record)
    leaving.reaper.turn()
    assert (leaving.notes, leaving.left) == ([], ["c1.json"])


def test_while_a_call_holds_its_lock_a_record_stays(leaving: Leaving) -> None:
    """Its DEL is under way; the next turn comes here again."""
    leaving.write(only_canal(FOLLOWING))
    held = lock.of_container(str(leaving.world.state), "c1", until=0)
    leaving.reaper.turn()
    assert leaving.notes == []
    assert "c1.json" in leaving.left
    held.release(forget=True)
    leaving.reaper.turn()
    assert (leaving.notes, leaving.left) == (["canal-c1-eth0"], [])


def test_a_record_stays_while_its_note_cannot_be_written(leaving: Leaving) -> None:
    """The place is taken by a folder here."""
    leaving.write(only_canal(FOLLOWING))
    blocked: Path = leaving.results / "canal-c1-eth0"
    (blocked / "full").mkdir(parents=True)
    leaving.reaper.turn()
    assert "c1.json" in leaving.left
    (blocked / "full").rmdir()
    blocked.rmdir()
    leaving.reaper.turn()
    assert leaving.left == []
    assert leaving.found() is not None
