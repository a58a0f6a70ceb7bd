"""ADD: attach a container to its networks, or to none.

How it works: the plan is written down, then carried out one attachment after another in
list order, each step noted before the next begins, and the whole written down at the end. The
disk is waited for while the first delegate starts, which is told what to do only then. With
several networks, :mod:`dispatcher.plugin.default_routes` keeps the pod's default routes the
primary's. When anything fails, everything begun is freed in reverse with real DELs and the
failure is returned; what cannot be freed stays in the record.
"""

from __future__ import annotations

from dispatcher import cni_errors, cni_result
from dispatcher.annotation import quote
from dispatcher.cni_errors import CNIError
from dispatcher.plugin import plan
from dispatcher.plugin.commands import delete
from dispatcher.plugin.default_routes import DefaultRoutes
from dispatcher.state import store
from dispatcher.state.record import ATTACHED, ATTACHING, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dispatcher.plugin.call import Call
    from dispatcher.plugin.chain import Chain
    from dispatcher.state.record import Attachment


def add(call: Call) -> dict[str, Any]:
    """Carry out ADD and return the result to print. Raises CNIError and OSError."""
    planned = call.plan(call.selections())
    plan.refuse_conflicts(planned)
    _judge_executables(call, planned)
    with call.locked():
        made = _judge_record(call, planned) or Record(call.request.container_id, "", [])
        made.netns = call.request.netns
        made.attachments += planned
        try:
            output = cni_result.encode(_attach(call, made, planned), call.conf.cni_version)
            # Last of all that may fail: from here on the agent publishes what was attached.
            store.write_synced(call.state_dir, made)
            return output
        except BaseException:
            delete.roll_back(call, made, planned)
            raise


def _judge_executables(call: Call, planned: list[Attachment]) -> None:
    """Refuse a plan that could only fail half-way."""
    for attachment in planned:
        for kind in attachment.conf.types:
            try:
                call.run.locate(kind)
            except CNIError as error:
                sentence = f"the network {quote(attachment.network)} cannot be attached"
                raise error.with_prefix(sentence) from None


def _judge_record(call: Call, planned: list[Attachment]) -> Record | None:
    """Return the record of what other calls attached; free what a killed ADD left.

    A record that nobody can read may be of such a one, too.
    """
    old = delete.recorded(call)
    if old is None:
        call.refuse_excess(planned)  # a container with a record keeps what it was given
        return None
    ours = old.of_call(call.request.interface)
    if ours and all(each.phase == ATTACHED for each in ours):
        raise CNIError(
            cni_errors.ALREADY_ATTACHED,
            f"the container is attached on {call.request.interface} already; DEL comes first",
        )
    delete.free(call, old, ours, call.chain(), call.deadline.of_work)
    taken = {each.interface for each in old.attachments} & {each.interface for each in planned}
    if taken:
        raise CNIError(
            cni_errors.ALREADY_ATTACHED, f"the container has {', '.join(sorted(taken))} already"
        )
    plan.refuse_conflicts([*old.attachments, *planned])
    return old


def _attach(call: Call, made: Record, planned: list[Attachment]) -> dict[str, Any]:
    """Attach everything and return the primary's result."""
    if len(made.attachments) > 1:
        _attach_several(call, made, planned)
    else:
        [only] = planned
        only.phase = ATTACHING
        chain = call.chain(store.stage(call.state_dir, made))
        _attach_one(call, chain, only, call.deadline.of_work)
    return next((each.result for each in planned if each.is_primary), None) or {}


def _attach_several(call: Call, made: Record, planned: list[Attachment]) -> None:
    """Attach the networks one after another, and keep the default routes the primary's."""
    first, *others = planned
    until = call.deadline.of_work
    earlier = [each for each in made.attachments if each not in planned]
    default_routes = DefaultRoutes(call.open_namespace, made, earlier)

    def prepare() -> None:
        """Do what takes time while the first delegate starts, which takes longer."""
        finish()
        default_routes.open()
        default_routes.before(first)
        if made.held_routes:
            store.write_unsynced(call.state_dir, made)
            default_routes.remove_held()

    first.phase = ATTACHING
    finish = store.stage(call.state_dir, made)
    chain = call.chain(prepare)
    try:
        _attach_one(call, chain, first, until)
        default_routes.after(first)

        for attachment in others:
            attachment.phase = ATTACHING
            default_routes.before(attachment)
            # No route is removed before it is in the record, and the record in its place.
            store.write_unsynced(call.state_dir, made)
            default_routes.remove_held()
            _attach_one(call, chain, attachment, until)
            default_routes.after(attachment)

        default_routes.put_back()
    finally:
        default_routes.close()


def _attach_one(call: Call, chain: Chain, attachment: Attachment, until: float) -> None:
    attachment.result = call.carry_out(chain.add, attachment, until)
    attachment.phase = ATTACHED
