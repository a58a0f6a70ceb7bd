"""Which pods would lose something if Genie left the node.

When our conflist is gone the runtime loads the next configuration in its directory, and runs
DELs of pods that Genie attached with that. So a record is in the way unless it is complete, its
container still exists and its only attachment is the pod's primary on that very network. For a
container that no longer exists the runtime runs no DEL; an incomplete record lists what a DEL or a
roll-back could not free. Only Genie frees such records.

The mode "remove --force" takes these pods' networks away. A record that cannot be freed, by that
mode or because the plugin is gone, is set aside: it keeps its content under another name, no
longer blocks the removal, and an Event names its pod.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher.conf import is_cni_name
from dispatcher.state import store
from dispatcher.state.record import CorruptRecordError, NewerRecordError, decode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.state.record import Attachment, Record


LEFT = ".left"
"""What is added to the name of a record whose networks were left behind."""

FORCED_TRIES = 3
"""How often "remove --force" tries to free a record, in one look each, before it goes without."""

SHOWN = 10
"""How many pods a sentence names."""


class Readable(NamedTuple):
    """A record that could be read."""

    container_id: str
    record: Record


def blocking_records(
    records: Iterable[CachedRecord], following: str, gone: Collection[str]
) -> list[CachedRecord]:
    """Return the records that the runtime will not free with the configuration *following*.

    *gone* are the containers that no longer exist.
    """
    return [
        stored
        for stored in records
        if not _is_of_running_pod(stored, gone) or not _frees(following, stored.record)
    ]


def released_records(
    records: Iterable[CachedRecord], following: str, gone: Collection[str]
) -> list[Readable]:
    """Return the records that the runtime will free with the configuration *following*."""
    return [
        Readable(stored.container_id, stored.record)
        for stored in records
        if stored.record is not None
        and _is_of_running_pod(stored, gone)
        and _frees(following, stored.record)
    ]


def orphaned_records(records: Iterable[CachedRecord], gone: Collection[str]) -> list[CachedRecord]:
    """Return the readable records that only Genie's DEL could free."""
    return [
        stored
        for stored in records
        if stored.record is not None and not _is_of_running_pod(stored, gone)
    ]


def _is_of_running_pod(stored: CachedRecord, gone: Collection[str]) -> bool:
    complete = stored.record is not None and stored.record.is_complete
    return complete and stored.container_id not in gone


def _frees(following: str, record: Record | None) -> bool:
    return record is not None and all(
        attachment.is_primary and attachment.conf.path == following and _has_file_name(attachment)
        for attachment in record.attachments
    )


def _has_file_name(attachment: Attachment) -> bool:
    """Tell whether libcni's cache can have an entry for *attachment*.

    The entry's name has both parts, and a record is only data: it must not lead to another folder.
    """
    return is_cni_name(attachment.conf.name) and not {"/", "\0"} & set(attachment.interface)


def blocking_problem(
    blocking: list[CachedRecord], following: str, gone: set[str], *, force: bool
) -> str:
    """Return why Genie cannot be removed, naming the pods, and what to do.

    The containers in *gone* no longer exist; the sentence has only their number.
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
            f"Genie is not removed yet: {why}. The reaper runs their DEL; after {FORCED_TRIES} "
            f"failures it keeps the record as *{LEFT} and the removal goes on"
        )
    return (
        f"Genie is not removed: {why}. Drain the node, or set the mode "
        '"remove --force", which takes these pods\' networks away'
    )


def set_aside_problem(state_dir: Path) -> str:
    """Return what was left behind, naming the pods, and what to do; "" if there is nothing."""
    kept = sorted(state_dir.glob(f"*{LEFT}"))
    if not kept:
        return ""
    pods = []
    for path in kept:
        try:
            pod = _pod(decode(store.read_file(str(path))))
        except (CorruptRecordError, NewerRecordError, OSError):
            pod = ""
        pods.append(pod or path.name.partition(".")[0])
    return (
        f"the networks of {_shown(pods)} could not be freed, and their addresses may stay taken; "
        f"{state_dir}/*{LEFT} say what they had. Free that by hand and remove the files"
    )


def purge(state_dir: Path) -> None:
    """Remove the plugin's files, except records and those that were set aside.

    The reaper hands a record over later. Until then everything that has the container's id stays,
    too: the last record that is safe on the disk, and the lock that the reaper holds meanwhile.
    """
    used = tuple(f"{each}." for each in store.container_ids(str(state_dir)))
    for path in state_dir.glob("*"):
        is_kept = path.name.startswith(used) or path.name.endswith((LEFT, store.SUFFIX))
        if not is_kept and not path.is_dir():
            path.unlink(missing_ok=True)  # the reaper removes files here, too


def _pod(record: Record | None) -> str:
    """Return a pod's namespace and name, or "" where nobody knows."""
    namespace, name, _ = record.pod if record else ("", "", "")
    return f"{namespace}/{name}" if name else ""


def _shown(pods: list[str]) -> str:
    names = list(dict.fromkeys(pods))  # a pod has a record for each of its sandboxes
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
