"""Follows the cluster's NetworkAttachmentDefinitions, whether or not the cluster has the kind.

The list comes as a watch that begins with all objects (``sendInitialEvents``, in Kubernetes 1.34
and newer): one object at a time, from the API server's memory. A list would hold all definitions of
the cluster in memory at once, each of up to 1.5 MiB.

The custom resource is the cluster's, not Genie's. While it does not exist the store stays as it is,
and the API server is asked again, after a minute at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from dispatcher.kube.reflector import Reflector
from dispatcher.nad import definition

if TYPE_CHECKING:
    from dispatcher.kube.client import KubeClient
    from dispatcher.nad.definition import Definition

MISSING_SECONDS = 60.0
"""Longest time between two requests while the custom resource does not exist."""

INITIAL_END = "k8s.io/initial-events-end"
"""On the bookmark that ends the initial events of a watch (Kubernetes API concepts)."""


class DefinitionStore(Protocol):
    """What keeps the definitions; all methods are called from the reflector's thread."""

    def begin_list(self) -> None:
        """Begin a list of all definitions: each is put, then :meth:`end_list` is called."""

    def put(self, each: Definition, /) -> None:
        """Keep a definition that is new or has changed."""

    def remove(self, namespace: str, name: str, /) -> None:
        """Forget a definition that was deleted."""

    def end_list(self) -> None:
        """Forget what the list did not have."""


class DefinitionReflector(Reflector):
    """Passes each definition of the cluster to *store*."""

    def __init__(self, kube: KubeClient, store: DefinitionStore, start_delay: float = 0.0) -> None:
        super().__init__(
            kube,
            definition.COLLECTION,
            start_delay=start_delay,
            missing_delay=MISSING_SECONDS,
        )
        self._store = store

    def _list(self) -> None:
        self._store.begin_list()

    def _watch_query(self) -> dict[str, str]:
        if self._version:
            return super()._watch_query()
        return {
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "resourceVersion": "0",
        }

    def _apply(self, event_type: str, item: dict[str, Any]) -> None:
        metadata = item["metadata"]
        is_initial = not self._version
        if event_type == "BOOKMARK":
            if is_initial and (metadata.get("annotations") or {}).get(INITIAL_END) != "true":
                return
            if is_initial:
                self._store.end_list()
                self._synced.set()
        elif event_type == "DELETED":
            self._store.remove(metadata["namespace"], metadata["name"])
        else:
            self._store.put(definition.read(item))

        # A watch can be resumed only after the end of its initial events.
        if not is_initial or event_type == "BOOKMARK":
            self._version = metadata["resourceVersion"]
