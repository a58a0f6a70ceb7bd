"""The labels of our own Node, brought to what this node can attach.

How it works: the labels are read once a minute and after every failure; in between, what the
API server answered to our last patch is what is believed. A patch is sent only when something
changes, and holds nothing but our own keys.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from dispatcher import keys
from dispatcher.agent import events
from dispatcher.agent.publish import FALSE, PATIENT, Patience, Publication
from dispatcher.kube.client import MERGE_PATCH, METADATA, KubeClient, object_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dispatcher.agent.events import Events

READ_SECONDS = 60.0

NODES = "/api/v1/nodes"

log = structlog.get_logger("labels")


class Labels:
    """The labels of the Node *name*."""

    def __init__(
        self,
        kube: KubeClient,
        name: str,
        publication: Publication,
        say: Events,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._path = object_path(NODES, name)
        self._name = name
        self._publication = publication
        self._events = say
        self._clock = clock
        self._labels: dict[str, str] | None = None
        self._read_at = 0.0

    def publish(
        self,
        networks: Mapping[str, str],
        absence: Callable[[str], str],
        patience: Patience = PATIENT,
    ) -> dict[str, str]:
        """Bring the labels to *networks* (see :class:`Publication`).

        *absence* tells why a network has no configuration. Returns those that have a label and
        none, each with that reason. Raises :class:`dispatcher.kube.client.KubeError`.
        """
        now = self._clock()
        labels = self._read(now)
        changes = self._publication.changes(networks, labels, now, patience)
        vanished = {name: absence(name) for name in _names(labels) if name not in networks}
        if changes:
            self._labels = None  # unknown until the API server has answered
            self._labels = self._own(
                self._kube.patch(self._path, {"metadata": {"labels": changes}}, MERGE_PATCH)
            )
            for name, value in _names(changes).items():
                self._tell(name, value, networks.get(name) or vanished.get(name, ""))
        return vanished

    def _tell(self, name: str, value: str, reason: str) -> None:
        if value == FALSE:
            sentence = f'network "{name}" cannot be attached on this node: {reason}'
            self._events.say(events.node(self._name), "NetworkUnavailable", sentence)
        else:
            log.info("network can be attached", network=name)

    def withdraw(self) -> None:
        """Remove every label of ours: Genie leaves this node. Raises KubeError."""
        labels = self._read(self._clock())
        if labels:
            gone = dict.fromkeys(labels)
            self._labels = None
            self._labels = self._own(
                self._kube.patch(self._path, {"metadata": {"labels": gone}}, MERGE_PATCH)
            )

    def _read(self, now: float) -> dict[str, str]:
        if self._labels is None or now - self._read_at >= READ_SECONDS:
            self._labels = self._own(self._kube.get(self._path, accept=METADATA))
            self._read_at = now
        return self._labels

    @staticmethod
    def _own(found: Mapping[str, object]) -> dict[str, str]:
        metadata = found["metadata"]
        labels = metadata.get("labels") if isinstance(metadata, dict) else None
        return {k: v for k, v in (labels or {}).items() if k.startswith(keys.NETWORK_LABEL)}


def _names(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the values of our *labels* by the names of networks."""
    return {key.removeprefix(keys.NETWORK_LABEL): value for key, value in labels.items()}
