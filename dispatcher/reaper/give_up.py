"""Leave behind what cannot be freed, so that the mode "remove --force" comes to an end.

A record whose networks could not be freed is kept under another name, which is in nobody's way
and which the agent reports (:mod:`dispatcher.node.removal`). libcni's notes on Genie's own calls,
which nobody could use any more, are removed.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from pathlib import Path

from dispatcher import keys
from dispatcher.cni_errors import CNIError
from dispatcher.conf import InvalidConfError
from dispatcher.conf import decode as conf_of
from dispatcher.node.removal import LEFT
from dispatcher.state import lock, store

RESULTS = Path("/var/lib/cni/results")
"""Where every container runtime keeps libcni's cache: one file for each attachment."""


def set_aside(state_dir: Path, container_id: str) -> bool:
    """Keep the record of *container_id* under another name; tell whether that was done.

    The record is then no longer in the way, and
    :func:`dispatcher.node.removal.set_aside_problem` reports it.
    """
    path = Path(store.path_of(str(state_dir), container_id))
    try:
        held = lock.acquire_container(str(state_dir), container_id, deadline=0)
    except (CNIError, OSError):
        return False
    try:
        path.replace(path.with_name(path.name + LEFT))
        store.remove_staged(str(state_dir), container_id)
    except OSError:
        return False
    finally:
        held.release(unlink=True)
    return True


def forget_results(directory: Path) -> None:
    """Remove libcni's cache entries for calls of Genie from *directory*.

    libcni removes an entry with a DEL of the same configuration. Ours is gone, so they would stay.
    """
    for path in directory.glob("*"):
        try:
            cached = json.loads(store.read_file(str(path)))
            conf = conf_of(a2b_base64(cached["config"]), str(path))
        except (InvalidConfError, OSError, KeyError, TypeError, ValueError):
            continue  # not ours to judge
        if keys.PLUGIN_TYPE in conf.types:
            path.unlink(missing_ok=True)
