"""Read a container's record, and rebuild one that is corrupt.

A corrupt record is replaced by what the call's own annotations ask for, in whichever mode of
``attachmentDefinitions`` the node was at the pod's ADD. A network that has no configuration on the
node counts as one whose delegate cannot run, and each DEL looks it up again. But where the node
attaches no definitions, those without a copy are left out. When the annotations are unknown too,
the corrupt record stays and the command fails.
"""

from __future__ import annotations

from dispatcher import keys
from dispatcher.cni_errors import INVALID_ANNOTATION, INVALID_CONF, TRY_AGAIN, CNIError
from dispatcher.conf import VERSIONS, Conf
from dispatcher.plugin import plan
from dispatcher.state import store
from dispatcher.state.record import (
    ATTACHING,
    Attachment,
    CorruptRecordError,
    NewerRecordError,
    Record,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from dispatcher.annotation import Selection
    from dispatcher.plugin.call import Call

_NEVER_ATTACHED = (INVALID_ANNOTATION, INVALID_CONF)
"""Codes for a pod that every mode refuses: an invalid ``cni``, or none without a default network.

Any other code means that the annotation is unknown now, and says nothing about ADD.
"""


def read_or_recover(state_dir: str, container_id: str) -> Record | None:
    """Return a container's record, or None.

    If only a staged record exists (an ADD was killed before the rename), commit it first.
    The caller holds the container's lock. Raises :class:`CNIError` with code 11 for a record of a
    newer version, CorruptRecordError and OSError.
    """
    try:
        record = store.read(state_dir, container_id)
        if record is None and store.commit_staged(state_dir, container_id):
            record = store.read(state_dir, container_id)
        return record
    except NewerRecordError as error:
        path = store.path_of(state_dir, container_id)
        raise CNIError(
            TRY_AGAIN, f"cannot read the record {path}: {error}", "upgrade Genie on this node"
        ) from None


def read_or_rebuild(call: Call) -> Record | None:
    """Return the record of the call's container, rebuilt on disk if it is corrupt, or None.

    The caller holds the container's lock. Raises :class:`CNIError` and OSError.
    """
    container_id = call.request.container_id
    try:
        return read_or_recover(call.state_dir, container_id)
    except CorruptRecordError as error:
        aside = store.keep_corrupt_copy(call.state_dir, container_id)
        call.effects.warn(f"the record is corrupt; a copy is kept as {aside}: {error}")

    record = Record(container_id, call.request.netns, _attachments(call))
    store.write_synced(call.state_dir, record)
    return record


def _attachments(call: Call) -> list[Attachment]:
    """Return the attachments that the call's own annotations ask for.

    Raises :class:`CNIError` if the annotations are unknown now.
    """
    try:
        attachments = _planned(call)
    except CNIError as error:
        if error.code not in _NEVER_ATTACHED:
            path = store.path_of(call.state_dir, call.request.container_id)
            raise error.with_prefix(
                f"{path} is corrupt, and the pod's annotation is unknown"
            ) from None
        call.effects.warn(str(error))
        return []

    for attachment in attachments:
        attachment.phase = ATTACHING
    return attachments


def _planned(call: Call) -> list[Attachment]:
    annotations = plan.pod_annotations(call)
    if _may_have_definitions(call, annotations):
        from dispatcher.plugin.definitions import pod_plan

        return pod_plan.rebuilt_attachments(call, annotations)

    attachments = []
    for selection in plan.select(annotations, call.conf.settings.default):
        try:
            attachments += plan.attachments_for_call(call, (selection,))
        except CNIError:
            attachments.append(_without_conf(call, selection))
    return attachments


def _may_have_definitions(call: Call, annotations: Mapping[str, Any]) -> bool:
    """Tell whether the pod may be attached to definitions, now or by the mode of its ADD.

    Where this node attaches none now, it may never have attached any. There only a pod counts that
    an earlier mode may have attached: the webhook has permitted its definitions, or it is static.
    """
    if plan.selects_definitions(call, annotations):
        return True
    is_permitted = bool(annotations.get(keys.ATTACHMENTS)) or plan.is_static(annotations)
    return is_permitted and not annotations.keys().isdisjoint(keys.SELECTION_KEYS)


def _without_conf(call: Call, selection: Selection) -> Attachment:
    """Return an attachment to a network whose configuration is unknown: it has no plugins.

    See :attr:`Attachment.is_conf_known`.
    """
    request = call.request
    return Attachment(
        selection.network,
        request.interface if selection.is_primary else selection.interface,
        request.interface,
        Conf("", selection.network, VERSIONS[-1], []),
        args=request.args,
        is_primary=selection.is_primary,
    )
