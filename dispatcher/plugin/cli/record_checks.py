"""Checks of ``genie doctor``: records, failed DELs, and waits that lasted too long.

Each yields its findings, and raises OSError for a file that it cannot read.
"""

from __future__ import annotations

import fcntl
import os
import time

from dispatcher.cni_errors import CNIError
from dispatcher.plugin.cli import views
from dispatcher.plugin.cli.finding import DoctorFinding
from dispatcher.state import lock, store
from dispatcher.state.record import PARKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dispatcher.state.record import Attachment, Record

_READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def records(
    state_dir: str, deadline: float, clock: Callable[[], float] = time.time
) -> Iterator[DoctorFinding]:
    """Find unreadable records, and attachments that wait to be released.

    *deadline* is that of one call of the plugin, in seconds.
    """
    for record in views.records(state_dir):
        if isinstance(record, CNIError):
            fix = (
                "if a newer Genie wrote the record, upgrade Genie on this node; if the record is "
                f"corrupt, delete its pod: DEL keeps a copy as *{store.SUFFIX}{store.CORRUPT}"
            )
            yield DoctorFinding("record", record.msg, fix)
        else:
            for attachment in record.attachments:
                yield from _failed_release(record, attachment, clock())
            yield from _unfinished(record, state_dir, deadline, clock())
            yield from _without_namespace(record)

    for name in sorted(os.listdir(state_dir)) if os.path.isdir(state_dir) else ():
        if name.endswith(store.CORRUPT):
            message = f"{state_dir}/{name} is a corrupt record that was set aside"
            yield DoctorFinding("record", message, "inspect the file, then remove it")


def _failed_release(record: Record, attachment: Attachment, now: float) -> Iterator[DoctorFinding]:
    failure = attachment.failure or {}
    reason = failure.get("msg", "its plugin cannot be executed")
    if attachment.phase == PARKED:
        yield DoctorFinding(
            "record",
            f"{_owner(record)}: network {attachment.network} is parked: {reason}",
            "install the missing plugin; the reaper then releases the attachment",
        )
    elif failure:
        age = _duration(now - failure["since"])
        yield DoctorFinding(
            "record",
            f"{_owner(record)}: DEL of network {attachment.network} on interface "
            f"{attachment.interface} failed {age} ago: {reason}",
            "remove the cause; the runtime or the reaper tries again, "
            f"and so does {_free(record)} at once",
        )


def _unfinished(
    record: Record, state_dir: str, deadline: float, now: float
) -> Iterator[DoctorFinding]:
    """Find a record whose ADD or DEL was killed: its last step is older than a call may take."""
    is_explained = any(each.failure or each.phase == PARKED for each in record.attachments)
    if record.is_complete or is_explained:
        return
    try:
        age = now - os.stat(store.path_of(state_dir, record.container_id)).st_mtime
    except FileNotFoundError:  # its DEL has just ended
        return
    if age > deadline:
        phases = ", ".join(f"{each.network} is {each.phase}" for each in record.attachments)
        yield DoctorFinding(
            "record",
            f"{_owner(record)}: the last call was not completed, and its deadline expired "
            f"{_duration(age - deadline)} ago ({phases or 'no attachments'})",
            f"wait for the reaper, or run {_free(record)}",
        )


def _without_namespace(record: Record) -> Iterator[DoctorFinding]:
    if record.netns and not os.path.exists(record.netns):
        yield DoctorFinding(
            "record",
            f"{_owner(record)}: the network namespace {record.netns} does not exist, but "
            f"{_count(len(record.attachments))} still recorded",
            f"wait for the reaper, or run {_free(record)}",
        )


def _owner(record: Record) -> str:
    return "/".join(filter(None, record.pod[:2])) or record.container_id


def _free(record: Record) -> str:
    return f"genie free {record.container_id}"


def _count(attachments: int) -> str:
    return "1 attachment is" if attachments == 1 else f"{attachments} attachments are"


def _duration(seconds: float) -> str:
    """Return *seconds* in the largest unit of which there are at least two."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0, seconds):.0f} seconds"


def locks(
    state_dir: str, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[DoctorFinding]:
    """Find locks that are held beyond the deadline of the delegate that works under them."""
    names = sorted(os.listdir(state_dir)) if os.path.isdir(state_dir) else []
    for name in names:
        if not name.endswith(lock.SUFFIX):
            continue
        delegate = _holder(f"{state_dir}/{name}")
        if delegate is None or monotonic() <= delegate[1] + lock.OVERDUE:
            continue
        pid, deadline = delegate
        owner = name.removesuffix(lock.SUFFIX)
        whose = "of GC" if owner == lock.GC else f"of container {owner}"
        yield DoctorFinding(
            "lock",
            f"the lock {whose} is still held {_duration(monotonic() - deadline)} after the "
            f"deadline of its delegate, process {pid}",
            f"the next call ends process {pid}; if it no longer exists, end the daemon that has "
            f"{state_dir}/{name} open (lsof {state_dir}/{name})",
        )


def _holder(path: str) -> tuple[int, float] | None:
    """Return PID and deadline of the delegate under the lock *path*, None if it is not held."""
    try:
        file = os.open(path, _READING)
    except FileNotFoundError:  # released since the directory was listed
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return lock.delegate_of(file)
    else:
        return None
    finally:
        os.close(file)
