"""Hand running pods over to the container runtime when Genie leaves a node.

A pod whose only attachment is on the network that the runtime loads after Genie keeps running, and
the runtime releases it with that network's configuration. libcni's cache has an entry for the call
of Genie, which is useless without Genie. The reaper replaces it with the entry that libcni writes
when the runtime itself attaches a pod to that network. If Genie is installed again, with whatever
default network, it reads the container's network from that entry
(:mod:`dispatcher.plugin.libcni_cache`).

Records that no runtime releases are kept as ``.json.left``, so that an Event names what stays
allocated. While the plugin is installed, the reaper releases them instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dispatcher.cni_errors import CNIError
from dispatcher.node import removal
from dispatcher.reaper import cache_entries, give_up
from dispatcher.state import lock, store

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.state.record import Record

log = structlog.get_logger("handover")


def hand_over(
    records: Collection[CachedRecord],
    successor: str,
    ended_containers: Collection[str],
    results_dir: Path,
    state_dir: Path,
) -> None:
    """Replace the records that the runtime will release by entries of libcni's cache.

    *successor* is the configuration that the runtime loads; *ended_containers* no longer exist.
    Call this only when plugin and conflist are removed: nothing releases orphaned records then.
    """
    for cached in records:
        fate = removal.fate(cached, successor, ended_containers)
        if fate is removal.Fate.HANDED_OVER and cached.record is not None:
            _replace_record(cached.record, results_dir, state_dir)
        elif fate is removal.Fate.ORPHANED and give_up.keep_as_left(state_dir, cached.container_id):
            container = cached.container_id
            log.warning("record kept as .json.left: the plugin is missing", container=container)


def _replace_record(record: Record, results_dir: Path, state_dir: Path) -> None:
    try:
        container_lock = lock.acquire_container(str(state_dir), record.container_id, lock.NO_WAIT)
    except (CNIError, OSError):
        return  # a DEL is running; the next pass tries again

    is_replaced = False
    try:
        # The record goes last, so that a hand-over that was interrupted is repeated as a whole.
        cache_entries.write(results_dir, record)
        store.remove(str(state_dir), record.container_id)
        is_replaced = True
    except OSError as error:
        log.warning("hand-over failed", container=record.container_id, error=str(error))
    except Exception:  # a record is only data: a fault of one must not stop the others
        log.exception("hand-over failed", container=record.container_id)
    finally:
        container_lock.release(unlink=is_replaced)
