"""Writes onto each pod to which networks it is attached: ``k8s.v1.cni.cncf.io/network-status``.

:func:`network_status` makes the annotation's value from a record (NPWG Multi-Network specification
v1.3, section 5, "Network Attachment Status"). :class:`NetworkStatusWriter` writes it once for each
complete record, by namespace, name and UID, without reading the pod. :data:`STATE_FILE` in the
state directory keeps the records for which that was done, so that a new agent does not write them
again.

Rules: this is not on the path of an ADD, and never fails a pod. A value that another program writes
later stays, through restarts of the agent, too. A pod that is refused delays no other.
"""

from __future__ import annotations

import json
import time
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog

from dispatcher import keys
from dispatcher.agent.state_file import StateFile
from dispatcher.cni_result import default_gateways
from dispatcher.kube.client import MERGE_PATCH, KubeClient
from dispatcher.kube.errors import LOST_RACE, KubeError
from dispatcher.nad.configuration import DELEGATING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.state.record import Attachment, Record

log = structlog.get_logger("status")

STATE_FILE = ".agent-status"
"""The file with the records written: ``{"<container>": <number of attachments>}``."""

PASS_SECONDS = 30.0
"""How long one call of :meth:`NetworkStatusWriter.publish` writes; its thread has other work."""

RETRY_SECONDS = 30.0
"""Seconds before the status of a pod is written again that was refused, unless by a lost race."""


def network_status(record: Record) -> str | None:
    """Return the annotation's value for *record*, or None if it is not complete.

    The primary comes first, then the secondaries in the order of the list. None, too, if a plugin
    attaches definitions itself, as ``multus`` does: it writes the annotation, with all of them.
    """
    if not _has_status(record):
        return None
    primary_first = sorted(record.attachments, key=lambda each: not each.is_primary)
    return json.dumps([_entry(attachment) for attachment in primary_first])


def _has_status(record: Record) -> bool:
    types = (plugin_type for each in record.attachments for plugin_type in each.conf.types)
    return record.is_complete and DELEGATING.keys().isdisjoint(types)


def _entry(attachment: Attachment) -> dict[str, Any]:
    result: dict[str, Any] = attachment.result or {}
    entry: dict[str, Any] = {"name": attachment.network, "interface": attachment.interface}
    ips = [str(ip["address"]).partition("/")[0] for ip in _ips(result, attachment.interface)]
    if ips:
        entry["ips"] = ips
    pod_interface = _interface(result, attachment.interface)
    entry |= {
        key: pod_interface[key]
        for key in ("mac", "mtu")
        if isinstance(pod_interface.get(key), str | int)
    }
    entry["default"] = attachment.is_primary
    has_gateways = attachment.is_primary and result
    route_gateways = default_gateways(result).values() if has_gateways else ()
    gateways = [gateway for gateway in route_gateways if gateway]
    if gateways:
        entry["gateway"] = gateways
    if attachment.default_route:
        entry["default-route"] = attachment.default_route
    entry["dns"] = {k: v for k, v in (result.get("dns") or {}).items() if k != "options"}
    return entry


def _ips(result: Mapping[str, Any], interface: str) -> list[Mapping[str, Any]]:
    """Return the addresses of *result* that are on the pod's *interface*.

    An address that names no interface counts. If the plugin lists only the host's end, all
    addresses count: the pod has them somewhere.
    """
    ips: list[Mapping[str, Any]] = result.get("ips", [])
    listed = result.get("interfaces", [])
    own = {index for index, each in enumerate(listed) if _is_inside(each, interface)}
    if not own:
        return ips
    return [ip for ip in ips if ip.get("interface", -1) not in set(range(len(listed))) - own]


def _is_inside(listed: Mapping[str, Any], name: str) -> bool:
    return listed.get("name") == name and bool(listed.get("sandbox"))


def _interface(result: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    for interface in result.get("interfaces", ()):
        if _is_inside(interface, name):
            mapping: Mapping[str, Any] = interface
            return mapping
    return {}


class NetworkStatusWriter:
    """Writes the status of pods, each once; *state_dir* is for its file, *clock* is monotonic."""

    def __init__(
        self, kube: KubeClient, state_dir: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kube = kube
        self._state_file = StateFile(state_dir / STATE_FILE, int)
        self._clock = clock
        self._written = dict(self._state_file.content)
        self._retry_at: dict[str, float] = {}

    def publish(self, records: Mapping[str, CachedRecord]) -> bool:
        """Write the status of new *records* for at most :data:`PASS_SECONDS`.

        Return whether some are left for the next call, which should come at once. Raises OSError,
        and KubeError if the API server does not answer.
        """
        self._written = {key: value for key, value in self._written.items() if key in records}
        self._retry_at = {key: value for key, value in self._retry_at.items() if key in records}
        due = self._due(records)
        deadline = self._clock() + PASS_SECONDS
        try:
            while due and self._clock() <= deadline:
                self._write(due.pop(0))
        finally:
            self._save()
        return bool(due)

    def _due(self, records: Mapping[str, CachedRecord]) -> list[Record]:
        """Return the records whose status has to be written now, one for each pod."""
        # Most calls find nothing new, and should cost little with hundreds of records.
        if not any(self._is_new(cached.record) for cached in records.values() if cached.record):
            return []

        last: dict[tuple[str, str, str], Record] = {}
        # Of the sandboxes of one pod, the last one counts.
        for cached in sorted(records.values(), key=attrgetter("written_at")):
            record = cached.record
            # A record that shrinks is being released.
            has_shrunk = record and len(record.attachments) < self._written_count(record)
            if record and not has_shrunk and all(cached.pod) and _has_status(record):
                last[cached.pod] = record
        now = self._clock()
        return [
            record
            for record in last.values()
            if self._is_new(record) and now >= self._retry_at.get(record.container_id, now)
        ]

    def _is_new(self, record: Record) -> bool:
        return len(record.attachments) > self._written_count(record)

    def _written_count(self, record: Record) -> int:
        return self._written.get(record.container_id, 0)

    def _write(self, record: Record) -> None:
        value = network_status(record)
        namespace, name, uid = record.pod
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}/status"
        body = {"metadata": {"uid": uid, "annotations": {keys.NETWORK_STATUS: value}}}
        try:
            self._kube.patch(path, body, MERGE_PATCH)
        except KubeError as error:
            if not error.status:
                raise
            # Each static pod is refused: its UID on the node is not that of its mirror pod.
            log.info("network status refused", pod=f"{namespace}/{name}", error=str(error))
            if error.status not in LOST_RACE:  # otherwise the pod was deleted or replaced
                self._retry_at[record.container_id] = self._clock() + RETRY_SECONDS
                return
        self._written[record.container_id] = len(record.attachments)

    def _save(self) -> None:
        # A write costs more than everything else in a call. A container that is gone can wait for
        # the next one that is written: its id does not come again.
        has_new = not self._written.items() <= self._state_file.content.items()
        if has_new or not self._written:
            self._state_file.save(self._written)
