"""GC: free what belongs to no living container, and let the networks do the same.

How it works: the runtime names the attachments of *our* network that are valid. Recorded
attachments that are not are freed with real DELs first, beside other calls and under each
container's own lock, like any DEL. Then the networks are collected, alone, since a plugin
frees what its list lacks, a pod that is being attached too: every network that has, or just
had, records, and the default. Each is told what is recorded of it still. An attachment that
the runtime calls valid and no record knows was made before Genie, in a network that nobody
can tell for certain, so every list has it. A pair too many keeps something for a while; a
pair too few frees a living pod, so no network is collected while the record of a container
that may live cannot be used.

Networks are told apart by the configuration's own name, since that is what their plugins
keep their state under: two names of ours may lead to one of theirs.

Rules of this file: nothing is freed without the runtime's list; an error never ends the
work, all are reported together; time is shared, so that one who hangs does not take it from
the others, and a GC is alone for less time than another call waits for it.
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
    """Carry out GC. Raises CNIError, which holds every failure, and OSError."""
    gc = _GC(call, _valid(call))
    store.make_dir(call.state_dir)
    with lock.acquire_gc_shared(call.state_dir, call.deadline.for_lock):
        gc.free_stale()
    # The same that a call for a container waits for us, and we are done in half of it.
    wait = call.deadline.for_call - call.deadline.for_work
    latest = call.deadline.for_call - wait / 2
    try:
        alone = lock.acquire_gc_exclusive(call.state_dir, min(call.deadline.within(wait), latest))
    except CNIError as error:
        raise _joined([*gc.failures, error]) from None
    with alone:
        call.effects.run.lock = alone
        until = call.deadline.within(wait / 2)
        alone.record_delegate(lock.NO_DELEGATE, until)
        if gc.reads_all():
            gc.collect_networks(until)
    if gc.failures:
        raise _joined(gc.failures)


def _valid(call: Call) -> Valid:
    listed = call.conf.valid_attachments
    # An absent list must never count as an empty one.
    if isinstance(listed, list) and all(map(_is_attachment, listed)):
        return {(each["containerID"], each["ifname"]) for each in listed}
    raise CNIError(
        cni_errors.INVALID_CONF,
        'GC needs "cni.dev/valid-attachments": a list of objects with containerID and ifname',
    )


def _is_attachment(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), str) for key in ("containerID", "ifname")
    )


class _Network:
    """One network to be collected: its configurations, and the list that is true for it."""

    def __init__(self) -> None:
        self.confs: dict[bytes, Conf] = {}
        self.valid: Valid = set()


class _GC:
    """One GC: what is known so far of networks and containers, and what went wrong."""

    def __init__(self, call: Call, valid: Valid) -> None:
        self._call = call
        self._valid = valid
        self._dead: set[str] = set()
        self._networks: dict[str, _Network] = {}
        self.failures: list[CNIError] = []

    def free_stale(self) -> None:
        """Free what is recorded and not valid."""
        call = self._call
        leftovers.sweep(call.state_dir)
        recorded = list(store.container_ids(call.state_dir))
        self._dead = set(recorded) - {container_id for container_id, _ in self._valid}
        waiting = [each for each in recorded if self._is_stale(each)]
        while waiting:
            until = call.deadline.share(len(waiting), call.deadline.for_work)
            container_id = waiting.pop(0)
            try:
                self._free(container_id, until)
            except CNIError as error:
                self.failures.append(error)
            except (CorruptRecordError, OSError) as error:
                self.failures.append(_unreadable(call, container_id, error))

    def _is_stale(self, container_id: str) -> bool:
        try:
            made = store.read(self._call.state_dir, container_id)
        except (CorruptRecordError, NewerRecordError, OSError):
            return False  # it is told when all are read
        return made is not None and (not made.attachments or bool(self._stale(made)))

    def _stale(self, made: Record) -> list[Attachment]:
        return [
            each
            for each in made.attachments
            if (made.container_id, each.cni_ifname) not in self._valid
        ]

    def _free(self, container_id: str, until: float) -> None:
        call = self._call
        # Not waited for: a call that goes on says that the container lives, or frees it itself.
        held = call.effects.run.lock = lock.acquire_container(
            call.state_dir, container_id, deadline=0
        )
        try:
            made = read_or_recover(call.state_dir, container_id)
            if made is None:
                return
            for attachment in made.attachments:
                self._network(attachment.conf)
            # A path below /proc names whatever process has that number by now.
            netns = "" if made.netns.startswith("/proc/") else made.netns
            stale = self._stale(made)
            free(call, made, stale, Chain(call.effects.run, container_id, netns), until)
        finally:
            call.effects.run.lock = None
            held.release(unlink=not store.exists(call.state_dir, container_id))

    def _network(self, conf: Conf) -> _Network:
        network = self._networks.setdefault(conf.name, _Network())
        network.confs[dump(conf.plugins)] = conf
        return network

    def reads_all(self) -> bool:
        """Learn what each network has; False if that cannot be known of a living container."""
        call = self._call
        unknown = set(self._valid)
        complete = True
        for container_id in store.container_ids(call.state_dir):
            try:
                made = read_or_recover(call.state_dir, container_id)
            except (CNIError, CorruptRecordError, OSError) as error:
                self.failures.append(_unreadable(call, container_id, error))
                complete = complete and container_id in self._dead
                continue
            for attachment in made.attachments if made else ():
                self._network(attachment.conf).valid.add((container_id, attachment.interface))
                unknown.discard((container_id, attachment.cni_ifname))
        self._add_default()
        for network in self._networks.values():
            network.valid |= unknown
        return complete

    def _add_default(self) -> None:
        name = self._call.conf.settings.default
        try:
            if name:
                self._network(plan.look_up(name, self._call.effects.find_network))
        except CNIError as error:
            self.failures.append(error.with_prefix("the default network is left out of GC"))

    def collect_networks(self, until: float) -> None:
        """Let each plugin of each network free what its list lacks."""
        waiting = [
            (conf, plugin, network.valid)
            for network in self._networks.values()
            for conf in network.confs.values()
            if conf.supports(_SINCE) and not conf.disable_gc
            for plugin in conf.plugins
        ]
        while waiting:
            share = self._call.deadline.share(len(waiting), until)
            conf, plugin, valid = waiting.pop(0)
            listed = [{"containerID": each, "ifname": name} for each, name in sorted(valid)]
            more = {"cni.dev/valid-attachments": listed, "cni.dev/attachments": listed}
            try:
                chain.ask_network(self._call.effects.run, "GC", conf, plugin, until=share, **more)
            except CNIError as error:
                self.failures.append(error)


def _unreadable(call: Call, container_id: str, error: Exception) -> CNIError:
    if isinstance(error, CNIError):
        return error  # it names the file
    return CNIError(
        cni_errors.IO_FAILURE, f"{store.path_of(call.state_dir, container_id)}: {error}"
    )


def _joined(failures: list[CNIError]) -> CNIError:
    if len(failures) == 1:
        return failures[0]
    return CNIError(
        failures[0].code,
        f"{len(failures)} parts of GC failed: " + "; ".join(each.msg for each in failures),
        "; ".join(each.details for each in failures if each.details),
    )
