"""DEL and roll-back: free what was attached, in reverse, and forget it.

How it works: what the record says is freed with the configuration that was recorded, last
attachment first. One that fails stays in the record with its reason, the others are freed
all the same, and the first failure is returned, so that the next DEL goes on from there. One
that fails before another of the same network is freed has a second try after it. What
is freed leaves the record at once, though nothing waits for the disk: a kill, or a power cut,
makes the next DEL repeat a step at most, which plugins must bear (specification, section 2,
"DEL"). When nothing is left the record goes. An attachment whose
delegate cannot be run at all makes DEL fail for a while and is parked then: DEL succeeds,
and the agent frees it once the executable is back.

Without a record, a container of libcni's cache was attached before Genie came to the node,
and is freed with what the cache says. Failing that, the default network's DEL is run, as
the runtime would have done without Genie. A record that nobody can read is replaced by what
the call's own annotations ask for; a network of theirs that the node does not know now counts
as one whose delegate cannot be run, and is looked up again each time. Where nobody can tell
the annotations the record stays, and DEL fails.
"""

from __future__ import annotations

import posix

from dispatcher import keys
from dispatcher.annotation import Selection
from dispatcher.cni_errors import (
    INVALID_ANNOTATION,
    INVALID_CONF,
    TRY_AGAIN,
    CannotRunError,
    CNIError,
)
from dispatcher.conf import VERSIONS, Conf
from dispatcher.plugin import plan
from dispatcher.state import store
from dispatcher.state.record import (
    ATTACHING,
    PARKED,
    PLANNED,
    RELEASING,
    Attachment,
    CorruptRecordError,
    NewerRecordError,
    Record,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dispatcher.plugin.call import Call
    from dispatcher.plugin.chain import Chain


_NEVER_ATTACHED = (INVALID_ANNOTATION, INVALID_CONF)
"""What an annotation is answered with that cannot be followed, or none without a default: the
ADD was refused for the same reason. Any other answer is of who was asked, and says nothing."""


def delete(call: Call) -> None:
    """Carry out DEL. Raises CNIError and OSError."""
    try:
        locked = call.locked()
    except OSError:
        if store.exists(call.state_dir, call.request.container_id):
            raise
        _delete_unrecorded(call, None)  # there is nothing that a lock could protect
        return
    with locked:
        made = recorded(call)
        if made and (ours := made.of_call(call.request.interface)):
            free(call, made, ours, call.chain(), call.deadline.of_all)
        else:
            _delete_unrecorded(call, made)
            if made is None:
                store.remove_staged(call.state_dir, call.request.container_id)


def recorded(call: Call) -> Record | None:
    """Return the container's record, made anew if nobody can read it. Its lock is held.

    Raises CNIError and OSError.
    """
    container_id = call.request.container_id
    try:
        return call.read_record(container_id)
    except CorruptRecordError as error:
        aside = store.keep_corrupt_copy(call.state_dir, container_id)
        call.complain(f"a corrupt record is kept as {aside}: {error}")
    made = Record(container_id, call.request.netns, _rebuild(call))
    store.write_synced(call.state_dir, made)
    return made


def _rebuild(call: Call) -> list[Attachment]:
    """Return what the call's own annotations ask for. Raises CNIError if nobody can tell now."""
    try:
        selections = call.selections()
    except CNIError as error:
        if error.code not in _NEVER_ATTACHED:
            path = store.path_of(call.state_dir, call.request.container_id)
            raise error.with_prefix(
                f"{path} is corrupt, and nobody can tell what it held"
            ) from None
        call.complain(str(error))
        return []
    rebuilt = []
    for selection in selections:
        try:
            rebuilt += call.plan((selection,))
        except CNIError:
            rebuilt.append(_unknown(call, selection))
    for attachment in rebuilt:
        attachment.phase = ATTACHING
    return rebuilt


def _unknown(call: Call, selection: Selection) -> Attachment:
    """Return the attachment to a network that has no configuration here: it has no plugins."""
    request = call.request
    return Attachment(
        selection.network,
        request.interface if selection.is_primary else selection.interface,
        request.interface,
        Conf("", selection.network, VERSIONS[-1], []),
        args=request.args,
        is_primary=selection.is_primary,
    )


def _delete_unrecorded(call: Call, made: Record | None) -> None:
    request = call.request
    cached = call.cached()
    if cached is None:
        _delete_default(call)
    else:
        made = made or Record(request.container_id, request.netns, [])
        made.attachments.append(cached.attachment)
        free(call, made, [cached.attachment], call.chain(), call.deadline.of_all)
    if made is not None and not made.attachments:
        store.remove(call.state_dir, made.container_id)


def _delete_default(call: Call) -> None:
    default = call.conf.settings.default
    if not default:
        return
    try:
        attachments = call.plan((Selection(default, keys.PRIMARY_INTERFACE),))
    except CNIError as error:
        call.complain(f"nothing is known of this container, and the default is no help: {error}")
        return
    try:
        call.chain().delete(attachments[0], call.deadline.of_all)
    except CNIError:
        if call.request.netns and posix.access(call.request.netns, posix.F_OK):
            raise


def free(call: Call, made: Record, ours: list[Attachment], chain: Chain, until: float) -> None:
    """Free the attachments *ours* of *made*, in reverse; keep on disk what is left.

    They share the time to *until*, so that one that hangs leaves some for the others.

    Raises the first failure after all were tried.
    """
    _begin_release(ours)
    first = _try_all(call, made, ours, chain, until)
    if made.held_routes and chain.netns and made.attachments:
        _put_back_routes(call, made, chain.netns)
    if not made.attachments:
        made.held_routes = []  # they went with the interfaces

    try:
        _keep(call, made)
    except OSError:
        if first is None:
            raise  # what stands on disk says more than is left: no harm yet
    if first is not None:
        raise first


def _begin_release(ours: list[Attachment]) -> None:
    for attachment in ours:
        if attachment.phase != PARKED:
            attachment.phase = RELEASING


def _put_back_routes(call: Call, made: Record, netns: str) -> None:
    """Put back the default routes that an unfinished ADD held, as far as it can be done.

    What is left in *made* may be attachments of other calls, which such an ADD must not harm.
    *netns* is the path that this call was given: the recorded one may lead to another pod by now.
    A route that the kernel refuses keeps nothing from being freed, and is tried again next time.
    """
    from dispatcher.plugin.default_routes import put_back_remaining

    try:
        put_back_remaining(call.open_namespace(netns), made)
    except CNIError:
        made.held_routes = []  # the namespace is gone, and the routes with it
    except OSError as error:
        call.complain(f"cannot restore the default routes of {made.container_id}: {error}")


def _try_all(
    call: Call, made: Record, ours: list[Attachment], chain: Chain, until: float
) -> CNIError | None:
    """Free each of *ours*, take it from *made*; return the first failure."""
    first: CNIError | None = None
    waiting = ours[::-1]
    put_off: list[Attachment] = []
    while waiting:
        share = call.deadline.share(len(waiting), until)
        attachment = waiting.pop(0)
        try:
            if not attachment.conf.plugins:
                attachment.conf = _look_up(call, attachment)
            call.carry_out(chain.delete, attachment, share)
        except CNIError as error:
            if attachment not in put_off and _hinges_on(attachment, waiting, error):
                put_off.append(attachment)
                waiting.append(attachment)
            elif not _is_parked(call, attachment, error):
                first = first or error
        else:
            made.attachments.remove(attachment)
            _forget_cached(call, attachment)
            if waiting:
                _note(call, made)
    return first


def _note(call: Call, made: Record) -> None:
    try:
        store.write_unsynced(call.state_dir, made)
    except OSError:
        pass  # what stands on disk says more than is left: no harm yet


def _look_up(call: Call, attachment: Attachment) -> Conf:
    try:
        return plan.look_up(attachment.network, call.find)
    except CNIError as error:
        interface = f"the interface {attachment.interface} cannot be freed"
        raise CannotRunError(f"{interface}: {error.msg}") from None


def _forget_cached(call: Call, attachment: Attachment) -> None:
    """Remove libcni's own file, if it is what this attachment's configuration came from."""
    if attachment.conf.path.startswith(call.cache_dir + "/"):
        try:
            posix.unlink(attachment.conf.path)
        except OSError:
            pass  # the runtime's own DEL would have ignored it too


def _hinges_on(attachment: Attachment, waiting: list[Attachment], error: CNIError) -> bool:
    """Tell whether *attachment* may be freed once one of those *waiting* is.

    It is not where its delegate has used up its share of the time, or cannot be run at all.
    Plugins keep state under network and container: of a pod that is twice on one network,
    ``bridge`` cannot remove the masquerading rules of the first while the second's use them.
    """
    shared = any(other.conf.name == attachment.conf.name for other in waiting)
    return shared and error.code != TRY_AGAIN and not isinstance(error, CannotRunError)


def _is_parked(call: Call, attachment: Attachment, error: CNIError) -> bool:
    """Note the failure in *attachment*; tell whether DEL shall no longer wait for it."""
    now = int(call.now())
    old = attachment.failure or {}
    cannot_run = isinstance(error, CannotRunError)
    since = old.get("since", now) if cannot_run and old.get("cannotRun") else now
    attachment.failure = {
        "since": since,
        "cannotRun": cannot_run,
        "code": error.code,
        "msg": error.msg,
    }
    if cannot_run and now - since >= call.conf.settings.park_after:
        attachment.phase = PARKED
    return cannot_run and attachment.phase == PARKED


def _keep(call: Call, made: Record) -> None:
    if made.attachments:
        store.write_synced(call.state_dir, made)
    else:
        store.remove(call.state_dir, made.container_id)


def roll_back(call: Call, made: Record, planned: list[Attachment]) -> None:
    """Free what a failed ADD began; what cannot be freed stays in the record.

    An attachment whose first delegate was not started has no plugins left, and nothing to free.

    The failure may have been that the record got no name, when a delegate ran already.
    """
    if not store.exists(call.state_dir, made.container_id):
        _name_record(call, made.container_id)
    begun = [each for each in planned if each.phase != PLANNED and each.conf.plugins]
    made.attachments = [each for each in made.attachments if each in begun or each not in planned]
    if made.is_complete:  # perhaps on disk as well, where the agent must not take it for a success
        _begin_release(begun)
        _note(call, made)

    try:
        free(call, made, begun, call.chain(), call.deadline.of_all)
    except (CNIError, OSError) as error:
        call.complain(f"the roll-back of {made.container_id} is not complete: {error}")


def _name_record(call: Call, container_id: str) -> None:
    try:
        store.commit_staged(call.state_dir, container_id)
    except (OSError, NewerRecordError) as error:
        call.complain(f"the record of {container_id} cannot be named: {error}")
