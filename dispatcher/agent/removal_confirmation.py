"""Reads from our own Node whether a person has confirmed the mode "remove --force".

That mode releases the networks of running pods, and one ConfigMap reaches every node. So each Node
needs the annotation ``cni-genie.io/confirm-remove: force``, too. The policy ``genie-agent-nodes``
lets no agent write it. The Node is read only while a confirmation is awaited.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dispatcher import keys
from dispatcher.agent.node_labels import NODES
from dispatcher.kube.client import METADATA, object_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.kube.client import KubeClient

READ_SECONDS = 10.0
"""Time between two reads of the Node."""


class RemovalConfirmation:
    """The confirmation on the Node *name*; *clock* is monotonic."""

    def __init__(
        self, kube: KubeClient, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.is_present = False
        """Whether the Node had the annotation when it was read last; False if none is awaited."""
        self._kube = kube
        self._path = object_path(NODES, name)
        self._clock = clock
        self._read_at: float | None = None

    def refresh(self, *, is_awaited: bool) -> bool:
        """Read the Node if a confirmation is awaited and it is due; return whether it is present.

        Raises :class:`dispatcher.kube.errors.KubeError`.
        """
        if not is_awaited:
            self.is_present, self._read_at = False, None
            return False

        now = self._clock()
        if self._read_at is None or now - self._read_at >= READ_SECONDS:
            self._read_at = now
            metadata = self._kube.get(self._path, accept=METADATA)["metadata"]
            value = (metadata.get("annotations") or {}).get(keys.CONFIRM_REMOVE)
            self.is_present = value == keys.CONFIRM_FORCE
        return self.is_present
