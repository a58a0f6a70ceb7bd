"""CHECK: run CHECK of every attachment of the container, as it was recorded.

The first plugin that fails is the answer. A configuration with ``disableCheck``, or of a version
without CHECK, is skipped, as in libcni.
"""

from __future__ import annotations

from dispatcher import cni_errors
from dispatcher.annotation import quote
from dispatcher.cni_errors import CNIError
from dispatcher.plugin.chain import Chain
from dispatcher.plugin.container_lock import ContainerLock
from dispatcher.plugin.rebuild import read_or_recover
from dispatcher.state.record import ATTACHED, CorruptRecordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dispatcher.plugin.call import Call
    from dispatcher.state.record import Attachment

_SINCE = "0.4.0"


def check(call: Call) -> None:
    """Carry out CHECK. Raises CNIError and OSError."""
    with ContainerLock(call):
        ours = _attachments(call)
        chain = Chain.for_call(call)
        for attachment in ours:
            if attachment.phase != ATTACHED:
                raise CNIError(
                    cni_errors.NOT_ATTACHED,
                    f"network {quote(attachment.network)} is not attached: its ADD failed, or a "
                    "release of it has begun",
                )
            if attachment.conf.supports(_SINCE) and not attachment.conf.disable_check:
                chain.check(attachment, call.deadline.for_call)


def _attachments(call: Call) -> list[Attachment]:
    """Return the attachments of this call's interface, from the record or libcni's cache."""
    request = call.request
    try:
        record = read_or_recover(call.state_dir, request.container_id)
    except CorruptRecordError as error:
        raise CNIError(
            cni_errors.NOT_ATTACHED,
            f"the record of container {request.container_id} is corrupt: {error}",
        ) from None

    ours = record.of_call(request.interface) if record else []
    if not ours:
        from dispatcher.plugin import libcni_cache

        cached = libcni_cache.for_call(call)
        ours = [cached.attachment] if cached else []
    if not ours:
        raise CNIError(
            cni_errors.UNKNOWN_CONTAINER,
            f"container {request.container_id} has no attachment on interface {request.interface}",
        )
    return ours
