"""The label ``cni-genie.io/defaulted``: it says whether pods of a namespace are given networks.

They are where the namespace has a default, or a list of networks to choose from.

The webhook sets the label when it admits a namespace. This loop corrects labels that were set by
hand, restored from a backup, or became stale while no webhook ran. A wrong label never leads to a
wrong network. Without the label, a pod without the annotation is refused: the API server does not
call the webhook to fill in the default, and the policies, which read the namespace's annotation,
see that it is missing.

Every replica runs the loop. A patch that another replica has applied already fails by its own
``test`` operation, without harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dispatcher import keys
from dispatcher.kube import json_patch
from dispatcher.kube.client import object_path
from dispatcher.kube.errors import LOST_RACE, KubeError
from webhook.informer_caches import NAMESPACES
from webhook.reconcile_loop import ReconcileLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dispatcher.kube.client import KubeClient
    from dispatcher.kube.json_patch import Patch
    from webhook.snapshot import Namespace

INTERVAL = 60.0
"""Seconds between two reconciliations of all namespaces without a change."""

MAX_DELAY = 1.0
"""Limit of the seconds from a change to its reconciliation: the patch at admission usually comes
sooner, and leaves nothing to do."""

PATCH_INTERVAL = 0.05
"""Seconds between patches: 20 a second, also after thousands of namespaces were restored."""

log = structlog.get_logger("labels")


class LabelReconciler:
    """Reconciles the labels, in a thread of its own.

    ``namespaces()`` returns the cached namespaces. ``count(result)`` is called for each patch, with
    ``done``, ``stale`` (the namespace has changed since) or ``failed``.
    """

    def __init__(
        self,
        kube: KubeClient,
        namespaces: Callable[[], Mapping[str, Namespace]],
        count: Callable[[str], None],
    ) -> None:
        self._kube = kube
        self._namespaces = namespaces
        self._count = count
        self._loop = ReconcileLoop(
            "labels",
            self.reconcile_all,
            interval=(0.8 * INTERVAL, 1.2 * INTERVAL),
            delay=(MAX_DELAY / 4, MAX_DELAY),
        )

    def start(self) -> None:
        """Start the thread."""
        self._loop.start()

    def stop(self) -> None:
        """Let the thread end soon."""
        self._loop.stop()

    def on_change(self, _name: str, namespace: Namespace | None) -> None:
        """Schedule a reconciliation if the changed namespace needs it; the cache calls this."""
        if namespace is not None and has_wrong_label(namespace):
            self._loop.wake()

    def reconcile_all(self) -> None:
        """Correct the label of every namespace that needs it."""
        for name, namespace in self._namespaces().items():
            if has_wrong_label(namespace):
                self._patch(name, namespace)
                if self._loop.pause(PATCH_INTERVAL):
                    return

    def _patch(self, name: str, namespace: Namespace) -> None:
        try:
            self._kube.patch(object_path(NAMESPACES, name), label_patch(namespace))
            self._count("done")
            log.info("label corrected", namespace=name, defaulted=namespace.fills_in)
        except KubeError as error:
            if error.status in LOST_RACE:
                self._count("stale")
                return
            self._count("failed")
            log.warning("cannot correct label", namespace=name, error=str(error))


def has_wrong_label(namespace: Namespace) -> bool:
    """Tell whether a namespace that is not being deleted has a wrong label."""
    return not namespace.terminating and not namespace.label_is_right


def label_patch(namespace: Namespace) -> Patch:
    """Return the JSON patch that corrects the label; it fails if the annotation has changed."""
    label = json_patch.pointer("metadata", "labels", keys.DEFAULTED)
    for key, value in ((keys.ANNOTATION, namespace.default), (keys.CHOOSE, namespace.choose)):
        if value:
            annotation = json_patch.pointer("metadata", "annotations", key)
            return [json_patch.test(annotation, value), json_patch.add(label, "true")]
    return [json_patch.remove(label)]
