"""Hands running pods over to the container runtime when Genie leaves a node.

How it works: a pod whose only attachment is on the network that the runtime loads after Genie
keeps running, and the runtime releases it with that network's configuration. libcni's cache has
an entry for the call of Genie, which is useless without Genie. The reaper replaces it with the
entry that libcni writes when the runtime attaches a pod to that network itself. The runtime's DEL
then passes the cached result to the plugins, as the specification asks. If Genie is installed
again, with whatever default network, it reads the container's network from that entry
(:mod:`dispatcher.plugin.libcni_cache`).

The runtime never runs DEL for a container that no longer exists, and an incomplete record lists
what a DEL or a roll-back could not free. The reaper frees both while the plugin is installed.
Without the plugin it sets their records aside, so that an Event names what stays taken.

Rules: a record is removed only after its cache entries are written, so a hand-over that was
interrupted is repeated as a whole.
"""

from __future__ import annotations

import contextlib
import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import structlog

from dispatcher import cni_result, keys
from dispatcher.cni_errors import CNIError
from dispatcher.node import atomic_file, removal
from dispatcher.reaper import give_up
from dispatcher.reaper.host_paths import resolve
from dispatcher.state import lock, store

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.state.record import Attachment, Record

log = structlog.get_logger("handover")


def hand_over(
    records: Collection[CachedRecord],
    following: str,
    gone: Collection[str],
    root: Path,
    state_dir: Path,
) -> None:
    """Replace the records that the runtime will free by entries of libcni's cache.

    *following* is the configuration that the runtime loads, *gone* are the containers that no
    longer exist, *root* is where the host's files are, and *state_dir* has the records, below it.
    To be called when plugin and conflist are gone: records that only Genie could free are set
    aside.
    """
    results = resolve(root, give_up.RESULTS)
    for released in removal.released_records(records, following, gone):
        _hand_over(released, results, state_dir)

    for stored in removal.orphaned_records(records, gone):
        if give_up.set_aside(state_dir, stored.container_id):
            log.warning("set aside: the plugin is gone", container=stored.container_id)


def _hand_over(released: removal.Readable, results: Path, state_dir: Path) -> None:
    try:
        container_lock = lock.acquire_container(str(state_dir), released.container_id, deadline=0)
    except (CNIError, OSError):
        return  # its DEL is under way

    is_done = False
    try:
        write_cache_entries(results, released.record)
        store.remove(str(state_dir), released.container_id)
        is_done = True
    except OSError as error:
        log.warning("cannot hand over", container=released.container_id, error=str(error))
    finally:
        container_lock.release(unlink=is_done)


def write_cache_entries(results: Path, record: Record) -> None:
    """Write an entry of libcni's cache for each attachment of *record* into *results*."""
    results.mkdir(mode=0o700, parents=True, exist_ok=True)
    for attachment in record.attachments:
        name = f"{attachment.conf.name}-{record.container_id}-{attachment.interface}"
        content = json.dumps(cache_entry(record, attachment)).encode()
        atomic_file.replace(results / name, content, 0o600)


def cache_entry(record: Record, attachment: Attachment) -> dict[str, Any]:
    """Return what libcni caches of an attachment that the runtime made."""
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
        "kind": keys.LIBCNI_CACHE_KIND,
        "containerId": record.container_id,
        "config": b64encode(json.dumps(config).encode()).decode(),
        "ifName": attachment.interface,
        "networkName": conf.name,
        "netns": record.netns,
        "cniArgs": pairs,
        "capabilityArgs": attachment.capability_args,
    }
    if attachment.result is not None:
        # A result that the network's version has no form for is omitted: plugins can release
        # without one, as after an ADD that was killed.
        with contextlib.suppress(CNIError):
            entry["result"] = cni_result.encode(attachment.result, conf.cni_version)
    return entry
