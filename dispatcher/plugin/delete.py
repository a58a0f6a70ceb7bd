"""DEL and roll-back: free what was attached, in reverse, and forget it.

How it works: what the record says is freed with the configuration that was recorded, last
attachment first. Each one that is freed leaves the record; one that fails stays in it with
its reason, the others are freed all the same, and the first failure is returned, so that
the next DEL goes on from there. When nothing is left the record goes.
"""

from __future__ import annotations

from dispatcher.plugin import record
from dispatcher.plugin.errors import CNIError
from dispatcher.plugin.record import PLANNED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dispatcher.plugin.call import Call
    from dispatcher.plugin.record import Attachment, Record


def delete(call: Call) -> None:
    """Carry out DEL. Raises CNIError and OSError."""
    with call.locked():
        old = call.read_record()
        if old is None:
            return
        ours = [each for each in old.attachments if each.requested == call.request.interface]
        free(call, old, ours)


def free(call: Call, made: Record, ours: list[Attachment]) -> None:
    """Free the attachments *ours* of *made*, in reverse; keep on disk what is left.

    Raises the first failure after all were tried.
    """
    first: CNIError | OSError | None = None
    left = len(ours)
    for attachment in reversed(ours):
        try:
            if attachment.phase != PLANNED:
                call.chain.delete(attachment, call.deadline.share(left))
        except CNIError as error:
            attachment.failure = {"code": error.code, "msg": error.msg, "since": int(call.now())}
            first = first or error
        else:
            made.attachments.remove(attachment)
        left -= 1
        try:
            _keep(call, made)
        except OSError as error:
            first = first or error  # what stands on disk says more than is left: no harm
    if first is not None:
        raise first


def _keep(call: Call, made: Record) -> None:
    if made.attachments:
        record.write(call.state_dir, made)
    else:
        record.remove(call.state_dir, made.container_id)


def roll_back(call: Call, made: Record, planned: list[Attachment]) -> None:
    """Free what a failed ADD began; what cannot be freed stays in the record."""
    try:
        free(call, made, planned)
    except (CNIError, OSError) as error:
        call.complain(f"roll-back of {made.container_id} is not complete: {error}")
