"""Bindings: our keys are removed from them.

The API server copies a Binding's annotations into the pod that it binds, past every rule for pods.
A scheduler that copies the pod's own annotations into the Binding (Volcano does) means no harm, and
could bind no pod with networks: the policy cni-genie-binding refuses a Binding that has our keys.
They are removed before the policy sees them, and what was admitted with the pod stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher import keys
from dispatcher.kube import json_patch
from webhook.decision import ALLOWED, Decision
from webhook.review import child, string_map

if TYPE_CHECKING:
    from webhook.review import Review


def strip_binding(review: Review) -> Decision:
    """Return the patch that removes our keys from a Binding, which is never refused here."""
    annotations = string_map(child(review.object, "metadata"), "annotations")
    removed = [key for key in keys.POD_KEYS if key in annotations]
    if review.operation != "CREATE" or not removed:
        return ALLOWED
    patch = [
        json_patch.remove(json_patch.pointer("metadata", "annotations", key)) for key in removed
    ]
    return Decision(reason="stripped", patch=patch, audit={"removed": ",".join(removed)})
