"""ADD: attach a container to its networks, one after another in list order.

The record says what is attached before each step; see :mod:`dispatcher.state.store` for which
steps wait for the disk. The first delegate starts while the disk works, and gets its configuration
only when the record is durable. With several networks, :mod:`dispatcher.plugin.default_routes`
keeps the pod's default routes those of the primary. A failure releases all that was begun.
"""

from __future__ import annotations

from dispatcher import cni_errors, cni_result, keys
from dispatcher.annotation import quote
from dispatcher.cni_errors import CNIError
from dispatcher.plugin import plan
from dispatcher.plugin.chain import Chain
from dispatcher.plugin.container_lock import ContainerLock
from dispatcher.plugin.default_routes import DefaultRoutes
from dispatcher.plugin.free import free, roll_back
from dispatcher.plugin.rebuild import read_or_rebuild
from dispatcher.state import store
from dispatcher.state.record import ATTACHED, ATTACHING, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dispatcher.plugin.call import Call
    from dispatcher.state.record import Attachment


def add(call: Call) -> dict[str, Any]:
    """Carry out ADD and return the result to print. Raises CNIError and OSError."""
    planned = plan.attachments_for_call(call, plan.select_for_call(call))
    plan.refuse_conflicts(planned)
    _check_executables(call, planned)

    with ContainerLock(call):
        record = _prepare_record(call, planned) or Record(call.request.container_id, "", [])
        record.netns = call.request.netns
        record.attachments += planned
        try:
            output = cni_result.encode(_attach(call, record, planned), call.conf.cni_version)
            # The last step that may fail: from here on the agent publishes the attachments.
            store.write_synced(call.state_dir, record)
            return output
        except BaseException:
            roll_back(call, record, planned)
            raise


def _check_executables(call: Call, planned: list[Attachment]) -> None:
    """Refuse a plan that would fail half-way because an executable is missing."""
    for attachment in planned:
        for plugin_type in attachment.conf.types:
            try:
                call.effects.run.locate(plugin_type)
            except CNIError as error:
                sentence = f"cannot attach network {quote(attachment.network)}"
                raise error.with_prefix(sentence) from None


def _prepare_record(call: Call, planned: list[Attachment]) -> Record | None:
    """Return the record of the container's other calls; release what a killed ADD left in it.

    A rebuilt record may be of a killed ADD, too.
    """
    record = read_or_rebuild(call)
    if record is None:
        _check_limits(call, planned)  # a container with a record keeps what it was given
        return None

    interface = call.request.interface
    ours = record.of_call(interface)
    if ours and all(each.phase == ATTACHED for each in ours):
        raise CNIError(
            cni_errors.ALREADY_ATTACHED,
            f"the container is already attached on interface {interface}; run DEL first",
        )
    free(call, record, ours, Chain.for_call(call), call.deadline.for_work)

    taken = {each.interface for each in record.attachments} & {each.interface for each in planned}
    if taken:
        raise CNIError(
            cni_errors.ALREADY_ATTACHED,
            f"interfaces already exist in the container: {', '.join(sorted(taken))}",
        )
    plan.refuse_conflicts([*record.attachments, *planned])
    return record


def _check_limits(call: Call, planned: list[Attachment]) -> None:
    """Refuse a static pod that is over the cluster's limits. Raises :class:`CNIError`.

    The API server admits every other pod, within the limits of its namespace.
    """
    source = (call.conf.annotations or {}).get(keys.CONFIG_SOURCE, "api")
    if source != "api":
        settings = call.conf.settings
        plan.refuse_excess(
            planned,
            max_attachments=settings.max_attachments,
            max_per_network=settings.max_per_network,
        )


def _attach(call: Call, record: Record, planned: list[Attachment]) -> dict[str, Any]:
    """Attach all of *planned*, and return the primary's result."""
    if len(record.attachments) > 1:
        _attach_several(call, record, planned)
    else:
        [only] = planned
        only.phase = ATTACHING
        chain = Chain.for_call(call, store.stage(call.state_dir, record))
        _attach_one(call, chain, only, call.deadline.for_work)
    return next((each.result for each in planned if each.is_primary), None) or {}


def _attach_several(call: Call, record: Record, planned: list[Attachment]) -> None:
    """Attach the networks one after another, and keep the primary's default routes."""
    first, *others = planned
    deadline = call.deadline.for_work
    earlier = [each for each in record.attachments if each not in planned]
    default_routes = DefaultRoutes(call.effects.open_namespace, record, earlier)

    def prepare() -> None:
        """Do what takes time while the first delegate starts, which takes longer."""
        commit()
        default_routes.open()
        default_routes.hold(first)
        if record.held_routes:
            store.write_unsynced(call.state_dir, record)
            default_routes.remove_held()

    first.phase = ATTACHING
    commit = store.stage(call.state_dir, record)
    chain = Chain.for_call(call, prepare)
    try:
        _attach_one(call, chain, first, deadline)
        default_routes.enforce(first)

        for attachment in others:
            attachment.phase = ATTACHING
            default_routes.hold(attachment)
            # A route is removed only after the record that holds it has its final name.
            store.write_unsynced(call.state_dir, record)
            default_routes.remove_held()
            _attach_one(call, chain, attachment, deadline)
            default_routes.enforce(attachment)

        default_routes.put_back()
    finally:
        default_routes.close()


def _attach_one(call: Call, chain: Chain, attachment: Attachment, deadline: float) -> None:
    attachment.result = call.effects.timings.measure(chain.add, attachment, deadline)
    attachment.phase = ATTACHED
