"""The labels of our own Node, brought to what this node can attach, and one annotation.

How it works: the Node's metadata is read once a minute and after every failure; in between, what
the API server answered to our last patch is what is believed. A patch is sent only when something
changes, and holds nothing but our own keys. The annotation says which plugin types the networks
have; labels never wait for it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from dispatcher import keys, plugin_types
from dispatcher.agent import events
from dispatcher.agent.label_policy import FALSE, PATIENT, LabelPlan, Patience
from dispatcher.kube.client import MERGE_PATCH, METADATA, KubeClient, object_path
from dispatcher.kube.errors import FORBIDDEN, KubeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from dispatcher.agent.events import Events

READ_SECONDS = 60.0

NODES = "/api/v1/nodes"

log = structlog.get_logger("labels")


class NodeLabels:
    """The labels of the Node *name*."""

    def __init__(
        self,
        kube: KubeClient,
        name: str,
        publication: LabelPlan,
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
        self._plugin_types = ""
        self._read_at = 0.0

    def publish(
        self,
        networks: Mapping[str, str],
        absence: Callable[[str], str],
        patience: Patience = PATIENT,
        *,
        types: Mapping[str, Sequence[str]],
    ) -> dict[str, str]:
        """Bring the labels to *networks* (see :class:`LabelPlan`), the annotation to *types*.

        *absence* tells why a network has no configuration. Returns those that have a label and
        none, each with that reason. Raises :class:`dispatcher.kube.client.KubeError`.
        """
        now = self._clock()
        labels = self._read(now)
        changes = self._publication.changes(networks, labels, now, patience)
        vanished = {name: absence(name) for name in _names(labels) if name not in networks}

        self._patch(changes, plugin_types.encode(types))
        for name, value in _names(changes).items():
            self._tell(name, value, networks.get(name) or vanished.get(name, ""))
        return vanished

    def _tell(self, name: str, value: str, reason: str) -> None:
        if value == FALSE:
            sentence = f'network "{name}" cannot be attached on this node: {reason}'
            self._events.emit(events.node(self._name), "NetworkUnavailable", sentence)
        else:
            log.info("network can be attached", network=name)

    def withdraw(self) -> None:
        """Remove every label of ours, and the annotation: Genie leaves this node.

        Raises KubeError.
        """
        labels = self._read(self._clock())
        self._patch(dict.fromkeys(labels), "")

    def _patch(self, labels: Mapping[str, str | None], text: str) -> None:
        """Change *labels*, and make *text* the annotation; nothing is sent if nothing changes."""
        known = self._labels
        try:
            self._send(labels, text)
        except KubeError as error:
            if error.status != FORBIDDEN or text == self._plugin_types:
                raise
            # The policy of an older version knows no annotation. Labels decide where pods go, so
            # they are set without it. It is tried again after the next read.
            log.warning("plugin types not published", error=str(error))
            self._labels, self._plugin_types = known, text
            self._send(labels, text)

    def _send(self, labels: Mapping[str, str | None], text: str) -> None:
        metadata: dict[str, Any] = {"labels": labels} if labels else {}
        if text != self._plugin_types:
            metadata["annotations"] = {keys.PLUGIN_TYPES: text or None}
        if metadata:
            self._labels = None  # unknown until the API server has answered
            self._take(self._kube.patch(self._path, {"metadata": metadata}, MERGE_PATCH))

    def _read(self, now: float) -> dict[str, str]:
        if self._labels is None or now - self._read_at >= READ_SECONDS:
            self._take(self._kube.get(self._path, accept=METADATA))
            self._read_at = now
        return self._labels or {}

    def _take(self, found: Mapping[str, Any]) -> None:
        """Remember what the Node has of ours."""
        metadata = found["metadata"]
        labels = metadata.get("labels") or {}
        self._labels = {k: v for k, v in labels.items() if k.startswith(keys.NETWORK_LABEL)}
        self._plugin_types = (metadata.get("annotations") or {}).get(keys.PLUGIN_TYPES, "")


def _names(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the values of our *labels* by the names of networks."""
    return {key.removeprefix(keys.NETWORK_LABEL): value for key, value in labels.items()}
