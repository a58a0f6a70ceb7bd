"""Hands what pods keep over to the container runtime when Genie leaves a node.

How it works: a pod whose only attachment is on the network that follows Genie keeps running, and
the runtime releases it with that network's configuration. For such a pod libcni's cache has a
note of Genie's call, which nobody could use any more. In its place goes the note that the runtime
would have made had it attached the pod to that network by itself. Its DEL then gets the result,
as the specification asks; and a Genie that comes back, be it with another default network, finds
there what the container has (:mod:`dispatcher.plugin.cache`).

Rules: a record goes only when its note is written; what is handed over in part is so again.
"""

from __future__ import annotations

import contextlib
import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import structlog

from dispatcher.agent import files, uninstall
from dispatcher.agent.host import namespace, resolve
from dispatcher.plugin import lock, result, store
from dispatcher.plugin.cache import KIND
from dispatcher.plugin.errors import CNIError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dispatcher.agent.records import Stored
    from dispatcher.plugin.record import Attachment, Record

log = structlog.get_logger("handover")


def hand_over(records: Iterable[Stored], following: str, root: Path, state_dir: Path) -> None:
    """Write libcni's notes for what the configuration *following* can release; drop the records.

    *root* is where the host's files are, *state_dir* where the records are, below it.
    """
    results = resolve(root, uninstall.RESULTS)
    for stored in uninstall.released_by(records, following):
        try:
            container_lock = lock.of_container(str(state_dir), stored.container_id, until=0)
        except (CNIError, OSError):
            continue  # its DEL is under way

        is_done = False
        try:
            # Of a sandbox that is gone nobody will ask for the note.
            if namespace(root, stored.record.netns) is not None:
                write_notes(results, stored.record)
            store.remove(str(state_dir), stored.container_id)
            is_done = True
        except OSError as error:
            log.warning("cannot hand over", container=stored.container_id, error=str(error))
        finally:
            container_lock.release(forget=is_done)


def write_notes(results: Path, record: Record) -> None:
    """Write libcni's notes for what *record* lists into the folder *results*."""
    results.mkdir(mode=0o700, parents=True, exist_ok=True)
    for attachment in record.attachments:
        name = f"{attachment.conf.name}-{record.container_id}-{attachment.interface}"
        content = json.dumps(note(record, attachment)).encode()
        files.replace(results / name, content, 0o600)


def note(record: Record, attachment: Attachment) -> dict[str, Any]:
    """Return what libcni notes of an attachment that it made."""
    conf = attachment.conf
    pairs = [item.partition("=")[::2] for item in attachment.args.split(";") if item]
    config = {
        "cniVersion": conf.cni_version,
        "name": conf.name,
        "disableCheck": conf.disable_check,
        "disableGC": conf.disable_gc,
        "loadOnlyInlinedPlugins": True,  # those of other files are in the record, too
        "plugins": conf.plugins,
    }
    entry = {
        "kind": KIND,
        "containerId": record.container_id,
        "config": b64encode(json.dumps(config).encode()).decode(),
        "ifName": attachment.interface,
        "networkName": conf.name,
        "netns": record.netns,
        "cniArgs": pairs,
        "capabilityArgs": attachment.capability_args,
    }
    if attachment.result is not None:
        # Without one where the version has no form for it: plugins release so, as after a kill.
        with contextlib.suppress(CNIError):
            entry["result"] = result.write(attachment.result, conf.cni_version)
    return entry
