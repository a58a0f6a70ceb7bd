"""Which pods would lose something if Genie left the node.

When our conflist is gone the runtime loads the next configuration in its directory, and runs
DELs of pods that Genie attached with that. So a record is in the way unless its only
attachment is the pod's primary on that very network.

The mode "remove --force" takes these pods' networks away. What cannot be freed even so after some
tries is left behind: its record is kept under another name, is in nobody's way, and is told.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dispatcher import keys
from dispatcher.conf import BrokenConf
from dispatcher.conf import decode as conf_of
from dispatcher.plugin import lock, store
from dispatcher.plugin.errors import CNIError
from dispatcher.plugin.record import CorruptRecord, NewerRecord, decode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dispatcher.agent.records import Stored
    from dispatcher.plugin.record import Record

EXTENSIONS = frozenset({".conf", ".conflist", ".json"})
"""What runtimes read in their configuration directory."""

REMOVING = ("remove", "remove --force")
"""The modes that take Genie from a node."""

RESULTS = Path("/var/lib/cni/results")
"""Where every container runtime keeps libcni's notes: one file for each attachment it made."""

LEFT = ".left"
"""What is added to the name of a record whose networks were left behind."""

SHOWN = 10
"""How many pods a sentence names."""


class Readable(NamedTuple):
    """A record that could be read."""

    container_id: str
    record: Record


def configurations(directory: Path) -> list[Path]:
    """Return what a runtime reads in its configuration *directory*, in its order."""
    try:
        return sorted(path for path in directory.iterdir() if path.suffix in EXTENSIONS)
    except FileNotFoundError:
        return []


def effective(directory: Path) -> str:
    """Return the path of the configuration that the runtime loads, or ""."""
    return next(map(str, configurations(directory)), "")


def successor(directory: Path) -> str:
    """Return the path of the configuration that the runtime would load without ours, or ""."""
    others = [path for path in configurations(directory) if path.name != keys.CONFLIST]
    return str(others[0]) if others else ""


def in_the_way(records: Iterable[Stored], following: str) -> list[Stored]:
    """Return the records that the configuration *following* could not free."""
    return [stored for stored in records if not _frees(following, stored)]


def released_by(records: Iterable[Stored], following: str) -> list[Readable]:
    """Return the records that the configuration *following* can free."""
    return [
        Readable(stored.container_id, stored.record)
        for stored in records
        if stored.record is not None and _frees(following, stored)
    ]


def _frees(following: str, stored: Stored) -> bool:
    if stored.record is None:
        return False
    return all(
        attachment.primary and attachment.conf.path == following
        for attachment in stored.record.attachments
    )


def explain(blocking: list[Stored], following: str, gone: set[str], *, force: bool) -> str:
    """Return why Genie cannot be removed, naming the pods, and what to do.

    Of the containers *gone*, which the runtime no longer has, only the number is told.
    """
    living = [stored for stored in blocking if stored.container_id not in gone]
    pods = _shown([_pod(stored.record) or stored.container_id for stored in living])
    left = len(blocking) - len(living)
    noun = "container that no longer exists" if left == 1 else "containers that no longer exist"
    remains = f"what is left of {left} {noun}"
    whose = " and ".join(
        filter(None, (f"the networks of {pods}" * bool(pods), remains * bool(left)))
    )
    why = (
        f"{following}, which would follow, cannot free {whose}"
        if following
        else f"no configuration would follow that could free {whose}"
    )
    if force:
        return (
            f"Genie is not removed yet: {why}. The reaper takes them away; what it cannot free "
            "in some tries it leaves behind"
        )
    return (
        f"Genie is not removed: {why}. Drain the node, or set the mode "
        '"remove --force", which takes these pods\' networks away'
    )


def set_aside(state_dir: Path, container_id: str) -> bool:
    """Leave behind what *container_id* has: keep its record under another name; tell if done."""
    path = Path(store.path_of(str(state_dir), container_id))
    try:
        held = lock.of_container(str(state_dir), container_id, until=0)
    except (CNIError, OSError):
        return False
    try:
        path.replace(path.with_name(path.name + LEFT))
        store.forget_unfinished(str(state_dir), container_id)
    except OSError:
        return False
    finally:
        held.release(forget=True)
    return True


def left_behind(state_dir: Path) -> str:
    """Return what was left behind, naming the pods, and what to do; "" if there is nothing."""
    kept = sorted(state_dir.glob(f"*{LEFT}"))
    if not kept:
        return ""
    pods = []
    for path in kept:
        try:
            pod = _pod(decode(store.read_file(str(path))))
        except (CorruptRecord, NewerRecord, OSError):
            pod = ""
        pods.append(pod or path.name.partition(".")[0])
    return (
        f"the networks of {_shown(pods)} could not be freed, and their addresses may stay taken; "
        f"{state_dir}/*{LEFT} say what they had. Free that by hand and remove the files"
    )


def purge(state_dir: Path) -> None:
    """Remove the plugin's files, but what tells of networks that were left behind.

    Records of pods that keep running go when the reaper has handed them over.
    """
    for path in state_dir.glob("*"):
        if not path.name.endswith((LEFT, store.SUFFIX)) and not path.is_dir():
            path.unlink(missing_ok=True)  # the reaper removes files here, too


def forget_results(directory: Path) -> None:
    """Remove libcni's notes on our own attachments from *directory*.

    It looks for them by the name of our conflist, which is gone: they would stay for ever.
    """
    for path in directory.glob("*"):
        try:
            cached = json.loads(store.read_file(str(path)))
            conf = conf_of(a2b_base64(cached["config"]), str(path))
        except (BrokenConf, OSError, KeyError, TypeError, ValueError):
            continue  # not ours to judge
        if keys.PLUGIN_TYPE in conf.types:
            path.unlink(missing_ok=True)


def _pod(record: Record | None) -> str:
    """Return a pod's namespace and name, or "" where nobody knows."""
    namespace, name, _ = record.pod if record else ("", "", "")
    return f"{namespace}/{name}" if name else ""


def _shown(pods: list[str]) -> str:
    names = list(dict.fromkeys(pods))  # a pod has a record for each of its sandboxes
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
