"""Writes the labels of our own Node, and its annotations: plugin types, and its removal.

The Node's metadata is read once a minute, and after every failure. In between, the API server's
answer to our last patch is used. A patch is sent only when something changes, and contains our own
keys only. Labels never wait for the annotations.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from dispatcher import keys, plugin_types
from dispatcher.agent import events
from dispatcher.agent.label_policy import FALSE, GRACE_FOR_ALL, TRUE, LabelGrace, LabelPlan
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
    """Writes the labels of the Node *name* according to *plan*; *clock* is monotonic."""

    def __init__(
        self,
        kube: KubeClient,
        name: str,
        plan: LabelPlan,
        emitter: Events,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._path = object_path(NODES, name)
        self._name = name
        self._plan = plan
        self._events = emitter
        self._clock = clock
        self._labels: dict[str, str] | None = None
        self._annotations: dict[str, str] = {}
        self._read_at = 0.0

    def publish(
        self,
        networks: Mapping[str, str],
        absence_reason: Callable[[str], str],
        grace: LabelGrace = GRACE_FOR_ALL,
        *,
        types: Mapping[str, Sequence[str]],
        removal: str = "",
        has_definitions: bool = False,
    ) -> dict[str, str]:
        """Write the labels of *networks* (see :class:`LabelPlan`) and the annotations.

        *types* are the plugin types of the networks; *removal* is the annotation about a removal.
        *has_definitions*: all NetworkAttachmentDefinitions were copied to this node.
        *absence_reason* returns why a network has no configuration. Return the networks that have a
        label and no configuration, each with that reason. Raises
        :class:`dispatcher.kube.errors.KubeError`.
        """
        now = self._clock()
        labels = self._current_labels(now)
        changes: dict[str, str | None] = {**self._plan.changes(networks, labels, now, grace)}
        wanted = TRUE if has_definitions else None
        if labels.get(keys.ATTACHMENTS_LABEL) != wanted:
            changes[keys.ATTACHMENTS_LABEL] = wanted
        vanished = {name: absence_reason(name) for name in _names(labels) if name not in networks}

        self._patch(changes, {keys.PLUGIN_TYPES: plugin_types.encode(types), keys.REMOVAL: removal})
        for name, value in _names(changes).items():
            self._report(name, value, networks.get(name) or vanished.get(name, ""))
        return vanished

    def _report(self, name: str, value: str, reason: str) -> None:
        if value == FALSE:
            message = f'network "{name}" cannot be attached on this node: {reason}'
            self._events.emit(events.node(self._name), "NetworkUnavailable", message)
        else:
            log.info("network available", network=name)

    def withdraw(self, removal: str = "") -> None:
        """Remove our labels and annotations, except *removal*, when Genie leaves this node.

        Raises KubeError.
        """
        labels = self._current_labels(self._clock())
        self._patch(dict.fromkeys(labels), {keys.REMOVAL: removal})

    def _patch(self, labels: Mapping[str, str | None], texts: Mapping[str, str]) -> None:
        """Change *labels*, and set our annotations to *texts*, without those that are empty."""
        wanted = {key: text for key, text in texts.items() if text}
        known = self._labels
        try:
            self._send(labels, wanted)
        except KubeError as error:
            if error.status != FORBIDDEN or wanted == self._annotations:
                raise
            # The admission policy of an older version refuses an annotation. Labels decide where
            # pods are scheduled, so they are set without it.
            log.warning("annotations of the node refused", error=str(error))
            # Count them as written, so that _send leaves them out until the next read.
            self._labels, self._annotations = known, wanted
            self._send(labels, wanted)

    def _send(self, labels: Mapping[str, str | None], wanted: Mapping[str, str]) -> None:
        metadata: dict[str, Any] = {"labels": labels} if labels else {}
        changed = {
            key: wanted.get(key)
            for key in keys.NODE_ANNOTATIONS
            if wanted.get(key) != self._annotations.get(key)
        }
        if changed:
            metadata["annotations"] = changed
        if metadata:
            self._labels = None  # unknown until the API server has answered
            self._remember(self._kube.patch(self._path, {"metadata": metadata}, MERGE_PATCH))

    def _current_labels(self, now: float) -> dict[str, str]:
        """Return our labels of the Node, read again after READ_SECONDS or a failed patch."""
        if self._labels is None or now - self._read_at >= READ_SECONDS:
            self._remember(self._kube.get(self._path, accept=METADATA))
            self._read_at = now
        return self._labels or {}

    def _remember(self, node: Mapping[str, Any]) -> None:
        """Keep our labels and annotations of *node*, an answer of the API server."""
        metadata = node["metadata"]
        labels = metadata.get("labels") or {}
        self._labels = {k: v for k, v in labels.items() if _is_ours(k)}
        annotations = metadata.get("annotations") or {}
        self._annotations = {k: v for k, v in annotations.items() if k in keys.NODE_ANNOTATIONS}


def _is_ours(key: str) -> bool:
    return key.startswith(keys.NETWORK_LABEL) or key == keys.ATTACHMENTS_LABEL


def _names(labels: Mapping[str, str | None]) -> dict[str, str]:
    """Return the values of our *labels* by network."""
    return {
        key.removeprefix(keys.NETWORK_LABEL): value
        for key, value in labels.items()
        if key.startswith(keys.NETWORK_LABEL) and value is not None
    }
