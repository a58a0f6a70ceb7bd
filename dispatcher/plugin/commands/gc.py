"""GC: release what belongs to no living container, then run GC of the networks.

1. Recorded attachments that the runtime does not list are released by DEL, under each container's
   own lock and beside other calls.
2. GC of the networks runs alone: a plugin releases all that its list lacks, also a pod that is
   being attached. It runs for every network that has, or just had, records, and for the default.

The valid list of a network = its recorded attachments + all listed attachments without a record.
The latter were attached before Genie was installed, and their network is unknown. An example::

    container   record                            listed by the runtime
    a           weave on eth0, canal on net1      a/eth0
    b           none                              b/eth0
    c           canal on eth0                     no: released by DEL in step 1

    GC of weave gets a/eth0 and b/eth0; GC of canal gets a/net1 and b/eth0

An extra entry keeps something for a while; a missing one releases a living pod. So no network runs
GC while the record of a container that may live cannot be read.

Networks are distinguished by the name in the configuration, since plugins keep their state under
it: two names of Genie may lead to one of theirs.

A failure never ends the work; all failures are returned together. The time is shared, so that one
container or plugin that hangs does not take it from the others. The exclusive part is shorter than
the time that another call waits for it.
"""

from __future__ import annotations

from dispatcher import cni_errors
from dispatcher.cni_errors import CNIError
from dispatcher.jsontext import dump
from dispatcher.plugin import chain, plan
from dispatcher.plugin.chain import Chain
from dispatcher.plugin.free import free
from dispatcher.plugin.rebuild import read_or_recover
from dispatcher.state import leftovers, lock, store
from dispatcher.state.record import CorruptRecordError, NewerRecordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dispatcher.conf import Conf
    from dispatcher.plugin.call import Call
    from dispatcher.state.record import Attachment, Record

    Valid = set[tuple[str, str]]

_SINCE = "1.1.0"


def collect(call: Call) -> None:
    """Carry out GC. Raises OSError, and one CNIError for all failures."""
    gc = _GC(call, _valid_attachments(call))
    store.make_dir(call.state_dir)
    with lock.acquire_gc_shared(call.state_dir, call.deadline.for_lock):
        gc.free_stale()

    # We wait as long as another call waits for us, and run alone for half of that.
    lock_wait = call.deadline.for_call - call.deadline.for_work  # equals for_lock of other calls
    latest = call.deadline.for_call - lock_wait / 2
    try:
        exclusive = lock.acquire_gc_exclusive(
            call.state_dir, min(call.deadline.within(lock_wait), latest)
        )
    except CNIError as error:
        raise _joined([*gc.failures, error]) from None

    with exclusive:
        call.effects.run.lock = exclusive
        deadline = call.deadline.within(lock_wait / 2)
        exclusive.record_delegate(lock.NO_DELEGATE, deadline)
        if gc.read_records():
            gc.collect_networks(deadline)
    if gc.failures:
        raise _joined(gc.failures)


def _valid_attachments(call: Call) -> Valid:
    value = call.conf.valid_attachments
    # A missing list must never count as an empty one.
    if isinstance(value, list) and all(map(_is_attachment, value)):
        return {(each["containerID"], each["ifname"]) for each in value}
    raise CNIError(
        cni_errors.INVALID_CONF,
        '"cni.dev/valid-attachments" must be a list of objects with containerID and ifname',
    )


def _is_attachment(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), str) for key in ("containerID", "ifname")
    )


class _Network:
    """A network that runs GC: its configurations, and its list of valid attachments."""

    def __init__(self) -> None:
        self.confs: dict[bytes, Conf] = {}
        self.valid: Valid = set()


class _GC:
    """The state of one GC: networks, containers and failures so far."""

    def __init__(self, call: Call, valid: Valid) -> None:
        self._call = call
        self._valid = valid
        self._unlisted: set[str] = set()
        self._networks: dict[str, _Network] = {}
        self.failures: list[CNIError] = []

    def free_stale(self) -> None:
        """Release the recorded attachments that are not valid."""
        call = self._call
        leftovers.sweep(call.state_dir)
        recorded = list(store.container_ids(call.state_dir))
        self._unlisted = set(recorded) - {container_id for container_id, _ in self._valid}

        queue = [each for each in recorded if self._is_stale(each)]
        while queue:
            deadline = call.deadline.share(len(queue), call.deadline.for_work)
            container_id = queue.pop(0)
            try:
                self._free(container_id, deadline)
            except CNIError as error:
                self.failures.append(error)
            except (CorruptRecordError, OSError) as error:
                self.failures.append(_record_error(call, container_id, error))

    def _is_stale(self, container_id: str) -> bool:
        try:
            record = store.read(self._call.state_dir, container_id)
        except (CorruptRecordError, NewerRecordError, OSError):
            return False  # read_records reports it
        return record is not None and (not record.attachments or bool(self._stale(record)))

    def _stale(self, record: Record) -> list[Attachment]:
        return [
            each
            for each in record.attachments
            if (record.container_id, each.cni_ifname) not in self._valid
        ]

    def _free(self, container_id: str, deadline: float) -> None:
        call = self._call
        # No wait: a call that holds the lock shows that the container lives, or releases it itself.
        container_lock = lock.acquire_container(call.state_dir, container_id, lock.NO_WAIT)
        call.effects.run.lock = container_lock
        try:
            record = read_or_recover(call.state_dir, container_id)
            if record is None:
                return
            for attachment in record.attachments:
                self._register(attachment.conf)
            # A path below /proc may lead to another process by now.
            netns = "" if record.netns.startswith("/proc/") else record.netns
            stale = self._stale(record)
            free(call, record, stale, Chain(call.effects.run, container_id, netns), deadline)
        finally:
            call.effects.run.lock = None
            container_lock.release(unlink=not store.exists(call.state_dir, container_id))

    def _register(self, conf: Conf) -> _Network:
        """Add *conf* to the networks that run GC; return its network."""
        network = self._networks.setdefault(conf.name, _Network())
        network.confs[dump(conf.plugins)] = conf
        return network

    def read_records(self) -> bool:
        """Fill the networks' valid lists. Return False if one may lack a living container."""
        call = self._call
        unrecorded = set(self._valid)
        complete = True
        for container_id in store.container_ids(call.state_dir):
            try:
                record = read_or_recover(call.state_dir, container_id)
            except (CNIError, CorruptRecordError, OSError) as error:
                self.failures.append(_record_error(call, container_id, error))
                complete = complete and container_id in self._unlisted
                continue
            for attachment in record.attachments if record else ():
                self._register(attachment.conf).valid.add((container_id, attachment.interface))
                unrecorded.discard((container_id, attachment.cni_ifname))

        self._add_default()
        for network in self._networks.values():
            network.valid |= unrecorded
        return complete

    def _add_default(self) -> None:
        name = self._call.conf.settings.default
        try:
            if name:
                self._register(plan.look_up(name, self._call.effects.find_network))
        except CNIError as error:
            self.failures.append(error.with_prefix("GC skipped the default network"))

    def collect_networks(self, deadline: float) -> None:
        """Run GC of each plugin of each network, with the network's list."""
        queue = [
            (conf, plugin, network.valid)
            for network in self._networks.values()
            for conf in network.confs.values()
            if conf.supports(_SINCE) and not conf.disable_gc
            for plugin in conf.plugins
        ]
        call = self._call
        while queue:
            share = call.deadline.share(len(queue), deadline)
            conf, plugin, valid = queue.pop(0)
            attachments = [{"containerID": each, "ifname": name} for each, name in sorted(valid)]
            # Both keys, as libcni does: drafts of version 1.1.0 used the second.
            keys = {"cni.dev/valid-attachments": attachments, "cni.dev/attachments": attachments}
            try:
                chain.run_for_network(call.effects.run, "GC", conf, plugin, keys, deadline=share)
            except CNIError as error:
                self.failures.append(error)


def _record_error(call: Call, container_id: str, error: Exception) -> CNIError:
    if isinstance(error, CNIError):
        return error  # it names the file
    path = store.path_of(call.state_dir, container_id)
    return CNIError(cni_errors.IO_FAILURE, f"cannot read the record {path}: {error}")


def _joined(failures: list[CNIError]) -> CNIError:
    """Return one error for all *failures*, with the code of the first."""
    if len(failures) == 1:
        return failures[0]
    return CNIError(
        failures[0].code,
        f"GC failed for {len(failures)} networks or records: "
        + "; ".join(each.msg for each in failures),
        "; ".join(each.details for each in failures if each.details),
    )
