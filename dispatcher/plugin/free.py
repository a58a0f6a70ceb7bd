"""Release attachments: run their DELs, last attachment first, and keep on disk what is left.

DEL, GC and the roll-back of ADD use this. An attachment whose DEL fails stays in the record with
its failure, so that the next DEL continues there. One whose delegate cannot run makes DEL fail for
``parkAfterSeconds``; then it is parked. DEL succeeds without it, and the reaper releases it once
the executable exists again.
"""

from __future__ import annotations

import posix

from dispatcher.cni_errors import TRY_AGAIN, CannotRunError, CNIError
from dispatcher.plugin import plan
from dispatcher.plugin.chain import Chain
from dispatcher.state import store
from dispatcher.state.record import PARKED, PLANNED, RELEASING, NewerRecordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dispatcher.conf import Conf
    from dispatcher.plugin.call import Call
    from dispatcher.state.record import Attachment, Record


def free(
    call: Call, record: Record, attachments: list[Attachment], chain: Chain, deadline: float
) -> None:
    """Release *attachments* of *record*, in reverse, and write what is left.

    Each attachment gets a share of the time to *deadline*, so that a delegate that hangs leaves
    time for the others. Raises the first :class:`CNIError` after all were tried, and OSError.
    """
    _begin_release(attachments)
    failure = _release_each(call, record, attachments, chain, deadline)

    if record.held_routes and chain.netns and record.attachments:
        _restore_routes(call, record, chain.netns)
    if not record.attachments:
        record.held_routes = []  # they went with the interfaces

    try:
        _write_or_remove(call, record)
    except OSError:
        # The record on disk lists more than is left: a later DEL repeats some, which is safe.
        if failure is None:
            raise
    if failure is not None:
        raise failure


def roll_back(call: Call, record: Record, planned: list[Attachment]) -> None:
    """Release what a failed ADD began. What cannot be released stays in the record.

    An attachment with no started plugin has nothing to release.
    """
    # ADD may have failed because the record could not be renamed, though a delegate already ran.
    if not store.exists(call.state_dir, record.container_id):
        _commit_staged_record(call, record.container_id)

    to_release = [each for each in planned if each.phase != PLANNED and each.has_started_plugins]
    record.attachments = [
        each for each in record.attachments if each in to_release or each not in planned
    ]
    # A complete record may be on disk; the agent must not publish it as a success.
    if record.is_complete:
        _begin_release(to_release)
        _write_step(call, record)

    try:
        free(call, record, to_release, Chain.for_call(call), call.deadline.for_call)
    except (CNIError, OSError) as error:
        call.effects.warn(f"roll-back of container {record.container_id} is incomplete: {error}")


def _commit_staged_record(call: Call, container_id: str) -> None:
    try:
        store.commit_staged(call.state_dir, container_id)
    except (OSError, NewerRecordError) as error:
        call.effects.warn(f"cannot rename the record of container {container_id}: {error}")


def _begin_release(attachments: list[Attachment]) -> None:
    for attachment in attachments:
        if attachment.phase != PARKED:
            attachment.phase = RELEASING


def _release_each(
    call: Call, record: Record, attachments: list[Attachment], chain: Chain, deadline: float
) -> CNIError | None:
    """Run DEL for *attachments*; remove the released ones from *record*. Return the first error."""
    failure: CNIError | None = None
    queue = attachments[::-1]
    retried: list[Attachment] = []  # each is retried at most once
    while queue:
        share = call.deadline.share(len(queue), deadline)
        attachment = queue.pop(0)
        try:
            if not attachment.is_conf_known:
                attachment.conf = _find_conf(call, attachment)
            call.effects.timings.measure(chain.delete, attachment, share)
        except CNIError as error:
            if attachment not in retried and _may_succeed_later(attachment, queue, error):
                retried.append(attachment)
                queue.append(attachment)
                continue
            _record_failure(call, attachment, error)
            if not _is_left_to_reaper(attachment):
                failure = failure or error
        else:
            record.attachments.remove(attachment)
            _remove_cache_file(call, attachment)
            if queue:
                _write_step(call, record)
    return failure


def _find_conf(call: Call, attachment: Attachment) -> Conf:
    """Return the configuration of a network that a rebuilt record has only by name."""
    try:
        if "/" in attachment.network:  # a NetworkAttachmentDefinition: networks have no slash
            from dispatcher.plugin.definitions import pod_plan

            return pod_plan.conf_of(call, attachment.network)
        return plan.look_up(attachment.network, call.effects.find_network)
    except CNIError as error:
        sentence = f"cannot release interface {attachment.interface}"
        raise CannotRunError(f"{sentence}: {error.msg}") from None


def _may_succeed_later(attachment: Attachment, queue: list[Attachment], error: CNIError) -> bool:
    """Tell whether another DEL of *attachment* may succeed after those in *queue*.

    Plugins keep state by network and container: of a pod that is on one network twice, ``bridge``
    cannot remove the masquerading rules of the first while the second uses them. A delegate that
    used up its time, or cannot run, gets no second try.
    """
    shares_network = any(other.conf.name == attachment.conf.name for other in queue)
    return shares_network and error.code != TRY_AGAIN and not isinstance(error, CannotRunError)


def _record_failure(call: Call, attachment: Attachment, error: CNIError) -> None:
    """Store *error* in *attachment*, and park it if its delegate could not run for long enough."""
    now = int(call.effects.now())
    last = attachment.failure or {}
    cannot_run = isinstance(error, CannotRunError)
    since = last.get("since", now) if cannot_run and last.get("cannotRun") else now
    since = min(since, now)  # the clock was ahead then: the time to parking must end
    attachment.failure = {
        "since": since,
        "cannotRun": cannot_run,
        "code": error.code,
        "msg": error.msg,
    }
    if cannot_run and now - since >= call.conf.settings.park_after:
        attachment.phase = PARKED


def _is_left_to_reaper(attachment: Attachment) -> bool:
    """Tell whether DEL succeeds without *attachment*: it is parked, and still cannot run.

    A parked attachment whose delegate runs again and fails makes DEL fail.
    """
    failure = attachment.failure or {}
    return attachment.phase == PARKED and bool(failure.get("cannotRun"))


def _remove_cache_file(call: Call, attachment: Attachment) -> None:
    """Remove libcni's cache file, if the attachment's configuration came from it."""
    if attachment.conf.path.startswith(call.effects.cache_dir + "/"):
        try:
            posix.unlink(attachment.conf.path)
        except OSError:
            pass  # the runtime ignores this error of its own DEL as well


def _restore_routes(call: Call, record: Record, netns: str) -> None:
    """Restore the default routes that an unfinished ADD has saved, as far as possible.

    The attachments left in *record* may belong to other calls, which that ADD must not harm.
    *netns* is the path that this call got: the recorded path may lead to another pod now. A route
    that the kernel refuses stays in the record for the next try, and stops no release.
    """
    from dispatcher.plugin.default_routes import restore_remaining

    try:
        restore_remaining(call.effects.open_namespace(netns), record)
    except CNIError:
        record.held_routes = []  # the namespace is gone, and the routes with it
    except OSError as error:
        container = f"container {record.container_id}"
        call.effects.warn(f"cannot restore the default routes of {container}: {error}")


def _write_step(call: Call, record: Record) -> None:
    try:
        store.write_unsynced(call.state_dir, record)
    except OSError:
        pass  # the record on disk lists more than is left: a later DEL repeats a step


def _write_or_remove(call: Call, record: Record) -> None:
    if record.attachments:
        store.write_synced(call.state_dir, record)
    else:
        store.remove(call.state_dir, record.container_id)
