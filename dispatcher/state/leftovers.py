"""What is left of calls that were killed before their first record had its name.

How it works: such a call told no delegate what to do, though it may have started one. Its
lock and its unfinished record stay. The next DEL of the container removes both; where none
comes (a sandbox whose ADD was killed is nobody's), GC and the node's reaper do it here. A
record that is whole, as a kill or a power cut in its last moment leaves it, is made one, and
freed as such. A container's lock is taken first, so no call that is going on is disturbed.
"""

from __future__ import annotations

import posix

from dispatcher.cni_errors import CNIError
from dispatcher.conf import is_cni_name
from dispatcher.state import lock, store
from dispatcher.state.record import NewerRecordError


def sweep(state_dir: str) -> list[str]:
    """Remove locks and unfinished records of containers without a record; return their ids.

    What somebody holds is left alone, and so is what cannot be read or removed.
    """
    try:
        entries = posix.listdir(state_dir)
    except OSError:
        return []
    suffixes = (lock.SUFFIX, *(store.SUFFIX + each for each in store.TEMPORARY))
    named = {
        entry.removesuffix(suffix)
        for entry in entries
        for suffix in suffixes
        if entry.endswith(suffix) and is_cni_name(entry)
    }
    return [each for each in sorted(named) if _remove(state_dir, each)]


def _remove(state_dir: str, container_id: str) -> bool:
    if store.exists(state_dir, container_id):
        return False
    try:
        held = lock.acquire_container(state_dir, container_id, deadline=0)
    except (CNIError, OSError):
        return False
    kept = True
    try:
        kept = store.exists(state_dir, container_id) or store.commit_staged(state_dir, container_id)
        if not kept:
            store.remove_staged(state_dir, container_id)
    except (NewerRecordError, OSError):
        pass  # it stays where it is
    finally:
        held.release(unlink=not kept)
    return not kept
