"""What the API server's objects say of Genie's nodes, and of the pods that need it (pure).

Everything comes from the API server as JSON that any client may have written, so each value is
checked for its type where it is read; what is malformed counts as absent.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys
from dispatcher.annotation import InvalidAnnotationError, parse
from dispatcher.kube import removal_report
from dispatcher.kube.lenient import as_list, get_dict, get_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dispatcher.kube.removal_report import RemovalReport

    Object = Mapping[str, Any]

ENDED_PHASES = ("Succeeded", "Failed")
"""Phases of pods whose sandbox the kubelet stops."""


class PodNetworks(NamedTuple):
    """A pod on a node: the networks that Genie attached, or will; none if Genie did nothing."""

    name: str
    """Namespace and name, as ``shop/web``."""
    networks: tuple[str, ...]


class NodeSituation(NamedTuple):
    """A node, and what Genie has on it."""

    name: str
    is_ready: bool
    """Whether its kubelet answers."""
    has_agent: bool
    """Whether a pod of the agent runs there."""
    is_marked: bool
    """Whether the Node has a label or an annotation of Genie's."""
    report: RemovalReport | None
    """What its agent said last; None: nothing."""
    pods: tuple[PodNetworks, ...]


def read_nodes(
    nodes: Iterable[Object], pods: Iterable[Object], agents: Iterable[Object]
) -> list[NodeSituation]:
    """Return the situation of *nodes*, with *pods* of all namespaces and the pods of *agents*.

    All *pods* are read before the first of *agents*.
    """
    by_node: dict[str, list[PodNetworks]] = {}
    for pod in pods:
        if facts := _read_pod(pod):
            by_node.setdefault(get_text(get_dict(pod, "spec"), "nodeName"), []).append(facts)

    running = {
        get_text(get_dict(pod, "spec"), "nodeName")
        for pod in agents
        if get_dict(pod, "status").get("phase") == "Running"
    }
    return [_read_node(node, running, by_node) for node in nodes]


def _read_node(
    node: Object, running: set[str], by_node: Mapping[str, list[PodNetworks]]
) -> NodeSituation:
    metadata = get_dict(node, "metadata")
    name = get_text(metadata, "name")
    labels, annotations = get_dict(metadata, "labels"), get_dict(metadata, "annotations")
    conditions = as_list(get_dict(node, "status").get("conditions"))
    return NodeSituation(
        name,
        is_ready=any(
            each.get("type") == "Ready" and each.get("status") == "True"
            for each in conditions
            if isinstance(each, dict)
        ),
        has_agent=name in running,
        is_marked=any(key.startswith(keys.NETWORK_LABEL) for key in labels)
        or any(key in annotations for key in keys.NODE_ANNOTATIONS),
        report=removal_report.decode(get_text(annotations, keys.REMOVAL)),
        pods=tuple(by_node.get(name, ())),
    )


def _read_pod(pod: Object) -> PodNetworks | None:
    """Return the pod's networks; None if Genie has nothing to do with it."""
    metadata, spec, status = (get_dict(pod, key) for key in ("metadata", "spec", "status"))
    if not spec.get("nodeName") or spec.get("hostNetwork") is True:
        return None
    if status.get("phase") in ENDED_PHASES:
        return None
    annotations = get_dict(metadata, "annotations")
    attached = _attached(get_text(annotations, keys.NETWORK_STATUS))
    networks = attached or _asked(get_text(annotations, keys.ANNOTATION))
    if not networks:
        return None
    return PodNetworks(f"{get_text(metadata, 'namespace')}/{get_text(metadata, 'name')}", networks)


def _attached(text: str) -> tuple[str, ...]:
    try:
        entries = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return ()
    names = (each.get("name") for each in as_list(entries) if isinstance(each, dict))
    return tuple(name for name in names if isinstance(name, str))


def _asked(value: str) -> tuple[str, ...]:
    try:
        return tuple(each.network for each in parse(value)) if value else ()
    except InvalidAnnotationError:
        return ()  # the plugin refuses it, too
