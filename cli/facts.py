"""Nodes, pods and workloads: the few facts that the commands need, as values.

The facts of a namespace are those that the webhook's rules need (:mod:`webhook.snapshot`).

Everything comes from the API server as JSON that any client may have written, so each value is
checked for its type where it is read; what is malformed counts as absent.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys, plugin_types
from dispatcher.kube import removal_report
from dispatcher.kube.lenient import as_list, get_dict, get_number, get_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    Object = Mapping[str, Any]


class NodeFacts(NamedTuple):
    """A node: its networks by name (False: not attachable now), and the plugin types of each.

    ``plugin`` is the version of its plugin, as its agent reports it; empty: none is reported.
    ``has_definitions``: its label says that pods with NetworkAttachmentDefinitions may run there.
    """

    name: str
    networks: Mapping[str, bool]
    types: Mapping[str, tuple[str, ...]]
    plugin: str = ""
    has_definitions: bool = False


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
    metadata = get_dict(item, "metadata")
    labels = get_dict(metadata, "labels")
    networks = {
        key.removeprefix(keys.NETWORK_LABEL): value == "true"
        for key, value in sorted(labels.items())
        if key.startswith(keys.NETWORK_LABEL)
    }
    annotations = get_dict(metadata, "annotations")
    types = plugin_types.decode(get_text(annotations, keys.PLUGIN_TYPES))
    report = removal_report.decode(get_text(annotations, keys.REMOVAL))
    return NodeFacts(
        get_text(metadata, "name"),
        networks,
        types,
        report.plugin if report else "",
        labels.get(keys.ATTACHMENTS_LABEL) == "true",
    )


def read_network(item: Object) -> PublishedNetwork:
    """Return the facts of an object networks.cni-genie.io."""
    spec, status = get_dict(item, "spec"), get_dict(item, "status")
    return PublishedNetwork(
        get_text(spec, "network"),
        get_number(status, "readyNodes"),
        get_number(status, "configuredNodes"),
        get_number(status, "totalNodes"),
        tuple(each for each in as_list(status.get("pluginTypes")) if isinstance(each, str)),
        status.get("default") is True,
        get_text(spec, "description"),
    )


def read_pod(item: Object) -> PodFacts:
    """Return the facts of a Pod object."""
    metadata, spec, status = (get_dict(item, key) for key in ("metadata", "spec", "status"))
    annotations = get_dict(metadata, "annotations")
    asked = annotations.get(keys.ANNOTATION)
    return PodFacts(
        get_text(metadata, "namespace"),
        get_text(metadata, "name"),
        get_text(spec, "nodeName"),
        get_text(status, "phase"),
        asked if isinstance(asked, str) else None,
        _attachments(get_text(annotations, keys.NETWORK_STATUS)),
        spec.get("hostNetwork") is True,
        get_text(status, "podIP"),
    )


def read_workload(item: Object) -> Workload:
    """Return the facts of a Deployment or DaemonSet object."""
    spec, status = get_dict(item, "spec"), get_dict(item, "status")
    listed = as_list(get_dict(get_dict(spec, "template"), "spec").get("containers"))
    containers = [each for each in listed if isinstance(each, dict)]
    images = [get_text(each, "image") for each in containers]
    name = get_text(get_dict(item, "metadata"), "name")
    if item.get("kind") == "DaemonSet":
        wanted = get_number(status, "desiredNumberScheduled")
        ready, updated = (
            get_number(status, "numberReady"),
            get_number(status, "updatedNumberScheduled"),
        )
    else:
        wanted = get_number(spec, "replicas")
        ready, updated = get_number(status, "readyReplicas"), get_number(status, "updatedReplicas")
    variables = [each for container in containers for each in as_list(container.get("env"))]
    sources = [each for container in containers for each in as_list(container.get("envFrom"))]
    return Workload(
        name,
        wanted,
        ready,
        updated,
        tuple(dict.fromkeys(images)),
        {get_text(each, "name"): get_text(each, "value") for each in variables if "value" in each},
        tuple(get_text(each["configMapRef"], "name") for each in sources if "configMapRef" in each),
    )


def _attachments(text: str) -> tuple[PodAttachment, ...]:
    try:
        entries = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return ()
    return tuple(_attachment(each) for each in as_list(entries) if isinstance(each, dict))


def _attachment(entry: Object) -> PodAttachment:
    addresses = tuple(each for each in as_list(entry.get("ips")) if isinstance(each, str))
    is_default = entry.get("default") is True
    return PodAttachment(
        get_text(entry, "name"), get_text(entry, "interface"), addresses, is_default
    )
