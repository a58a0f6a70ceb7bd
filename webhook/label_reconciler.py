"""The repair of ``cni-genie.io/defaulted``: the label of a namespace follows its annotation.

The webhook sets the label when a namespace is written through it. This loop finds those that
were labelled by hand, restored from a backup or changed while no webhook ran. Until it has, no
pod gets a wrong network, but where the label is missing a pod without the annotation is refused:
the API server does not ask us for the default, and the policies, which read the namespace's
annotation itself, see that it is not filled in. Every replica runs the loop; a patch that another
one made already is refused by its own ``test`` and does no harm.
"""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import structlog

from dispatcher import keys
from dispatcher.kube import json_patch
from dispatcher.kube.client import object_path
from dispatcher.kube.errors import LOST_RACE, KubeError
from webhook.informer_caches import NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dispatcher.kube.client import KubeClient
    from dispatcher.kube.json_patch import Patch
    from webhook.snapshot import Namespace

INTERVAL = 60.0
"""Seconds between looks at all namespaces, whether or not one was seen to change."""

SETTLE = 1.0
"""Seconds from a change to the look, at most: the webhook's own patch is mostly faster."""

PAUSE = 0.05
"""Seconds between patches: 20 a second for thousands of namespaces restored from a backup."""

log = structlog.get_logger("labels")


class LabelReconciler:
    """Keeps the labels in step, from a thread of its own.

    ``namespaces()`` returns what is known; ``count(result)`` is told of each patch: ``done``,
    ``stale`` (the namespace changed meanwhile) or ``failed``.
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
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="labels", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()
        self._changed.set()

    def on_change(self, _name: str, facts: Namespace | None) -> None:
        """Take note of a change (what the cache calls)."""
        if facts is not None and has_wrong_label(facts):
            self._changed.set()

    def reconcile_all(self) -> None:
        """Look at every namespace once and mend what is wrong."""
        for name, facts in self._namespaces().items():
            if self._stopping.is_set():
                return
            if has_wrong_label(facts):
                self._repair(name, facts)
                self._stopping.wait(PAUSE)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._changed.wait(INTERVAL * random.uniform(0.8, 1.2)):  # noqa: S311 - jitter
                self._stopping.wait(random.uniform(SETTLE / 4, SETTLE))  # noqa: S311 - jitter
            self._changed.clear()
            try:
                self.reconcile_all()
            except Exception:
                log.exception("labels cannot be looked after")

    def _repair(self, name: str, facts: Namespace) -> None:
        try:
            self._kube.patch(object_path(NAMESPACES, name), label_patch(facts))
            self._count("done")
            log.info("label repaired", namespace=name, defaulted=bool(facts.default))
        except KubeError as error:
            if error.status in LOST_RACE:
                self._count("stale")
                return
            self._count("failed")
            log.warning("label not repaired", namespace=name, error=str(error))


def has_wrong_label(facts: Namespace) -> bool:
    """Tell whether the label of a living namespace is wrong."""
    return not facts.terminating and not facts.label_is_right


def label_patch(facts: Namespace) -> Patch:
    """Return the JSON patch that mends the label, if what we know is still so."""
    label = json_patch.pointer("metadata", "labels", keys.DEFAULTED)
    if facts.default:
        annotation = json_patch.pointer("metadata", "annotations", keys.ANNOTATION)
        return [json_patch.test(annotation, facts.default), json_patch.add(label, "true")]
    return [json_patch.remove(label)]
