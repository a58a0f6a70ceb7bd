"""Reads the situation of an uninstall from the API server, and writes the mode.

Its rights: list nodes and pods, get and patch the ConfigMap ``genie``.

The mode from before an uninstall stays on the ConfigMap when a run is killed, and also when the
administrator then sets another mode. So it counts only while an uninstall was the last to change
the mode, which the API server records in ``managedFields``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dispatcher import keys
from dispatcher.kube.client import MERGE_PATCH, object_path
from dispatcher.kube.errors import NOT_FOUND, KubeError
from lifecycle.situation import NodeSituation, read_nodes
from lifecycle.uninstall import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dispatcher.kube.client import KubeClient

PAGE = 500
"""Objects of one answer."""

FIELD_MANAGER = "genie-uninstall"
"""The name under which an uninstall changes the mode; older versions had another."""

AGENT = "app.kubernetes.io/name"
AGENT_NAME = "genie-agent"


class KubeCluster:
    """A :class:`lifecycle.uninstall.ClusterAccess` through *kube*; Genie is in *namespace*."""

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._settings_path = object_path(f"/api/v1/namespaces/{namespace}/configmaps", "genie")

    def settings(self) -> Settings | None:
        """Return the modes; None: Genie's ConfigMap does not exist."""
        try:
            config_map = self._kube.get(self._settings_path)
        except KubeError as error:
            if error.status == NOT_FOUND:
                return None
            raise
        mode = (config_map.get("data") or {}).get("mode") or "install"
        if not _is_set_by_uninstall(config_map["metadata"]):
            return Settings(mode, mode)
        annotations = config_map["metadata"].get("annotations") or {}
        return Settings(mode, annotations.get(keys.MODE_BEFORE) or mode)

    def nodes(self) -> list[NodeSituation]:
        """Return the situation of every node."""
        agents: list[dict[str, Any]] = []
        pods = self._pods(agents)
        return read_nodes(list_objects(self._kube, "/api/v1/nodes"), pods, agents)

    def set_mode(self, mode: str, original: str) -> None:
        """Set the mode, and keep *original* beside it, unless they are the same."""
        kept = None if mode == original else original
        metadata = {"annotations": {keys.MODE_BEFORE: kept}}
        patch = {"metadata": metadata, "data": {"mode": mode}}
        path = f"{self._settings_path}?fieldManager={FIELD_MANAGER}"
        self._kube.patch(path, patch, MERGE_PATCH)

    def _pods(self, agents: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield every pod, and add those of the agents to *agents*; no more than a page is kept."""
        for pod in list_objects(self._kube, "/api/v1/pods"):
            if self._is_agent(pod["metadata"]):
                agents.append(pod)
            yield pod

    def _is_agent(self, metadata: dict[str, Any]) -> bool:
        labels = metadata.get("labels") or {}
        return metadata.get("namespace") == self._namespace and labels.get(AGENT) == AGENT_NAME


def _is_set_by_uninstall(metadata: Mapping[str, Any]) -> bool:
    """Return whether the mode is what an uninstall set: then no other program manages this field.

    Who applies the same mode (server-side apply) manages it, too, and has chosen it.
    """
    managers = {
        entry.get("manager")
        for entry in metadata.get("managedFields") or []
        if "f:mode" in ((entry.get("fieldsV1") or {}).get("f:data") or {})
    }
    return managers == {FIELD_MANAGER}


def list_objects(kube: KubeClient, path: str) -> Iterator[dict[str, Any]]:
    """Yield the objects at *path*, page by page. Raises KubeError."""
    query = {"limit": str(PAGE)}
    while True:
        page = kube.get(path, query)
        yield from page.get("items") or []
        rest = (page.get("metadata") or {}).get("continue")
        if not rest:
            return
        query["continue"] = rest
