"""Objects as the API server lists them, with what the commands read of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dispatcher import keys
from dispatcher.kube.errors import FORBIDDEN, NOT_FOUND, KubeError

if TYPE_CHECKING:
    from collections.abc import Mapping


def node(name: str, types: str = "", **networks: str) -> dict[str, Any]:
    """Return a node with a label for each of *networks*."""
    labels = {keys.network_label(key): value for key, value in networks.items()}
    annotations = {keys.PLUGIN_TYPES: types} if types else {}
    return {"metadata": {"name": name, "labels": labels, "annotations": annotations}}


def namespace(name: str, **annotations: str) -> dict[str, Any]:
    """Return a namespace; ``allowed`` is the allow-list, ``cni`` the default."""
    known = {"cni": keys.ANNOTATION, "allowed": keys.ALLOWED}
    written = {known[key]: value for key, value in annotations.items()}
    return {"metadata": {"name": name, "annotations": written}}


def pod(
    name: str,
    cni: str | None = None,
    attached: Mapping[str, str] | None = None,
    *,
    node_name: str = "n1",
    phase: str = "Running",
    address: str = "10.0.0.2",
    host_network: bool = False,
) -> dict[str, Any]:
    """Return a pod in the namespace shop; *attached* is interface by network."""
    annotations = {} if cni is None else {keys.ANNOTATION: cni}
    if attached:
        entries = [
            {"name": name, "interface": interface, "ips": [f"10.{n}.0.2"], "default": not n}
            for n, (name, interface) in enumerate(attached.items())
        ]
        annotations[keys.NETWORK_STATUS] = json.dumps(entries)
    return {
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
        "spec": {"nodeName": node_name, "hostNetwork": host_network},
        "status": {"phase": phase, "podIP": address},
    }


def workload(
    kind: str, name: str, wanted: int, ready: int, image: str = "cni-genie:0.1.0"
) -> dict[str, Any]:
    """Return a DaemonSet or Deployment all of whose pods are current."""
    template = {"spec": {"containers": [{"image": image}, {"image": image}]}}
    status = {
        "desiredNumberScheduled": wanted,
        "numberReady": ready,
        "updatedNumberScheduled": wanted,
        "readyReplicas": ready,
        "updatedReplicas": wanted,
    }
    spec = {"replicas": wanted, "template": template}
    return {"kind": kind, "metadata": {"name": name}, "spec": spec, "status": status}


class FakeAPI:
    """A client that answers from *objects* by path; *forbidden* paths are 403, others 404."""

    def __init__(self, objects: Mapping[str, Any], forbidden: tuple[str, ...] = ()) -> None:
        self.objects = objects
        self.forbidden = forbidden
        self.asked: list[tuple[str, dict[str, str]]] = []

    def get(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        accept: str = "application/json",
    ) -> dict[str, Any]:
        """Return what is at *path*; a list of lists is a list in pages."""
        del accept
        self.asked.append((path, dict(query or {})))
        if path in self.forbidden:
            raise KubeError(FORBIDDEN, "Forbidden", f"{path} is forbidden")
        if path not in self.objects:
            raise KubeError(NOT_FOUND, "NotFound", f"{path} not found")
        found = self.objects[path]
        if not isinstance(found, list):
            return dict(found)
        pages = found if found and isinstance(found[0], list) else [found]
        number = int((query or {}).get("continue", "0"))
        more = {"continue": str(number + 1)} if number + 1 < len(pages) else {}
        return {"items": pages[number], "metadata": more}
