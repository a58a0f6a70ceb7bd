"""Frees what no container runtime will ask for again.

What is left behind: attachments of failed ADDs that the roll-back could not free (runtimes do
not call again after a failed ADD), parked ones whose executable came back, and sandboxes that
a crash or a reboot took away without a DEL.

How it works: every minute it looks at the records and asks the runtime for its sandboxes. For
records that nobody else will ever free it runs the installed plugin's DEL, as the runtime
would. This is the one part of Genie that needs the host's privileges, since delegates may be
any program and do anything that a CNI plugin does. So it is a process and a container of its
own, without a token and without a port. It sees the host's files below ``host_root`` and
starts the plugin with that as its root, in the host's network and process namespaces. The
mount namespace is the container's: the host's mounts are seen, and none is made or undone there.

Rules: a record is acted on only if it is old enough, its lock is free, two looks in a row did
not find its sandbox, and its network namespace is gone or holds no process. While the runtime
does not answer, nothing is concluded, and before long the agent is asked to say so: kubelet ends
the sandboxes that the runtime knows. What is parked waits until the executables of its chain are
there again.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

import structlog

from dispatcher import keys, networks
from dispatcher.node import conf_dir, gone_containers, reaper_problem, removal
from dispatcher.node.record_cache import RecordCache
from dispatcher.reaper import cri, give_up
from dispatcher.reaper.handover import hand_over
from dispatcher.reaper.host_paths import namespace, resolve
from dispatcher.state import leftovers, lock
from dispatcher.state.record import PARKED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.node.settings import NodeSettings
    from dispatcher.state.record import Record

PAUSE_AFTER_FAILURE = 600.0
"""Seconds before a DEL that failed is tried again; doubled each time, up to a day."""

LONGEST_PAUSE = 86_400.0

UNANSWERED = 5
"""Looks in a row without an answer of the runtime, after which the agent shall tell of it."""


log = structlog.get_logger("reaper")


class Reaper:
    """Looks, and frees; *ask* returns the runtime's sandboxes, *free* runs one DEL."""

    def __init__(
        self,
        settings: NodeSettings,
        *,
        ask: Callable[[], set[str]],
        free: Callable[[CachedRecord], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._root = settings.host_root
        self._state = resolve(self._root, settings.state_dir)
        self._records = RecordCache(self._state)
        self._ask = ask
        self._free = free
        self._clock = clock
        self._missed: dict[str, int] = {}
        self._silent = 0
        self._doubts: dict[str, str] = {}
        self._failed: dict[str, tuple[float, float]] = {}
        self._tries: dict[str, int] = {}

    def turn(self) -> None:
        """Do what the mode asks for, once."""
        if self._settings.mode.is_forced:
            self.clear()
        if self._settings.mode.is_leaving and self._has_left():
            records = self._records.read()
            gone_ids = self._gone(records)
            hand_over(records.values(), self._following(), gone_ids, self._root, self._state)
            give_up.forget_results(resolve(self._root, give_up.RESULTS))
        if swept := leftovers.sweep(str(self._state)):
            log.info("removed what was left of calls that had done nothing yet", containers=swept)
        self.look()

    def look(self) -> list[str]:
        """Look once; returns the containers that were freed."""
        records = self._records.read()
        try:
            listed = self._ask() if records else set()
        except cri.CRIError as error:
            self._unanswered(records, str(error))
            return []
        self._silent = 0
        reaper_problem.write(self._state, "")
        self._missed = {key: self._missed.get(key, 0) + 1 for key in records.keys() - listed}
        gone_containers.write(self._state, self._gone(records))
        self._failed = {key: value for key, value in self._failed.items() if key in records}
        now = self._clock()
        suspects = [
            records[container_id]
            for container_id, missed in sorted(self._missed.items())
            if missed > 1 and now >= self._failed.get(container_id, (now, 0.0))[0]
        ]
        inhabited = _inhabited(self._root) if suspects else set()
        before, self._doubts = self._doubts, {}
        freed = []
        for stored in suspects:
            doubt = self._doubt(stored, inhabited)
            if doubt:
                self._doubts[stored.container_id] = doubt
                if doubt != before.get(stored.container_id):
                    log.info("left alone", container=stored.container_id, reason=doubt)
            elif self._take(stored):
                freed.append(stored.container_id)

        gone_containers.write(
            self._state, self._gone(records) - set(freed)
        )  # DELs may have taken minutes
        return freed

    def _has_left(self) -> bool:
        """Return whether the runtime can no longer call Genie on this node.

        A launcher that is missing for some seconds is not enough: while the conflist is there the
        runtime still calls Genie, whose records must stay.
        """
        ours = (
            self._settings.cni_bin_dir / keys.PLUGIN_TYPE,
            self._settings.cni_conf_dir / keys.CONFLIST,
        )
        return not any(resolve(self._root, path).exists() for path in ours)

    def _gone(self, records: Mapping[str, CachedRecord]) -> set[str]:
        """Return the containers that the runtime did not list twice or that have no namespace."""
        unlisted = {key for key, missed in self._missed.items() if missed > 1}
        return (unlisted & records.keys()) | {
            container_id
            for container_id, stored in records.items()
            if stored.record is not None and namespace(self._root, stored.record.netns) is None
        }

    def _unanswered(self, records: Mapping[str, CachedRecord], error: str) -> None:
        """Note that the runtime did not answer; have it told when that goes on."""
        self._missed.clear()
        gone_containers.write(self._state, self._gone(records))
        self._silent += 1
        sentence = f"nothing is freed while the container runtime does not answer: {error}"
        log.warning(sentence)
        if self._silent >= UNANSWERED:
            reaper_problem.write(self._state, sentence)

    def _doubt(self, stored: CachedRecord, inhabited: set[tuple[int, int]]) -> str:
        """Return why *stored*, which the runtime does not list, must be left alone for now."""
        if stored.record is None:
            return stored.fault
        if self._clock() - stored.written_at < self._settings.reap_age_seconds:
            return "it is too young"
        if _locked(self._state / f"{stored.container_id}.lock"):
            return "a call or a delegate holds its lock"
        if namespace(self._root, stored.record.netns) in inhabited:
            return "its network namespace holds a process"
        if self._parked(stored.record):
            return "it is parked, and an executable of its chain is not there"
        return ""

    def _parked(self, record: Record) -> bool:
        """Return whether nothing but parked attachments is left, and none can be freed yet."""
        directories = [str(resolve(self._root, each)) for each in self._settings.bin_dirs]
        return bool(record.attachments) and all(
            attachment.phase == PARKED
            and networks.missing_executables(attachment.conf, directories)
            for attachment in record.attachments
        )

    def clear(self) -> list[str]:
        """Free what stands in the way of "remove --force"; returns the containers.

        Their pods lose their networks, as the mode's documentation says.
        """
        freed = []
        records = self._records.read()
        following = self._following()
        for stored in removal.blocking_records(records.values(), following, self._gone(records)):
            if _locked(self._state / f"{stored.container_id}.lock"):
                continue
            if self._take(stored):
                freed.append(stored.container_id)
            else:
                self._give_up(stored.container_id)
        return freed

    def _following(self) -> str:
        """Return the host's path of what the runtime loads without our conflist, or ""."""
        directory = resolve(self._root, self._settings.cni_conf_dir)
        name = conf_dir.successor(directory).rpartition("/")[2]
        return str(self._settings.cni_conf_dir / name) if name else ""

    def _give_up(self, container_id: str) -> None:
        """Leave behind what was tried in vain often enough, so that the mode comes to an end."""
        self._tries[container_id] = self._tries.get(container_id, 0) + 1
        if self._tries[container_id] < removal.FORCED_TRIES:
            return
        if give_up.set_aside(self._state, container_id):
            log.warning("left behind what could not be freed", container=container_id)

    def _take(self, stored: CachedRecord) -> bool:
        if stored.record is None:
            return False
        container_id, now = stored.container_id, self._clock()
        pod = "/".join(stored.record.pod[:2])
        fault = self._free(stored)
        if fault:
            _, pause = self._failed.get(container_id, (0.0, PAUSE_AFTER_FAILURE / 2))
            pause = min(2 * pause, LONGEST_PAUSE)
            self._failed[container_id] = (now + pause, pause)
            log.warning("could not free", container=container_id, pod=pod, error=fault)
            return False
        if (self._state / f"{container_id}.json").exists():
            log.warning(
                "a part is parked until its plugin is back", container=container_id, pod=pod
            )
            return False
        log.info("freed what nobody would have asked for", container=container_id, pod=pod)
        return True


def _inhabited(root: Path) -> set[tuple[int, int]]:
    """Return every network namespace that a process of the host lives in."""
    found = set()
    for process in (root / "proc").iterdir():
        if process.name.isdecimal():
            try:
                seen = (process / "ns/net").stat()
            except OSError:
                continue  # it ended
            found.add((seen.st_dev, seen.st_ino))
    return found


def _locked(path: Path) -> bool:
    try:
        # Without waiting: a pipe in its place would hold the reaper up for ever.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        descriptor = os.open(path, flags)
    except OSError:
        return False  # nobody holds what cannot be opened
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.kill_overdue(descriptor)  # as the next DEL would; where none comes we are the next
        return True
    else:
        return False
    finally:
        os.close(descriptor)
