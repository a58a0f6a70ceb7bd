"""Bindings: remove Genie's keys.

The API server copies the annotations of a Binding into the bound pod, past every rule for pods. So
the policy cni-genie-binding refuses a Binding with Genie's keys. Some schedulers (Volcano) copy the
pod's own annotations into the Binding, and could not bind a pod with networks. The keys are removed
before the policy sees them, and the pod keeps what was admitted. In the mode ``enforce`` the keys
that select NetworkAttachmentDefinitions are among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher import keys
from dispatcher.kube import json_patch
from webhook.decision import ALLOWED, Decision
from webhook.review import child, string_map

if TYPE_CHECKING:
    from webhook.review import Review
    from webhook.settings import DefinitionsMode


def strip_binding(review: Review, definitions: DefinitionsMode = "off") -> Decision:
    """Return the decision on a Binding: allowed, with a patch that removes Genie's keys."""
    ours = keys.POD_KEYS + (keys.SELECTION_KEYS if definitions == "enforce" else ())
    annotations = string_map(child(review.object, "metadata"), "annotations")
    removed = [key for key in ours if key in annotations]
    if review.operation != "CREATE" or not removed:
        return ALLOWED
    patch = [
        json_patch.remove(json_patch.pointer("metadata", "annotations", key)) for key in removed
    ]
    return Decision(reason="stripped", patch=patch, audit={"removed": ",".join(removed)})
