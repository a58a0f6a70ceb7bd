"""Remove files of calls that were killed before they had a record.

Such a call had given no delegate its configuration, though it may have started one. Its lock and
its staged record stay. The next DEL of the container removes both. If no DEL comes (no runtime
may know the sandbox of a killed ADD), GC and the reaper remove them here.

A whole staged record, of a call that was killed just before its commit, is committed; GC or the
reaper then releases it like any other. The container's lock is acquired first, so that no running
call is disturbed.
"""

from __future__ import annotations

import posix

from dispatcher.cni_errors import CNIError
from dispatcher.conf import is_cni_name
from dispatcher.state import lock, store
from dispatcher.state.record import NewerRecordError


def sweep(state_dir: str) -> list[str]:
    """Remove locks and staged records of containers without a record; return their ids.

    Files that cannot be locked, read or removed stay.
    """
    try:
        entries = posix.listdir(state_dir)
    except OSError:
        return []
    suffixes = (lock.SUFFIX, *(store.SUFFIX + each for each in store.TEMPORARY))
    container_ids = {
        entry.removesuffix(suffix)
        for entry in entries
        for suffix in suffixes
        if entry.endswith(suffix) and is_cni_name(entry)
    }
    return [each for each in sorted(container_ids) if _remove(state_dir, each)]


def _remove(state_dir: str, container_id: str) -> bool:
    if store.exists(state_dir, container_id):
        return False
    try:
        container_lock = lock.acquire_container(state_dir, container_id, lock.NO_WAIT)
    except (CNIError, OSError):
        return False

    keep = True
    try:
        keep = store.exists(state_dir, container_id) or store.commit_staged(state_dir, container_id)
        if not keep:
            store.remove_staged(state_dir, container_id)
    except (NewerRecordError, OSError):
        pass  # its files stay
    finally:
        container_lock.release(unlink=not keep)
    return not keep
