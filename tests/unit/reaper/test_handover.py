"""What the runtime gets when Genie leaves a node whose pods keep running."""

from __future__ import annotations

import json
import os
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from dispatcher import jsontext
from dispatcher.conf import VERSIONS
from dispatcher.node import removal
from dispatcher.plugin import libcni_cache
from dispatcher.reaper import cache_entries
from dispatcher.state import lock, store
from dispatcher.state.record import ATTACHING, PARKED, RELEASING
from tests.unit.builders import (
    ARGS,
    CANAL_RESULT,
    ReaperRig,
    make_attachment,
    make_canal_record,
    write_cache_entry,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dispatcher.agent.reconciler import NodeReconciler
    from dispatcher.reaper.reaper import Reaper
    from dispatcher.state.record import Record
    from tests.unit.host import Clock, Host

SUCCESSOR = "/etc/cni/net.d/10-canal.conflist"


class Leaving:
    """A node that Genie leaves: the plugin is removed, and canal is the successor."""

    def __init__(self, host: Host, clock: Clock) -> None:
        self.rig = ReaperRig(host, clock)
        self.results = host.root / "var/lib/cni/results"
        self.results.mkdir()
        host.network("canal")
        self.rig.add_namespace()
        self.places = {"cni_conf_dir": "/etc/cni/net.d", "cni_bin_dir": "/opt/cni/bin"}
        self.reaper: Reaper = self.rig.make_reaper(host, mode="remove", **self.places)

    def write(self, record: Record) -> None:
        """Put *record* on the disk."""
        store.write_synced(str(self.rig.state), record)

    @property
    def cache_files(self) -> list[str]:
        """The files of libcni's cache."""
        return sorted(path.name for path in self.results.iterdir())

    @property
    def state_files(self) -> list[str]:
        """The files in ``stateDir``."""
        return sorted(path.name for path in self.rig.state.iterdir())

    @property
    def event(self) -> str:
        """The sentence of the Event ``NotFreed``, or ""."""
        return removal.left_records_problem(self.rig.state)

    def read_cache(self, container: str = "c1") -> libcni_cache.Cached | None:
        """Return what Genie reads about *container* after it is installed again."""
        return libcni_cache.find(str(self.results), [], container, "eth0")


@pytest.fixture
def leaving(host: Host, clock: Clock) -> Leaving:
    return Leaving(host, clock)


def test_genie_finds_a_handed_over_pod_when_it_is_installed_again(leaving: Leaving) -> None:
    """With its network, whatever the default is then. The record and Genie's entry are removed."""
    leaving.write(make_canal_record(SUCCESSOR))
    write_cache_entry(leaving.results, "genie", "genie")
    leaving.reaper.run_once()
    assert leaving.cache_files == ["canal-c1-eth0"]
    assert (leaving.results / "canal-c1-eth0").stat().st_mode & 0o777 == 0o600
    assert leaving.state_files == []
    cached = leaving.read_cache()
    assert cached is not None
    [was] = make_canal_record(SUCCESSOR).attachments
    now = cached.attachment
    assert (now.network, now.interface, now.conf.plugins) == ("canal", "eth0", was.conf.plugins)
    assert sorted(now.args.split(";")) == sorted(ARGS.split(";"))
    assert now.result == CANAL_RESULT
    leaving.reaper.run_once()
    assert leaving.cache_files == ["canal-c1-eth0"]


def test_the_entry_has_the_form_of_libcnis_own(leaving: Leaving) -> None:
    """The runtime's next DEL passes the result to the plugins (specification, section 4)."""
    record = make_canal_record(SUCCESSOR)
    record.attachments[0].capability_args = {"portMappings": [{"hostPort": 80}]}
    leaving.write(record)
    leaving.reaper.run_once()
    entry: dict[str, Any] = json.loads((leaving.results / "canal-c1-eth0").read_bytes())
    config = json.loads(b64decode(entry.pop("config")))
    assert (config["name"], config["cniVersion"]) == ("canal", "1.0.0")
    assert entry == {
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


def test_the_numbers_of_a_configuration_keep_their_spelling(leaving: Leaving) -> None:
    """Also those that Python would print in another way."""
    numbers = b'{"a":0.50,"b":1e3,"c":1234567890123456789012}'
    record = make_canal_record(SUCCESSOR)
    record.attachments[0].conf.plugins = [{"type": "bridge", "x": jsontext.parse(numbers)}]
    record.attachments[0].capability_args = {"bandwidth": jsontext.parse(numbers)}
    leaving.write(record)
    leaving.reaper.run_once()
    entry = (leaving.results / "canal-c1-eth0").read_bytes()
    assert numbers in entry
    assert numbers in b64decode(json.loads(entry)["config"])
    assert leaving.state_files == []


def test_a_record_that_cannot_be_handed_over_does_not_stop_the_others(leaving: Leaving) -> None:
    """Nor Genie's entries from being removed: no file can have this name."""
    broken = make_canal_record(SUCCESSOR)
    broken.attachments[0].interface = "eth\ud800"
    leaving.write(broken)
    other = make_canal_record(SUCCESSOR)
    other.container_id = "c2"
    leaving.write(other)
    write_cache_entry(leaving.results, "genie", "genie")
    with capture_logs() as logged:
        leaving.reaper.run_once()
    assert leaving.cache_files == ["canal-c2-eth0"]
    assert "c1.json" in leaving.state_files
    [failure] = [each for each in logged if each["event"] == "hand-over failed"]
    assert failure["container"] == "c1"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_is_cached_in_the_version_of_its_network(version: str) -> None:
    """A result that the version cannot express is omitted: plugins release without it, too."""
    record = make_canal_record(SUCCESSOR)
    record.attachments[0].conf.cni_version = version
    entry = cache_entries.cache_entry(record, record.attachments[0])
    assert entry["result"]["cniVersion"] == version
    record.attachments[0].result = {"interfaces": [], "ips": [], "routes": [], "dns": {}}
    has_result = "result" in cache_entries.cache_entry(record, record.attachments[0])
    assert has_result == (version > "0.2.0")
    record.attachments[0].result = None
    assert "result" not in cache_entries.cache_entry(record, record.attachments[0])


def without_namespace(record: Record) -> None:
    record.netns = "/run/netns/gone"


def attaching(record: Record) -> None:
    record.attachments[0].phase = ATTACHING


def parked(record: Record) -> None:
    record.attachments[0].phase = PARKED


def failed(record: Record) -> None:
    record.attachments[0].failure = {"since": 0, "code": 999, "msg": "the roll-back failed"}


def releasing(record: Record) -> None:
    record.attachments[0].phase = RELEASING


NOT_HANDED_OVER = [without_namespace, attaching, parked, failed, releasing]


@pytest.mark.parametrize("change", NOT_HANDED_OVER)
def test_an_orphaned_record_is_kept_as_left_when_the_plugin_is_missing(
    leaving: Leaving, change: Callable[[Record], None]
) -> None:
    """The runtime runs no DEL for it, so the Event names what stays allocated."""
    record = make_canal_record(SUCCESSOR)
    change(record)
    leaving.write(record)
    leaving.reaper.run_once()
    assert (leaving.cache_files, leaving.state_files) == ([], ["c1.json.left"])
    assert "the networks of ns/p were not released" in leaving.event


def test_a_record_of_a_sandbox_that_the_runtime_lost_is_kept_as_left(leaving: Leaving) -> None:
    """Its namespace still exists, but no DEL will read a cache entry."""
    leaving.write(make_canal_record(SUCCESSOR))
    held = lock.acquire_container(str(leaving.rig.state), "c1", lock.NO_WAIT)
    for _ in range(2):
        leaving.reaper.run_once()
    held.release(unlink=True)
    leaving.reaper.run_once()
    assert (leaving.cache_files, leaving.state_files) == ([], ["c1.json.left"])


@pytest.mark.parametrize("mode", ["remove", "remove --force"])
@pytest.mark.parametrize("change", NOT_HANDED_OVER)
def test_an_orphaned_record_is_released_while_the_plugin_is_installed(
    host: Host,
    leaving: Leaving,
    make_reconciler: Callable[..., NodeReconciler],
    mode: str,
    change: Callable[..., None],
) -> None:
    """The agent keeps the plugin until then."""
    host.executable("bridge")
    make_reconciler().reconcile()
    (host.conf / "00-genie.conflist").unlink()
    record = make_canal_record(str(host.conf / "10-canal.conflist"))
    change(record)
    leaving.write(record)
    leaving.reaper.release_orphans()
    agent = make_reconciler(mode=mode, state_dir=leaving.rig.state)
    assert agent.reconcile().conflist_removed
    leaving.rig.clock.now += 1000
    assert not agent.reconcile().plugin_removed
    assert (host.bin / "genie").exists()
    reaper = leaving.rig.make_reaper(host, mode=mode, **leaving.places, reap_age_seconds=0)
    os.utime(store.path_of(str(leaving.rig.state), "c1"), (0, 0))
    for _ in range(2):
        reaper.run_once()
    assert leaving.rig.released == ["c1"]
    assert agent.reconcile().plugin_removed
    assert (leaving.cache_files, leaving.event) == ([], "")


def test_while_the_conflist_is_there_nothing_is_handed_over(host: Host, leaving: Leaving) -> None:
    """A launcher may be missing for seconds while Genie still serves the node."""
    leaving.write(make_canal_record(SUCCESSOR))
    write_cache_entry(leaving.results, "genie", "genie")
    conflist = host.conf / "00-genie.conflist"
    conflist.touch()
    leaving.reaper.run_once()
    assert (leaving.cache_files, leaving.state_files) == (["genie-c-eth0"], ["c1.json"])
    conflist.unlink()
    leaving.reaper.run_once()
    assert (leaving.cache_files, leaving.state_files) == (["canal-c1-eth0"], [])


@pytest.mark.parametrize(
    ("name", "interface"),
    [("../canal", "eth0"), ("canal", "../eth0"), ("canal", "../../../../../tmp/x")],
)
def test_a_name_that_leads_to_another_folder_is_not_handed_over(
    leaving: Leaving, name: str, interface: str
) -> None:
    """A record is only data, and the reaper may write everywhere. Force still releases it."""
    record = make_canal_record(SUCCESSOR)
    record.attachments[0].conf.name = name
    record.attachments[0].interface = interface
    leaving.write(record)
    before = sorted(leaving.rig.root.rglob("*"))
    leaving.reaper.run_once()
    assert sorted(leaving.rig.root.rglob("*")) == before
    assert leaving.state_files == ["c1.json"]


def test_what_the_next_configuration_cannot_release_is_not_handed_over(leaving: Leaving) -> None:
    """Its record stays until the pod ends, or until "remove --force" releases it."""
    record = make_canal_record(SUCCESSOR)
    record.attachments.append(make_attachment("weave", "net1", CANAL_RESULT))
    leaving.write(record)
    leaving.reaper.run_once()
    assert (leaving.cache_files, leaving.state_files) == ([], ["c1.json"])


def test_while_a_call_holds_its_lock_a_record_stays(leaving: Leaving) -> None:
    """A DEL is running; the next pass tries again."""
    leaving.write(make_canal_record(SUCCESSOR))
    held = lock.acquire_container(str(leaving.rig.state), "c1", lock.NO_WAIT)
    leaving.reaper.run_once()
    assert leaving.cache_files == []
    assert "c1.json" in leaving.state_files
    held.release(unlink=True)
    leaving.reaper.run_once()
    assert (leaving.cache_files, leaving.state_files) == (["canal-c1-eth0"], [])


def test_a_record_stays_while_its_cache_entry_cannot_be_written(leaving: Leaving) -> None:
    """A folder has its name here."""
    leaving.write(make_canal_record(SUCCESSOR))
    blocked: Path = leaving.results / "canal-c1-eth0"
    (blocked / "full").mkdir(parents=True)
    leaving.reaper.run_once()
    assert "c1.json" in leaving.state_files
    (blocked / "full").rmdir()
    blocked.rmdir()
    leaving.reaper.run_once()
    assert leaving.state_files == []
    assert leaving.read_cache() is not None
