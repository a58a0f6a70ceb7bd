"""CHECK: every attachment of the container is as it was made.

How it works: each recorded attachment's chain is asked, with the recorded configuration and
result; the first plugin that objects is the answer. A configuration that says
``disableCheck``, or speaks a version without CHECK, is passed over, as libcni does.
"""

from __future__ import annotations

from dispatcher import cni_errors
from dispatcher.cni_errors import CNIError
from dispatcher.state.record import ATTACHED, CorruptRecordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dispatcher.plugin.call import Call
    from dispatcher.state.record import Attachment

_SINCE = "0.4.0"


def check(call: Call) -> None:
    """Carry out CHECK. Raises CNIError and OSError."""
    with call.locked():
        ours = _attachments(call)
        chain = call.chain()
        for attachment in ours:
            if attachment.phase != ATTACHED:
                raise CNIError(
                    cni_errors.NOT_ATTACHED,
                    f"the network {attachment.network} is not attached: its ADD did not succeed",
                )
            if attachment.conf.supports(_SINCE) and not attachment.conf.disable_check:
                chain.check(attachment, call.deadline.of_all)


def _attachments(call: Call) -> list[Attachment]:
    request = call.request
    try:
        made = call.read_record(request.container_id)
    except CorruptRecordError as error:
        raise CNIError(
            cni_errors.NOT_ATTACHED, f"the record of {request.container_id} is corrupt: {error}"
        ) from None
    ours = made.of_call(request.interface) if made else []
    if not ours:
        cached = call.cached()
        ours = [cached.attachment] if cached else []
    if not ours:
        raise CNIError(
            cni_errors.UNKNOWN_CONTAINER,
            f"{request.container_id} has no attachment on {request.interface}",
        )
    return ours
