"""Give up a record that cannot be released, so that the removal of Genie can finish."""

from __future__ import annotations

from pathlib import Path

from dispatcher.cni_errors import CNIError
from dispatcher.node.removal import LEFT_SUFFIX
from dispatcher.state import lock, store


def keep_as_left(state_dir: Path, container_id: str) -> bool:
    """Rename the record of *container_id* to ``.json.left``; return whether it was renamed.

    It is not while the record is locked. The record keeps its content and no longer blocks the
    removal. The agent reports it in an Event
    (:func:`dispatcher.node.removal.left_records_problem`).
    """
    try:
        container_lock = lock.acquire_container(str(state_dir), container_id, lock.NO_WAIT)
    except (CNIError, OSError):
        return False

    record_file = Path(store.path_of(str(state_dir), container_id))
    try:
        record_file.replace(record_file.with_name(record_file.name + LEFT_SUFFIX))
        store.remove_staged(str(state_dir), container_id)
    except OSError:
        return False
    finally:
        # Safe after a failure, too: a lock file has no meaning while nobody holds it, and the next
        # call creates a new one. A waiter notices by the inode that its file was replaced.
        container_lock.release(unlink=True)
    return True
