"""Nodes, pods and agents' pods as the API server lists them, and a cluster that answers modes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dispatcher import keys
from dispatcher.kube.removal_report import RemovalReport
from lifecycle.situation import NodeSituation, PodNetworks
from lifecycle.uninstall import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

INSTALLED = RemovalReport("install", ("canal",))


def situation(name: str = "n1", *pods: tuple[str, ...], **changes: Any) -> NodeSituation:
    """Return a node in order; each of *pods* is a pod's name and its networks."""
    node = NodeSituation(
        name,
        is_ready=True,
        has_agent=True,
        is_marked=True,
        report=INSTALLED,
        pods=tuple(PodNetworks(pod, tuple(networks)) for pod, *networks in pods),
    )
    return node._replace(**changes)


def node(name: str, removal: str = "mode=install;next=canal", *, ready: str = "True") -> Any:
    """Return a Node with a label and an annotation of Genie's; "" for *removal*: without both."""
    metadata: dict[str, Any] = {"name": name}
    if removal:
        metadata["labels"] = {keys.network_label("canal"): "true", "other": "x"}
        metadata["annotations"] = {keys.REMOVAL: removal}
    return {
        "kind": "Node",
        "metadata": metadata,
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def pod(
    name: str, *attached: str, cni: str | None = None, phase: str = "Running", **spec: Any
) -> Any:
    """Return a pod in the namespace shop on n1 that is attached to networks."""
    annotations = {} if cni is None else {keys.ANNOTATION: cni}
    if attached:
        annotations[keys.NETWORK_STATUS] = json.dumps([{"name": each} for each in attached])
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
        "spec": {"nodeName": "n1", **spec},
        "status": {"phase": phase},
    }


def agent(node_name: str, phase: str = "Running") -> Any:
    """Return the agent's pod of a node."""
    labels = {"app.kubernetes.io/name": "genie-agent"}
    return {
        "kind": "Pod",
        "metadata": {"name": f"a-{node_name}", "namespace": "genie-system", "labels": labels},
        "spec": {"nodeName": node_name, "hostNetwork": True},
        "status": {"phase": phase},
    }


class SimulatedCluster:
    """A cluster whose nodes answer a mode as *answer(mode, seconds, nodes)* says; time is *now*.

    A stand-in, to inject nodes that fail at each step; the real steps are tested in tests/cluster.
    """

    def __init__(
        self,
        nodes: list[NodeSituation],
        answer: Callable[[str, float, list[NodeSituation]], list[NodeSituation]],
        mode: str = "install",
    ) -> None:
        self.before = nodes
        self.answer = answer
        self.current: Settings | None = Settings(mode, mode)
        self.modes: list[str] = []
        self.now = 0.0
        self.changed_at = 0.0
        self.on_read: Callable[[], None] = lambda: None
        self.calls = 0
        self.on_call: Callable[[str], None] = lambda _name: None

    def settings(self) -> Settings | None:
        """Return the modes."""
        self._count("settings")
        return self.current

    def nodes(self) -> list[NodeSituation]:
        """Return the nodes as the mode in force makes them."""
        self._count("nodes")
        self.on_read()
        if not self.modes:
            return self.before
        return self.answer(self.modes[-1], self.now - self.changed_at, self.before)

    def set_mode(self, mode: str, original: str) -> None:
        """Remember the modes that were set."""
        self._count("set_mode")
        self.modes.append(mode)
        self.current = Settings(mode, original)
        self.changed_at = self.now

    def _count(self, name: str) -> None:
        self.calls += 1
        self.on_call(name)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def obedient(mode: str, seconds: float, nodes: list[NodeSituation]) -> list[NodeSituation]:
    """Return *nodes* that apply a mode after 30 s, and lose all marks 90 s after a removal."""
    if seconds < 30:
        return nodes
    if mode.startswith("remove") and seconds >= 120:
        return [each._replace(is_marked=False, report=None) for each in nodes]
    return [each._replace(report=RemovalReport(mode, ("canal",))) for each in nodes]
