"""ADD: attach a container to its networks, one after another in list order.

The record says what is attached before each step, so that a kill loses nothing:

    1. write the staged record, in which the first attachment is ``attaching``
    2. start the first delegate, which waits for its configuration
    3. commit the record: wait for the disk, give the file its name
    4. give the delegate its configuration, and wait for its result; meanwhile, open the namespace
       if there are several networks
    5. remove default routes that a secondary has added
    6. for each other network: start its delegate; save the pod's default routes in the record,
       write it unsynced with the attachment ``attaching``, remove the routes; then 4 and 5
    7. restore the saved routes, or set the default gateways that the pod asks for
    8. write the record synced, and return the primary's result

A container with one network needs the steps 1 to 4 and 8 only. See
:mod:`dispatcher.state.store` for which writes wait for the disk, and
:mod:`dispatcher.plugin.default_routes` for the routes. A failure releases all that was begun.
"""

from __future__ import annotations

from dispatcher import cni_errors, cni_result
from dispatcher.annotation import quote
from dispatcher.cni_errors import CNIError
from dispatcher.plugin import plan
from dispatcher.plugin.chain import Chain
from dispatcher.plugin.container_lock import ContainerLock
from dispatcher.plugin.rebuild import read_or_rebuild
from dispatcher.state import store
from dispatcher.state.record import ATTACHED, ATTACHING, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from dispatcher.plugin.call import Call
    from dispatcher.plugin.default_routes import DefaultRoutes
    from dispatcher.state.record import Attachment


def add(call: Call) -> dict[str, Any]:
    """Carry out ADD and return the result to print. Raises CNIError and OSError."""
    annotations = plan.pod_annotations(call)
    planned = plan.plan_call(call, annotations)
    plan.refuse_conflicts(planned)
    _check_executables(call, planned)

    with ContainerLock(call):
        record = read_or_rebuild(call)
        if record is None:
            # A container with a record keeps what it was given.
            _check_limits(call, annotations, planned)
            record = Record(call.request.container_id, "", [])
        else:
            _release_killed_add(call, record)
            _refuse_overlap(record, planned)
            _refuse_default_route(record, planned)

        record.netns = call.request.netns
        record.attachments += planned
        try:
            output = cni_result.encode(_attach(call, record, planned), call.conf.cni_version)
            # The last step that may fail: from here on the agent publishes the attachments.
            store.write_synced(call.state_dir, record)
            return output
        except BaseException:
            from dispatcher.plugin.free import roll_back

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


def _release_killed_add(call: Call, record: Record) -> None:
    """Release what a killed ADD for the same interface left in *record*.

    A rebuilt record may be of a killed ADD, too. Raises :class:`CNIError` if that ADD succeeded, or
    if a DEL fails.
    """
    from dispatcher.plugin.free import free

    interface = call.request.interface
    ours = record.of_call(interface)
    if ours and all(each.phase == ATTACHED for each in ours):
        raise CNIError(
            cni_errors.ALREADY_ATTACHED,
            f"the container is already attached on interface {interface}; run DEL first",
        )
    free(call, record, ours, Chain.for_call(call), call.deadline.for_work)


def _refuse_overlap(record: Record, planned: list[Attachment]) -> None:
    """Refuse a plan that conflicts with the attachments of other calls. Raises CNIError."""
    overlap = {each.interface for each in record.attachments} & {each.interface for each in planned}
    if overlap:
        raise CNIError(
            cni_errors.ALREADY_ATTACHED,
            f"interfaces already exist in the container: {', '.join(sorted(overlap))}",
        )
    plan.refuse_conflicts([*record.attachments, *planned])


def _refuse_default_route(record: Record, planned: list[Attachment]) -> None:
    """Refuse default gateways beside the attachments of other calls. Raises CNIError.

    The DEL of this call would have to give those their default routes back.
    """
    for attachment in planned:
        if attachment.default_route and record.attachments:
            raise CNIError(
                cni_errors.INVALID_ANNOTATION,
                f'network {quote(attachment.network)} cannot have "default-route": the container '
                f"is already attached on interface {record.attachments[0].interface} by another "
                "call",
            )


def _check_limits(call: Call, annotations: Mapping[str, Any], planned: list[Attachment]) -> None:
    """Refuse a static pod that is over the cluster's limits. Raises :class:`CNIError`.

    The API server admits every other pod, within the limits of its namespace.
    """
    if plan.is_static(annotations):
        settings = call.conf.settings
        plan.refuse_excess(
            planned,
            max_attachments=settings.max_attachments,
            max_per_network=settings.max_per_network,
        )


def _attach(call: Call, record: Record, planned: list[Attachment]) -> dict[str, Any]:
    """Attach all of *planned*, and return the primary's result."""
    if len(record.attachments) > 1 or planned[0].default_route:
        _attach_several(call, record, planned)
    else:
        [attachment] = planned
        attachment.phase = ATTACHING
        commit = store.stage(call.state_dir, record)
        _attach_one(call, attachment, commit)
    return next((each.result for each in planned if each.is_primary), None) or {}


def _attach_several(call: Call, record: Record, planned: list[Attachment]) -> None:
    """Attach several networks, or one more to a container that has some.

    The pod keeps the default routes of its primary.
    """
    from dispatcher.plugin.default_routes import DefaultRoutes

    first, *others = planned
    earlier = [each for each in record.attachments if each not in planned]
    default_routes = DefaultRoutes(call.effects.open_namespace, record, earlier)

    try:
        _attach_first(call, record, first, default_routes)
        default_routes.enforce(first)

        for attachment in others:
            _attach_next(call, record, attachment, default_routes)
            default_routes.enforce(attachment)

        default_routes.restore()
        _replace_default_routes(default_routes, planned)
    finally:
        default_routes.close()


def _attach_first(
    call: Call, record: Record, attachment: Attachment, default_routes: DefaultRoutes
) -> None:
    """Attach the first network of this call; earlier calls may have attached others."""
    attachment.phase = ATTACHING
    commit = store.stage(call.state_dir, record)

    # The primary of a new pod finds no route of another network: the modules that read routes are
    # loaded while its delegate runs, which takes longer.
    is_first_of_pod = record.attachments[0] is attachment
    if is_first_of_pod and attachment.is_primary and not record.held_routes:
        _attach_one(call, attachment, commit, default_routes.open)
        return

    def prepare() -> None:
        commit()
        default_routes.open()
        default_routes.save(attachment)
        if record.held_routes:
            # A route is removed only after the record that has it is on disk.
            store.write_unsynced(call.state_dir, record)
            default_routes.remove_saved()

    _attach_one(call, attachment, prepare)


def _attach_next(
    call: Call, record: Record, attachment: Attachment, default_routes: DefaultRoutes
) -> None:
    """Attach one more network, while the pod has no default route of the others."""

    def prepare() -> None:
        attachment.phase = ATTACHING
        default_routes.save(attachment)
        # A route is removed only after the record that has it is on disk.
        store.write_unsynced(call.state_dir, record)
        default_routes.remove_saved()

    _attach_one(call, attachment, prepare)


def _replace_default_routes(default_routes: DefaultRoutes, planned: list[Attachment]) -> None:
    """Set the default gateways that one of *planned* was asked for, if any was."""
    for attachment in planned:
        if attachment.default_route:
            from dispatcher.plugin.definitions.default_gateways import adjust_results

            default_routes.replace(attachment)
            adjust_results(planned, attachment)


def _attach_one(
    call: Call,
    attachment: Attachment,
    before_input: Callable[[], None],
    while_running: Callable[[], None] | None = None,
) -> None:
    """Attach one network. *before_input* must write that it is ``attaching``."""

    def add(attachment: Attachment, deadline: float) -> dict[str, Any]:
        chain = Chain.for_call(call)
        return chain.add(attachment, deadline, before_input, while_running)

    attachment.result = call.effects.timings.measure(add, attachment, call.deadline.for_work)
    attachment.phase = ATTACHED
