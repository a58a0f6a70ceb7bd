"""GC: free what belongs to no living container, and let the networks do the same.

How it works: the runtime names the attachments of *our* network that are valid. Recorded
attachments of other containers are freed with real DELs first. Then every network that has
records, and the default, is given the list that is true for it: of a valid container, the
interfaces that we attached to that network. An attachment that the runtime calls valid and
no record knows was made before Genie: the default's list keeps it unchanged, and so does
the list of the network that libcni's cache names for it; else a delegate would free a
living pod.

Networks are told apart by the configuration's own name, since that is what their plugins
keep their state under: two names of ours may lead to one of theirs.

Rules of this file: nothing is freed without the runtime's list; an error never ends the
work, all are reported together.
"""

from __future__ import annotations

from dispatcher.jsontext import dump
from dispatcher.plugin import cache, chain, delete, errors, leftovers, lock, plan, store
from dispatcher.plugin.chain import Chain
from dispatcher.plugin.errors import CNIError
from dispatcher.plugin.record import CorruptRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from dispatcher.conf import Conf
    from dispatcher.plugin.call import Call
    from dispatcher.plugin.record import Attachment, Record

    Valid = set[tuple[str, str]]
    Recorded = list[tuple[Record, list[Attachment]]]

_SINCE = "1.1.0"
_LOCK_WAIT = 1.0  # for a container whose delegate outlived a killed plugin, seconds


def collect(call: Call) -> None:
    """Carry out GC. Raises CNIError, which holds every failure, and OSError."""
    valid = _valid(call)
    store.make_dir(call.state_dir)
    alone = lock.for_gc(call.state_dir, call.deadline.of_lock)
    failures: list[CNIError] = []
    try:
        leftovers.sweep(call.state_dir)
        records = _free_invalid(call, valid, failures)
        for network in _networks(call, records, valid):
            network.collect(call, failures)
    finally:
        alone.release()
    if failures:
        raise _joined(failures)


def _valid(call: Call) -> Valid:
    listed = call.conf.valid_attachments
    # An absent list must never count as an empty one.
    if isinstance(listed, list) and all(map(_is_attachment, listed)):
        return {(each["containerID"], each["ifname"]) for each in listed}
    raise CNIError(
        errors.INVALID_CONF,
        'GC needs "cni.dev/valid-attachments": a list of objects with containerID and ifname',
    )


def _is_attachment(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), str) for key in ("containerID", "ifname")
    )


def _free_invalid(call: Call, valid: Valid, failures: list[CNIError]) -> Recorded:
    """Free what is recorded and not valid; return the records with what they held before."""
    records: Recorded = []
    for container_id in list(store.container_ids(call.state_dir)):
        try:
            until = call.deadline.within(_LOCK_WAIT)
            held = lock.of_container(call.state_dir, container_id, until)
            try:
                made = call.read_record(container_id)
                if made is not None:
                    records.append((made, list(made.attachments)))
                    _free_stale(call, made, valid)
            finally:
                held.release(forget=not store.exists(call.state_dir, container_id))
        except CNIError as error:
            failures.append(error)
        except (CorruptRecord, OSError) as error:
            path = store.path_of(call.state_dir, container_id)
            failures.append(CNIError(errors.IO_FAILURE, f"{path}: {error}"))
    return records


def _free_stale(call: Call, made: Record, valid: Valid) -> None:
    stale = [each for each in made.attachments if (made.container_id, each.requested) not in valid]
    if stale:
        # A path below /proc names whatever process has that number by now.
        netns = "" if made.netns.startswith("/proc/") else made.netns
        delete.free(call, made, stale, Chain(call.run, made.container_id, netns))


class _Network:
    """One network to be collected: its configurations, and the list that is true for it."""

    def __init__(self) -> None:
        self.confs: dict[bytes, Conf] = {}
        self.valid: Valid = set()

    def add(self, conf: Conf) -> None:
        self.confs[dump(conf.plugins)] = conf

    def collect(self, call: Call, failures: list[CNIError]) -> None:
        listed = [
            {"containerID": container_id, "ifname": interface}
            for container_id, interface in sorted(self.valid)
        ]
        more = {"cni.dev/valid-attachments": listed, "cni.dev/attachments": listed}
        for conf in self.confs.values():
            if conf.disable_gc or not conf.has(_SINCE):
                continue
            for plugin in conf.plugins:
                try:
                    until = call.deadline.of_all
                    chain.ask_network(call.run, "GC", conf, plugin, until=until, **more)
                except CNIError as error:
                    failures.append(error)


def _networks(call: Call, records: Recorded, valid: Valid) -> Iterable[_Network]:
    networks: dict[str, _Network] = {}
    unknown = set(valid)
    for made, attachments in records:
        for attachment in attachments:
            network = networks.setdefault(attachment.conf.name, _Network())
            network.add(attachment.conf)
            if (made.container_id, attachment.requested) in valid:
                network.valid.add((made.container_id, attachment.interface))
                unknown.discard((made.container_id, attachment.requested))
    for cached in cache.entries(call.cache_dir, call.conf.settings.conf_dirs):
        pair = (cached.container_id, cached.attachment.interface)
        if pair in unknown and cached.attachment.conf.name in networks:
            networks[cached.attachment.conf.name].valid.add(pair)
    default = _default(call)
    if default is not None:
        network = networks.setdefault(default.name, _Network())
        network.add(default)
        network.valid |= unknown
    return networks.values()


def _default(call: Call) -> Conf | None:
    name = call.conf.settings.default
    try:
        return plan.look_up(name, call.find) if name else None
    except CNIError as error:
        call.complain(f"the default network is left out of GC: {error}")
        return None


def _joined(failures: list[CNIError]) -> CNIError:
    if len(failures) == 1:
        return failures[0]
    return CNIError(
        failures[0].code,
        f"{len(failures)} parts of GC failed: " + "; ".join(each.msg for each in failures),
        "; ".join(each.details for each in failures if each.details),
    )
