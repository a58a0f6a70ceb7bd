"""The pods that test an installation, and what is expected of each (pure).

One pod is on the default network, one on another network with the default as its secondary, if the
nodes with both can attach them together. The webhook, or a policy without it, has to refuse a
third.

A network has several names where its file's name and the ``name`` inside differ, and each is a
label of the node: ``10-calico.conflist`` is often ``k8s-pod-network``, too. Such a name is not
paired with the default. What tells them apart are the plugin types, which the agents publish.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys, plugin_rules, plugin_types
from dispatcher.nad.configuration import DELEGATING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    _Networks = Mapping[str, Sequence[str]]

READY = "true"

SECONDARY = "net1"

UNKNOWN_NETWORK = "genie-test-no-such-network"
INVALID_VALUE = "@"
"""What is refused: with the webhook a network that no node has; without it a malformed value."""

TWO_NETWORKS = "genie-test-two"
"""The pod with two networks."""

TWICE_IN_ONE_POD = "bridge"
"""The first plugin of chains that attach a pod twice, as tests show (docs/networks.md)."""

LIFE_SECONDS = 600
"""The API server ends a pod of the test after this time, whatever becomes of the test."""


class TrialError(Exception):
    """The installation cannot be tested; the text says why, and what to do."""


class TrialPod(NamedTuple):
    """A pod of the test: its annotation, and the network of each interface; {}: it is refused."""

    name: str
    value: str
    attachments: Mapping[str, str]


class TrialPlan(NamedTuple):
    """The pods of a test; ``skipped`` is why none of them has two networks, "": one has."""

    pods: list[TrialPod]
    skipped: str


class Attached(NamedTuple):
    """What a pod got; ``problem`` is why that is not what was expected, "": it is."""

    node: str
    addresses: tuple[str, ...]
    problem: str


def plan(nodes: Iterable[Mapping[str, Any]], default: str, *, has_webhook: bool) -> TrialPlan:
    """Return the pods for *nodes* (Node objects) and the network *default*.

    Raises :class:`TrialError` if no pod could be attached.
    """
    if not default:
        raise TrialError("no default network is set: set defaultNetwork, and wait for the nodes")
    available = [networks for node in nodes if default in (networks := _networks(node))]
    if not available:
        raise TrialError(
            f'no schedulable node has the label {keys.network_label(default)}="{READY}": '
            "the Events of the nodes say why"
        )

    pods = [TrialPod("genie-test-default", default, {keys.PRIMARY_INTERFACE: default})]
    others = sorted({name for networks in available for name in networks} - {default})
    reasons = {name: _hindrance(name, default, available) for name in others}
    second = next((name for name in others if not reasons[name]), "")
    if second:
        value = f"{second},{default}@{SECONDARY}"
        attachments = {keys.PRIMARY_INTERFACE: second, SECONDARY: default}
        pods.append(TrialPod(TWO_NETWORKS, value, attachments))
    refused = UNKNOWN_NETWORK if has_webhook else INVALID_VALUE
    pods.append(TrialPod("genie-test-refused", refused, {}))
    return TrialPlan(pods, "" if second else _skipped(default, reasons))


def _hindrance(network: str, default: str, available: Iterable[_Networks]) -> str:
    """Return why *network* is not tested together with *default*; "": every node attaches both."""
    pairs = [(each[default], each[network]) for each in available if network in each]
    return next(filter(None, (_conflict(*pair, default) for pair in pairs)), "")


def _conflict(default_types: Sequence[str], types: Sequence[str], default: str) -> str:
    if not (default_types and types):
        return "its plugins are not known"
    for plugin_type in types:
        if plugin_type in DELEGATING:
            return f'its plugin "{plugin_type}" attaches networks of its own choice'
    for *_, plugin_type in plugin_rules.conflicts([default_types, types]):
        return f'both have the plugin "{plugin_type}", which can attach a pod only once'
    if types == default_types and types[0] != TWICE_IN_ONE_POD:
        return f'it has the same plugins, and may be another name of "{default}"'
    return ""


def _skipped(default: str, reasons: Mapping[str, str]) -> str:
    if not reasons:
        return f'no node has another network besides "{default}"'
    listed = "; ".join(f'"{name}": {reason}' for name, reason in reasons.items())
    return f'no network can be tested together with "{default}": {listed}'


def manifest(pod: TrialPod, image: str, pull_policy: str, secrets: Sequence[str]) -> dict[str, Any]:
    """Return the Pod object of *pod*; it meets the profile "restricted"."""
    container = {
        "name": "wait",
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": ["python", "-c", f"import time; time.sleep({LIFE_SECONDS})"],
        "resources": {
            "requests": {"cpu": "1m", "memory": "16Mi"},
            "limits": {"memory": "64Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod.name,
            "labels": {
                "app.kubernetes.io/part-of": "cni-genie",
                "app.kubernetes.io/component": "test",
            },
            "annotations": {keys.ANNOTATION: pod.value},
        },
        "spec": {
            "containers": [container],
            "imagePullSecrets": [{"name": name} for name in secrets],
            "restartPolicy": "Never",
            "activeDeadlineSeconds": LIFE_SECONDS,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        },
    }


def read(pod: TrialPod, found: Mapping[str, Any]) -> Attached:
    """Return what *pod* got, by the Pod object *found*."""
    status = found.get("status") or {}
    node = (found.get("spec") or {}).get("nodeName") or ""
    addresses = tuple(each["ip"] for each in status.get("podIPs") or ())
    if status.get("phase") != "Running":
        return Attached(node, addresses, f"it is not running yet: {_reason(status)}")

    annotations = found["metadata"].get("annotations") or {}
    entries = json.loads(annotations.get(keys.NETWORK_STATUS) or "[]")
    attachments = {each.get("interface"): each.get("name") for each in entries}
    if not attachments:
        return Attached(node, addresses, f"it has no {keys.NETWORK_STATUS} yet")
    if attachments != dict(pod.attachments):
        return Attached(node, addresses, f"it is attached to {_words(attachments)}")
    return Attached(node, addresses, "")


def _networks(node: Mapping[str, Any]) -> _Networks:
    """Return the networks that a pod can have on *node* now, each with its plugin types."""
    metadata = node["metadata"]
    taints = (node.get("spec") or {}).get("taints") or ()
    if any(taint.get("effect") in {"NoSchedule", "NoExecute"} for taint in taints):
        return {}
    types = plugin_types.decode((metadata.get("annotations") or {}).get(keys.PLUGIN_TYPES) or "")
    return {
        name: types.get(name, ())
        for key, value in (metadata.get("labels") or {}).items()
        if key.startswith(keys.NETWORK_LABEL) and value == READY
        for name in [key.removeprefix(keys.NETWORK_LABEL)]
    }


def _reason(status: Mapping[str, Any]) -> str:
    """Return why a pod does not run, as its status has it."""
    waiting = [
        (each.get("state") or {}).get("waiting") or {}
        for each in status.get("containerStatuses") or ()
    ]
    messages = [
        each.get("message") or each.get("reason")
        for each in (*waiting, *(status.get("conditions") or ()))
    ]
    return next(filter(None, messages), status.get("phase") or "Pending")


def _words(attachments: Mapping[Any, Any]) -> str:
    return ", ".join(f"{network}@{interface}" for interface, network in attachments.items())
