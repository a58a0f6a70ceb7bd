"""Writes onto each pod what it was attached to: ``k8s.v1.cni.cncf.io/network-status``.

How it works: :func:`network_status` makes the annotation's value from a record (NPWG
Multi-Network specification v1.3, section 5, "Network Attachment Status"). :class:`Status`
writes it once for each record that is complete, by namespace, name and UID, without reading
the pod. Which records that was done for is remembered in a file, :data:`MEMORY` in the state
directory, so that a new agent does not write them again.

Rules: this is outside the ADD path and never fails a pod; a pod that is gone or was replaced
is left alone; what another writes there later stays, through restarts of the agent too.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog

from dispatcher import keys
from dispatcher.agent import files
from dispatcher.kube.client import CONFLICT, MERGE_PATCH, NOT_FOUND, KubeClient, KubeError
from dispatcher.plugin.record import ATTACHED
from dispatcher.plugin.result import family, is_default

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dispatcher.agent.records import Stored
    from dispatcher.plugin.record import Attachment, Record

log = structlog.get_logger("status")

MEMORY = ".agent-status"
"""The file that says, by container, what was written: ``{"<id>": "<hash of the value>"}``."""

UNPROCESSABLE = 422
FORBIDDEN = 403

REFUSED = frozenset({NOT_FOUND, CONFLICT, UNPROCESSABLE, FORBIDDEN})
"""Answers after which trying again is pointless: gone, replaced, or not ours to write."""


def network_status(record: Record) -> str | None:
    """Return the annotation's value for *record*, or None while it is not complete."""
    if not all(attachment.phase == ATTACHED for attachment in record.attachments):
        return None
    return json.dumps([_entry(attachment) for attachment in record.attachments])


def _entry(attachment: Attachment) -> dict[str, Any]:
    result: dict[str, Any] = attachment.result or {}
    entry: dict[str, Any] = {"name": attachment.network, "interface": attachment.interface}
    ips = [str(ip["address"]).partition("/")[0] for ip in result.get("ips", ())]
    if ips:
        entry["ips"] = ips
    inside = _interface(result, attachment.interface)
    entry |= {key: inside[key] for key in ("mac", "mtu") if isinstance(inside.get(key), str | int)}
    entry["default"] = attachment.primary
    gateways = _gateways(result) if attachment.primary else []
    if gateways:
        entry["gateway"] = gateways
    entry["dns"] = {k: v for k, v in (result.get("dns") or {}).items() if k != "options"}
    return entry


def _interface(result: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    for interface in result.get("interfaces", ()):
        if interface.get("name") == name and interface.get("sandbox"):
            found: Mapping[str, Any] = interface
            return found
    return {}


def _gateways(result: Mapping[str, Any]) -> list[str]:
    """Return the next hops of the default routes; one without takes its family's gateway."""
    gateways = []
    for route in result.get("routes", ()):
        if is_default(route):
            number = family(route["dst"])
            of_ips = [
                ip["gateway"]
                for ip in result.get("ips", ())
                if ip.get("gateway") and family(ip["address"]) == number
            ]
            gateways += [route["gw"]] if route.get("gw") else of_ips
    return list(dict.fromkeys(gateways))


class Status:
    """What was written onto which pod; *state_dir* is where that is remembered."""

    def __init__(self, kube: KubeClient, state_dir: Path) -> None:
        self._kube = kube
        self._memory = state_dir / MEMORY
        self._remembered = _load(self._memory)
        self._written = dict(self._remembered)
        self._seen: dict[str, Stored] = {}

    def publish(self, records: Mapping[str, Stored]) -> None:
        """Write what is new. Raises KubeError when the API server does not answer, and OSError."""
        self._written = {key: old for key, old in self._written.items() if key in records}
        self._seen = {key: old for key, old in self._seen.items() if key in records}
        try:
            for container_id, stored in records.items():
                if self._seen.get(container_id) is not stored:
                    self._consider(container_id, stored.record)
                    self._seen[container_id] = stored
        finally:
            self._remember()

    def _consider(self, container_id: str, record: Record | None) -> None:
        value = network_status(record) if record else None
        if record is None or value is None:
            return
        mark = hashlib.sha256(value.encode()).hexdigest()[:16]
        if self._written.get(container_id) != mark:
            self._write(record, value)
            self._written[container_id] = mark

    def _remember(self) -> None:
        if self._written == self._remembered:
            return
        if self._written:
            files.replace(self._memory, json.dumps(self._written).encode(), 0o600)
        else:
            self._memory.unlink(missing_ok=True)
        self._remembered = dict(self._written)

    def _write(self, record: Record, value: str) -> None:
        namespace, name, uid = record.pod
        if not (namespace and name and uid):
            return
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}/status"
        body = {"metadata": {"uid": uid, "annotations": {keys.NETWORK_STATUS: value}}}
        try:
            self._kube.patch(path, body, MERGE_PATCH)
        except KubeError as error:
            if error.status not in REFUSED:
                raise
            # A static pod, too: its UID on the node is not that of its mirror in the API.
            log.info("no status was written", pod=f"{namespace}/{name}", reason=error.reason)


def _load(memory: Path) -> dict[str, str]:
    """Return what an earlier agent wrote; of a file that cannot be read, nothing."""
    try:
        found = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
