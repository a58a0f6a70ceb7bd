"""DEL: release the container's attachments, and remove its record.

The attachments are released with their recorded configuration. Without a record:

1. A container in libcni's cache was attached before Genie was installed. It is released with the
   configuration in the cache.
2. An interface that Genie has released before is not released again, if the container has no
   network namespace any more: containerd repeats the DEL of each pod.
3. Any other container gets DEL of the default network, as the runtime would do without Genie.

DEL may repeat a step after a kill or a power cut; plugins must accept that (specification,
section 2, "DEL").
"""

from __future__ import annotations

import posix

from dispatcher import keys
from dispatcher.annotation import Selection
from dispatcher.cni_errors import CNIError
from dispatcher.plugin import plan
from dispatcher.plugin.chain import Chain
from dispatcher.plugin.container_lock import ContainerLock
from dispatcher.plugin.free import free
from dispatcher.plugin.rebuild import read_or_rebuild
from dispatcher.state import released, store
from dispatcher.state.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dispatcher.plugin.call import Call


def delete(call: Call) -> None:
    """Carry out DEL. Raises CNIError and OSError."""
    container_id = call.request.container_id
    try:
        locks = ContainerLock(call)
    except OSError:
        if store.exists(call.state_dir, container_id):
            raise
        _delete_unrecorded(call, None)  # without a record there is nothing that a lock protects
        return

    with locks:
        record = read_or_rebuild(call)
        ours = record.of_call(call.request.interface) if record else []
        if record and ours:
            free(call, record, ours, Chain.for_call(call), call.deadline.for_call)
            if not record.of_call(call.request.interface):  # otherwise an attachment is parked
                released.add(call.state_dir, container_id, call.request.interface)
            return

        _delete_unrecorded(call, record)
        if record is None:
            store.remove_staged(call.state_dir, container_id)


def _delete_unrecorded(call: Call, record: Record | None) -> None:
    """Release an interface that *record* does not have; *record* may list other interfaces."""
    from dispatcher.plugin import libcni_cache

    request = call.request
    cached = libcni_cache.for_call(call)
    if cached is None:
        if not _is_released(call):
            _delete_default(call)
    else:
        record = record or Record(request.container_id, request.netns, [])
        record.attachments.append(cached.attachment)
        free(call, record, [cached.attachment], Chain.for_call(call), call.deadline.for_call)
    if record is not None and not record.attachments:
        store.remove(call.state_dir, record.container_id)


def _is_released(call: Call) -> bool:
    """Return whether an earlier DEL has released everything that this one would release.

    While there is a network namespace, another plugin may have attached it since.
    """
    request = call.request
    return not request.netns and released.contains(
        call.state_dir, request.container_id, request.interface
    )


def _delete_default(call: Call) -> None:
    """Run DEL of the default network. A failure counts only while the namespace exists."""
    default = call.conf.settings.default
    if not default:
        return
    try:
        [attachment] = plan.attachments_for_call(
            call, (Selection(default, keys.PRIMARY_INTERFACE),)
        )
    except CNIError as error:
        call.effects.warn(
            f"container {call.request.container_id}: no record and no libcni cache entry, and the "
            f"default network cannot be used: {error}"
        )
        return

    try:
        Chain.for_call(call).delete(attachment, call.deadline.for_call)
    except CNIError:
        if call.request.netns and posix.access(call.request.netns, posix.F_OK):
            raise
