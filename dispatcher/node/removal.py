"""Decides what happens to each record when Genie leaves the node.

Without Genie's conflist, the runtime loads the next configuration in its directory (the successor)
and runs the DEL of every pod with that one. So a record blocks the removal unless the successor
releases exactly what the record lists.

The mode "remove --force" releases the networks of pods that block. A record that cannot be
released, in that mode or because the plugin is missing, is kept as ``.json.left``: it no longer
blocks the removal, and an Event names its pod.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from dispatcher.conf import is_cni_name
from dispatcher.state import store
from dispatcher.state.record import CorruptRecordError, NewerRecordError
from dispatcher.state.record_reader import decode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.state.record import Attachment, Record

LEFT_SUFFIX = ".left"
"""What is added to the name of a record whose networks were not released."""

FORCED_TRIES = 3
"""How often "remove --force" tries to release a record, once in each pass of the reaper."""

MAX_NAMES = 10
"""How many pods a message names."""


class Fate(Enum):
    """What becomes of a record without Genie."""

    HANDED_OVER = auto()
    """The runtime releases it: its only attachment is the pod's primary on the successor."""
    NEEDED = auto()
    """A running pod has attachments that the successor does not release."""
    ORPHANED = auto()
    """No DEL comes: the container no longer exists, or an ADD or a DEL was not completed."""
    UNREADABLE = auto()
    """The record cannot be read, so its attachments are unknown."""


def fate(cached: CachedRecord, successor: str, ended_containers: Collection[str]) -> Fate:
    """Return what becomes of the record *cached*.

    *successor* is the path of the configuration that the runtime loads without Genie;
    *ended_containers* no longer exist.
    """
    if cached.record is None:
        return Fate.UNREADABLE
    if not cached.record.is_complete or cached.container_id in ended_containers:
        return Fate.ORPHANED
    if all(_is_released_by(successor, each) for each in cached.record.attachments):
        return Fate.HANDED_OVER
    return Fate.NEEDED


def _is_released_by(successor: str, attachment: Attachment) -> bool:
    # A record is only data. Both parts become the name of a file of libcni's cache, which must not
    # lead to another folder.
    is_file_name = is_cni_name(attachment.conf.name) and not {"/", "\0"} & set(attachment.interface)
    return attachment.is_primary and attachment.conf.path == successor and is_file_name


def blocking_records(
    records: Iterable[CachedRecord], successor: str, ended_containers: Collection[str]
) -> list[CachedRecord]:
    """Return the records that the runtime will not release without Genie."""
    return [
        each for each in records if fate(each, successor, ended_containers) is not Fate.HANDED_OVER
    ]


def blocking_problem(
    blocking: list[CachedRecord],
    successor: str,
    ended_containers: Collection[str],
    *,
    is_forced: bool,
) -> str:
    """Return why Genie cannot be removed, naming the pods, and what to do.

    Of *ended_containers*, which no longer exist, the message has only the number.
    """
    existing, count = owners(blocking, ended_containers)
    pods = _shortened(existing)
    noun = "container that no longer exists" if count == 1 else "containers that no longer exist"
    holders = " and of ".join(filter(None, (pods, f"{count} {noun}" if count else "")))
    reason = (
        f"the next CNI configuration, {successor}, cannot release the networks of {holders}"
        if successor
        else f"no other CNI configuration on this node can release the networks of {holders}"
    )

    if is_forced:
        return (
            f"Genie is not removed yet: {reason}. The reaper runs DEL for these networks; after "
            f"{FORCED_TRIES} failures it keeps the record as *.json{LEFT_SUFFIX}, and the removal "
            "continues"
        )
    fixes = []
    if existing:
        fixes.append(
            'Drain the node, or set the mode "remove --force", which removes these networks from '
            "the pods"
        )
    if count:
        fixes.append(
            "The reaper releases the networks of containers that no longer exist; its log says "
            "why it does not release one"
        )
    return f"Genie is not removed: {reason}. {'. '.join(fixes)}"


def owners(
    blocking: Collection[CachedRecord], ended_containers: Collection[str]
) -> tuple[list[str], int]:
    """Return the pods of *blocking*, each once, and how many of its containers have ended.

    A record without a pod has its container's id.
    """
    existing = [each for each in blocking if each.container_id not in ended_containers]
    # A pod has a record for each of its sandboxes.
    pods = dict.fromkeys(_pod(each.record) or each.container_id for each in existing)
    return list(pods), len(blocking) - len(existing)


def left_records_problem(state_dir: Path) -> str:
    """Return which networks were not released, or may not be, and what to do; "" if there are none.

    These are of the pods whose records are left, and of the containers whose corrupt records were
    set aside.
    """
    return "; ".join(filter(None, (_left_problem(state_dir), _corrupt_problem(state_dir))))


def _left_problem(state_dir: Path) -> str:
    files = sorted(state_dir.glob(f"*{LEFT_SUFFIX}"))
    if not files:
        return ""

    pods = []
    for path in files:
        try:
            pod = _pod(decode(store.read_file(str(path))))
        except (CorruptRecordError, NewerRecordError, OSError):
            pod = ""
        pods.append(pod or path.name.partition(".")[0])

    return (
        f"the networks of {_shortened(pods)} were not released, and their addresses may still be "
        f"allocated. The files {state_dir}/*.json{LEFT_SUFFIX} list these networks and addresses: "
        "free the addresses in each network's own store, then remove the files"
    )


def _corrupt_problem(state_dir: Path) -> str:
    files = sorted(state_dir.glob(f"*{store.CORRUPT}"))
    if not files:
        return ""
    containers = _shortened([path.name.partition(".")[0] for path in files])
    return (
        f"the records of the containers {containers} could not be read, so their networks were "
        "released by the annotations of their pods, and other addresses may still be allocated. "
        f"The files {state_dir}/*{store.CORRUPT} have what is left of these records: free the "
        "addresses in each network's own store, then remove the files"
    )


def purge(state_dir: Path) -> None:
    """Remove the plugin's files, except records, also those that were left or are corrupt.

    The reaper hands a record over later. Until then everything with the container's id stays, too:
    the last synced record, and the lock that the reaper holds meanwhile. So do the accepted
    settings, without which a reaper that restarts would hand over nothing.
    """
    with_record = tuple(f"{each}." for each in store.container_ids(str(state_dir)))
    needed = (*with_record, store.ACCEPTED_SETTINGS) if with_record else ()
    for path in state_dir.glob("*"):
        is_record = path.name.endswith((store.SUFFIX, store.CORRUPT, LEFT_SUFFIX))
        if not is_record and not path.name.startswith(needed) and not path.is_dir():
            path.unlink(missing_ok=True)  # the reaper removes files here, too


def _pod(record: Record | None) -> str:
    """Return the pod's namespace and name, or "" if the record has none."""
    namespace, name, _ = record.pod if record else ("", "", "")
    return f"{namespace}/{name}" if name else ""


def _shortened(pods: list[str]) -> str:
    """Return the names of *pods*, each once, and how many more there are."""
    names = list(dict.fromkeys(pods))
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
