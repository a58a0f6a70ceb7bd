"""Records, entries of libcni's cache, and a node with a reaper, for tests of agent and reaper."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from dispatcher.conf import Conf
from dispatcher.reaper.cri import CRIError
from dispatcher.reaper.reaper import Reaper
from dispatcher.state import store
from dispatcher.state.record import ATTACHED, Attachment, Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dispatcher.node.record_cache import CachedRecord
    from tests.unit.host import Clock, Host

ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=p;K8S_POD_UID=u1"

WEAVE_RESULT = {
    "interfaces": [
        {"name": "weave0", "mac": "00:00:00:00:00:01"},
        {"name": "eth0", "mac": "00:00:00:00:00:02", "mtu": 1450, "sandbox": "/run/netns/x"},
    ],
    "ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1"}, {"address": "fd00::2/64"}],
    "routes": [
        {"dst": "0.0.0.0/0", "gw": "10.1.0.1"},
        {"dst": "::/0", "gw": "fd00::1"},
        {"dst": "10.9.0.0/16", "gw": "10.1.0.9"},
    ],
    "dns": {"nameservers": ["10.1.0.53"], "search": ["a.b"], "options": ["ndots:5"]},
}

CANAL_RESULT = {
    "interfaces": [],
    "ips": [{"address": "10.2.0.2/24"}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.2.0.1"}],
    "dns": {},
}


def make_attachment(
    network: str, interface: str, result: dict[str, Any], *, args: str = ARGS
) -> Attachment:
    """Return an attachment to *network* that is complete."""
    conf = Conf(f"/etc/{network}", network, "1.0.0", [{"type": "bridge"}])
    attachment = Attachment(
        network, interface, "eth0", conf, args=args, is_primary=interface == "eth0"
    )
    attachment.phase, attachment.result = ATTACHED, result
    return attachment


def make_record(container_id: str = "c1", args: str = ARGS) -> Record:
    """Return the record of a pod on weave, and on canal as its secondary network."""
    attachments = [
        make_attachment("weave", "eth0", WEAVE_RESULT, args=args),
        make_attachment("canal", "net1", CANAL_RESULT),
    ]
    return Record(container_id, "/run/netns/x", attachments)


def make_canal_record(path: str) -> Record:
    """Return the record of a pod that is on canal alone; *path* is canal's configuration."""
    record = make_record()
    record.attachments = [make_attachment("canal", "eth0", CANAL_RESULT)]
    record.attachments[0].conf.path = path
    return record


def write_cache_entry(folder: Path, name: str, *types: str) -> None:
    """Write an entry of libcni's cache, as runtimes do."""
    plugins = [{"type": plugin_type} for plugin_type in types]
    conflist = json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": plugins})
    entry = {
        "kind": "cniCacheV1",
        "config": b64encode(conflist.encode()).decode(),
        "networkName": name,
    }
    (folder / f"{name}-c-eth0").write_text(json.dumps(entry))


class ReaperRig:
    """A host below a folder, with a container runtime and a plugin that do as the test says."""

    def __init__(self, host: Host, clock: Clock) -> None:
        self.root = host.root
        self.clock = clock
        self.listed: set[str] = set()
        """The sandboxes that the runtime lists."""
        self.is_away = False
        """Whether the runtime does not answer."""
        self.fault = ""
        """The error of the plugin's DEL."""
        self.parks = False
        """Whether the plugin's DEL keeps the record."""
        self.is_force_allowed = True
        """Whether the mode "remove --force" holds."""
        self.during_del: Callable[[], object] = lambda: None
        """Called during each DEL of the plugin."""
        self.released: list[str] = []
        (self.root / "proc").mkdir()
        self.state = host.root / "state"
        self.state.mkdir()
        self.reaper = self.make_reaper(host)

    def make_reaper(self, host: Host, **settings: Any) -> Reaper:
        """Return a reaper with *settings*."""
        reaper_settings = host.settings(host_root=host.root, state_dir="/state", **settings)
        return Reaper(
            reaper_settings,
            list_sandboxes=self._list,
            run_del=self._release,
            allow_force=lambda: self.is_force_allowed,
            clock=self.clock,
        )

    def _list(self) -> set[str]:
        if self.is_away:
            raise CRIError("the runtime does not answer: away")
        return self.listed

    def _release(self, cached: CachedRecord) -> str:
        self.released.append(cached.container_id)
        self.during_del()
        if not self.fault and not self.parks:
            store.remove(str(self.state), cached.container_id)
        return self.fault

    def write(self, container_id: str, age: float = 1000, netns: str = "/run/netns/x") -> None:
        """Write a record of *age* seconds."""
        record = make_record(container_id)
        record.netns = netns
        store.write_synced(str(self.state), record)
        written_at = self.clock.now - age
        os.utime(store.path_of(str(self.state), container_id), (written_at, written_at))

    def add_process(self, pid: int) -> Path:
        """Add a process that lives in the test's network namespace; returns its link to it."""
        return self._link(f"proc/{pid}/ns/net")

    def add_namespace(self) -> None:
        """Make the test's network namespace the one of the records, too."""
        self._link("run/netns/x")

    def _link(self, place: str) -> Path:
        path = self.root / place
        path.parent.mkdir(parents=True)
        path.symlink_to("/proc/self/ns/net")  # only the kernel makes such files
        return path
