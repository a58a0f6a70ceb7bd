"""Nodes, pods and workloads: the few facts that the commands need, as values.

The facts of a namespace are those that the webhook's rules need (:mod:`webhook.snapshot`).

Everything comes from the API server as JSON that any client may have written, so each value is
checked for its type where it is read; what is malformed counts as absent.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys, plugin_types

if TYPE_CHECKING:
    from collections.abc import Mapping

    Object = Mapping[str, Any]


class NodeFacts(NamedTuple):
    """A node: its networks by name (False: not attachable now), and the plugin types of each."""

    name: str
    networks: Mapping[str, bool]
    types: Mapping[str, tuple[str, ...]]


class PublishedNetwork(NamedTuple):
    """An object networks.cni-genie.io: numbers of nodes instead of their names."""

    name: str
    ready_nodes: int
    configured_nodes: int
    total_nodes: int
    types: tuple[str, ...]
    is_default: bool
    description: str


class PodAttachment(NamedTuple):
    """One entry of a pod's network-status."""

    network: str
    interface: str
    addresses: tuple[str, ...]
    is_default: bool


class PodFacts(NamedTuple):
    """A pod: what it asked for (None: nothing), what it got, and the container that fails."""

    namespace: str
    name: str
    node: str
    phase: str
    asked: str | None
    attachments: tuple[PodAttachment, ...]
    host_network: bool
    address: str


class Workload(NamedTuple):
    """A Deployment or DaemonSet: how many pods it should have, how many are ready and current.

    ``environ`` and ``config_maps`` are the variables of its containers, and whence they come.
    """

    name: str
    wanted: int
    ready: int
    updated: int
    images: tuple[str, ...]
    environ: Mapping[str, str] = {}
    config_maps: tuple[str, ...] = ()


def read_node(item: Object) -> NodeFacts:
    """Return the facts of a Node object."""
    metadata = _dict(item, "metadata")
    labels = _dict(metadata, "labels")
    networks = {
        key.removeprefix(keys.NETWORK_LABEL): value == "true"
        for key, value in sorted(labels.items())
        if key.startswith(keys.NETWORK_LABEL)
    }
    types = plugin_types.decode(_text(_dict(metadata, "annotations"), keys.PLUGIN_TYPES))
    return NodeFacts(_text(metadata, "name"), networks, types)


def read_network(item: Object) -> PublishedNetwork:
    """Return the facts of an object networks.cni-genie.io."""
    spec, status = _dict(item, "spec"), _dict(item, "status")
    return PublishedNetwork(
        _text(spec, "network"),
        _number(status, "readyNodes"),
        _number(status, "configuredNodes"),
        _number(status, "totalNodes"),
        tuple(each for each in _list(status.get("pluginTypes")) if isinstance(each, str)),
        status.get("default") is True,
        _text(spec, "description"),
    )


def read_pod(item: Object) -> PodFacts:
    """Return the facts of a Pod object."""
    metadata, spec, status = (_dict(item, key) for key in ("metadata", "spec", "status"))
    annotations = _dict(metadata, "annotations")
    asked = annotations.get(keys.ANNOTATION)
    return PodFacts(
        _text(metadata, "namespace"),
        _text(metadata, "name"),
        _text(spec, "nodeName"),
        _text(status, "phase"),
        asked if isinstance(asked, str) else None,
        _attachments(_text(annotations, keys.NETWORK_STATUS)),
        spec.get("hostNetwork") is True,
        _text(status, "podIP"),
    )


def read_workload(item: Object) -> Workload:
    """Return the facts of a Deployment or DaemonSet object."""
    spec, status = _dict(item, "spec"), _dict(item, "status")
    listed = _list(_dict(_dict(spec, "template"), "spec").get("containers"))
    containers = [each for each in listed if isinstance(each, dict)]
    images = [_text(each, "image") for each in containers]
    name = _text(_dict(item, "metadata"), "name")
    if item.get("kind") == "DaemonSet":
        wanted = _number(status, "desiredNumberScheduled")
        ready, updated = _number(status, "numberReady"), _number(status, "updatedNumberScheduled")
    else:
        wanted = _number(spec, "replicas")
        ready, updated = _number(status, "readyReplicas"), _number(status, "updatedReplicas")
    variables = [each for container in containers for each in _list(container.get("env"))]
    sources = [each for container in containers for each in _list(container.get("envFrom"))]
    return Workload(
        name,
        wanted,
        ready,
        updated,
        tuple(dict.fromkeys(images)),
        {_text(each, "name"): _text(each, "value") for each in variables if "value" in each},
        tuple(_text(each["configMapRef"], "name") for each in sources if "configMapRef" in each),
    )


def _attachments(text: str) -> tuple[PodAttachment, ...]:
    try:
        entries = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return ()
    return tuple(_attachment(each) for each in _list(entries) if isinstance(each, dict))


def _attachment(entry: Object) -> PodAttachment:
    addresses = tuple(each for each in _list(entry.get("ips")) if isinstance(each, str))
    is_default = entry.get("default") is True
    return PodAttachment(_text(entry, "name"), _text(entry, "interface"), addresses, is_default)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(parent: Object, key: str) -> dict[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _text(parent: Object, key: str) -> str:
    value = parent.get(key)
    return value if isinstance(value, str) else ""


def _number(parent: Object, key: str) -> int:
    value = parent.get(key)
    return value if isinstance(value, int) else 0
