"""Release attachments for which no container runtime will send a DEL.

These are attachments of failed ADDs that the roll-back could not release (a runtime sends no DEL
after a failed ADD), parked attachments whose delegate can run again, and sandboxes that a crash or
a reboot removed without a DEL.

The reaper needs the host's privileges, since a delegate may be any program and may do anything that
a CNI plugin does. So it is a process and a container of its own, without a token and without a
port. It sees the host's files below ``host_root``. It runs the installed plugin with that directory
as root, in the host's network and process namespaces. The mount namespace is the container's: the
host's mounts are visible, and none is added or removed.

Guarantees: outside the mode "remove --force", the reaper releases a record only if all of these
hold.

- The record is older than ``reap_age_seconds``, and its lock is not held.
- The runtime did not list the sandbox in two passes in a row.
- The network namespace is missing, or no process runs in it. The host's own namespace counts as
  missing: it is that of another process, which got the number in a path below /proc.
- For a parked attachment: the executables of its chain are there again.

If the runtime does not answer, the count of absences starts again, and nothing is released.

What a pass does with a record, by its fate (:class:`dispatcher.node.removal.Fate`) and the mode:

    fate          install, disable   remove                     remove --force
    HANDED_OVER   nothing            hand over [1]              hand over [1]
    NEEDED        nothing            nothing                    DEL at once [2]
    ORPHANED      DEL [3]            DEL [3]; .json.left [1]    DEL at once [2]; .json.left [1]
    UNREADABLE    nothing            nothing                    .json.left [2]

[1] Once plugin and conflist are removed: no DEL is possible then.
[2] Without the guarantees, except that the lock is not held. The fate is that just before the DEL:
    those of other records may take minutes, in which an ADD succeeds. After three failures the
    record is kept as ``.json.left``; an unreadable record fails each time.
[3] When all guarantees hold. A container that the runtime does not list in two passes is ORPHANED.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from dispatcher import keys
from dispatcher.node import conf_dir, ended_list, reaper_problem, removal
from dispatcher.node.record_cache import RecordCache
from dispatcher.reaper import cache_entries, cri, give_up, host_state
from dispatcher.reaper.handover import hand_over
from dispatcher.reaper.history import Absences, DelRetries
from dispatcher.reaper.host_paths import missing_executables, namespace_id, resolve
from dispatcher.state import leftovers, lock, store
from dispatcher.state.record import PARKED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.node.settings import NodeSettings
    from dispatcher.state.record import Record

UNANSWERED_PASSES = 5
"""Passes in a row without an answer of the runtime, after which the agent emits an Event.
Runtimes are restarted, so one failure says little."""

log = structlog.get_logger("reaper")


class Reaper:
    """Release the node's records, in one pass after the other.

    *list_sandboxes* returns the runtime's sandboxes or raises :class:`cri.CRIError`, *run_del* runs
    the plugin's DEL for a record and returns the error, *allow_force* returns whether the mode
    "remove --force" still holds, *clock* returns seconds of the epoch.
    """

    def __init__(
        self,
        settings: NodeSettings,
        *,
        list_sandboxes: Callable[[], set[str]],
        run_del: Callable[[CachedRecord], str],
        allow_force: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        """The settings in force: the caller replaces them between two passes."""
        self._root = settings.host_root
        self._state_dir = resolve(self._root, settings.state_dir)
        self._records = RecordCache(self._state_dir, clock)
        self._list_sandboxes = list_sandboxes
        self._run_del = run_del
        self._allow_force = allow_force
        self._clock = clock
        self._absences = Absences()
        self._counted: Mapping[str, CachedRecord] = {}
        """The records whose absences were counted last."""
        self._retries = DelRetries()
        self._unanswered = 0
        self._reasons: dict[str, str] = {}
        """Why a record was not released in the last pass, by container."""
        self._forced_tries: dict[str, int] = {}

    def run_once(self) -> None:
        """Make one pass, as the mode asks."""
        self.apply_mode()

        if swept := leftovers.sweep(str(self._state_dir)):
            log.info(
                "removed lock and temporary files of plugin calls that were killed before they "
                "started a delegate",
                containers=swept,
            )

        self.release_orphans()

    def apply_mode(self) -> None:
        """Do what the mode asks while Genie leaves the node."""
        mode = self.settings.mode
        if mode.is_forced:
            self.release_blocking()
        if mode.is_leaving and not self._is_installed():
            self._hand_over()

    def release_orphans(self) -> list[str]:
        """Release records that no runtime will release; return their containers."""
        records = self._records.read()
        if not self._poll_runtime(records):
            return []

        ended_list.write(self._state_dir, self._ended_containers(records))
        self._retries.forget_except(records)

        now = self._clock()
        absent = [each for each in self._absences.absent_twice if self._retries.is_due(each, now)]
        released = self._release_absent([records[each] for each in absent])

        # Again, since DELs may have taken minutes.
        ended_list.write(self._state_dir, self._ended_containers(records) - set(released))
        return released

    def release_blocking(self) -> list[str]:
        """Release records that block the mode "remove --force"; return their containers.

        Their pods lose their networks, as the mode's documentation says.
        """
        released = []
        for container_id in self._blocking_records():
            if not self._allow_force():  # each DEL may take a minute
                break
            if host_state.kill_overdue_holder(self._lock_file(container_id)):
                continue

            # After the check of the lock: an ADD that held it may have succeeded just before, and
            # then the runtime can release the pod without Genie.
            cached = self._blocking_records().get(container_id)
            if cached is None:
                continue
            if self._release(cached):
                released.append(container_id)
            else:
                self._count_forced_try(container_id)
        return released

    def _blocking_records(self) -> dict[str, CachedRecord]:
        """Return the records that block the removal at this moment, by container."""
        records = self._records.read()
        ended_containers = self._ended_containers(records)
        blocking = removal.blocking_records(records.values(), self._successor(), ended_containers)
        return {cached.container_id: cached for cached in blocking}

    def _poll_runtime(self, records: Mapping[str, CachedRecord]) -> bool:
        """Ask the runtime for its sandboxes and count absences.

        Return False if it did not answer; then absences start again and the problem is reported.
        """
        try:
            listed = self._list_sandboxes() if records else set()
        except cri.CRIError as error:
            self._absences.clear()
            ended_list.write(self._state_dir, self._ended_containers(records))
            self._report_unanswered(str(error))
            return False

        self._unanswered = 0
        reaper_problem.write(self._state_dir, "")
        self._absences.count(records, listed)
        self._counted = records
        return True

    def _report_unanswered(self, error: str) -> None:
        self._unanswered += 1
        problem = f"the reaper releases nothing: {error}"
        log.warning(problem)
        if self._unanswered >= UNANSWERED_PASSES:
            reaper_problem.write(self._state_dir, problem)

    def _release_absent(self, absent: Collection[CachedRecord]) -> list[str]:
        """Release the *absent* records that need not wait; return their containers."""
        used = host_state.network_namespaces(self._root) if absent else set()
        before, self._reasons = self._reasons, {}
        released = []

        for cached in absent:
            container_id = cached.container_id
            now = self._clock()
            # Before the check of the namespace: an overdue delegate may be the process in it.
            is_locked = self._kill_overdue_delegate(cached, now)
            reason = self._reason_to_wait(cached, now, used, is_locked=is_locked)

            if reason:
                self._reasons[container_id] = reason
                if reason != before.get(container_id):
                    log.info("record not released yet", container=container_id, reason=reason)
            elif self._release(cached):
                released.append(container_id)
        return released

    def _kill_overdue_delegate(self, cached: CachedRecord, now: float) -> bool:
        """Kill a delegate that holds the lock of *cached* beyond its deadline.

        Return whether the lock was held. A record that is young or unreadable is not released in
        this pass, so its delegate is left alone.
        """
        if cached.record is None or self._is_young(cached, now):
            return False
        return host_state.kill_overdue_holder(self._lock_file(cached.container_id))

    def _reason_to_wait(
        self,
        cached: CachedRecord,
        now: float,
        used: Collection[tuple[int, int]],
        *,
        is_locked: bool,
    ) -> str:
        """Return why *cached*, which the runtime does not list, is not released now, or "".

        *used* are the network namespaces with processes. Nothing is changed here.
        """
        if cached.record is None:
            return cached.fault
        if self._is_young(cached, now):
            seconds = self.settings.reap_age_seconds
            return f"the record is younger than GENIE_REAP_AGE_SECONDS ({seconds:g} s)"
        if is_locked:
            return "a call of the plugin or a delegate holds its lock"
        if namespace_id(self._root, cached.record.netns) in used:
            return "a process runs in its network namespace"
        if self._waits_for_executables(cached.record):
            return "all attachments are parked, and executables of their chains are missing"
        return ""

    def _is_young(self, cached: CachedRecord, now: float) -> bool:
        return now - cached.written_at < self.settings.reap_age_seconds

    def _waits_for_executables(self, record: Record) -> bool:
        """Return whether only parked attachments are left, and none of them can be released."""
        return bool(record.attachments) and all(
            attachment.phase == PARKED
            and missing_executables(self._root, attachment.conf, self.settings.bin_dirs)
            for attachment in record.attachments
        )

    def _release(self, cached: CachedRecord) -> bool:
        """Run DEL for *cached*; return whether that released all its attachments."""
        if cached.record is None:
            return False

        container_id, started_at = cached.container_id, self._clock()
        pod = "/".join(cached.record.pod[:2])
        error = self._run_del(cached)

        if error:
            self._retries.record_failure(container_id, started_at)
            log.warning("DEL failed", container=container_id, pod=pod, error=error)
            return False
        if store.exists(str(self._state_dir), container_id):
            # Its delegates may never run again, although no executable that it names is missing.
            self._retries.record_failure(container_id, started_at)
            log.warning("DEL left attachments parked", container=container_id, pod=pod)
            return False
        log.info("released all attachments", container=container_id, pod=pod)
        return True

    def _count_forced_try(self, container_id: str) -> None:
        """Count a failed try of "remove --force"; give the record up after the last one."""
        tries = self._forced_tries[container_id] = self._forced_tries.get(container_id, 0) + 1
        if tries < removal.FORCED_TRIES:
            return
        if give_up.keep_as_left(self._state_dir, container_id):
            log.warning("record kept as .json.left: DEL failed too often", container=container_id)

    def _hand_over(self) -> None:
        """Leave the records to the runtime, now that plugin and conflist are removed."""
        records = self._records.read()
        results_dir = resolve(self._root, cache_entries.RESULTS_DIR)
        successor, ended_containers = self._successor(), self._ended_containers(records)

        hand_over(records.values(), successor, ended_containers, results_dir, self._state_dir)
        cache_entries.remove_genie_entries(results_dir)

    def _is_installed(self) -> bool:
        """Return whether the runtime may still call Genie on this node.

        A launcher that is missing for some seconds is not enough: while the conflist is there, the
        runtime calls Genie, and the records must stay.
        """
        paths = (
            self.settings.cni_bin_dir / keys.PLUGIN_TYPE,
            self.settings.cni_conf_dir / keys.CONFLIST,
        )
        return any(resolve(self._root, path).exists() for path in paths)

    def _successor(self) -> str:
        """Return the host's path of what the runtime loads without Genie's conflist, or ""."""
        directory = resolve(self._root, self.settings.cni_conf_dir)
        name = conf_dir.successor(directory).rpartition("/")[2]
        return str(self.settings.cni_conf_dir / name) if name else ""

    def _ended_containers(self, records: Mapping[str, CachedRecord]) -> set[str]:
        """Return the containers that the runtime does not list, or whose namespace is missing."""
        without_namespace = {
            container_id
            for container_id, cached in records.items()
            if cached.record is not None and namespace_id(self._root, cached.record.netns) is None
        }
        # A runtime does not list a sandbox while its ADD runs: of a record that was written since
        # the runtime was asked, its answer says nothing.
        absent = {
            container_id
            for container_id in self._absences.absent_twice
            if container_id in records and records[container_id] is self._counted.get(container_id)
        }
        return without_namespace | absent

    def _lock_file(self, container_id: str) -> Path:
        return self._state_dir / (container_id + lock.SUFFIX)
