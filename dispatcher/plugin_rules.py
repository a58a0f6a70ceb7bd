"""What known CNI plugins cannot do: one table, and the conflicts of a plan.

A plan is the list of a pod's networks, each with the plugin types of its chain. :func:`conflicts`
compares it with the tables and returns what can never work. :func:`conflict_fault` words a conflict
for webhook, plugin and command line.

Rules of this file: pure. It imports only the grammar, because the plugin loads it for pods with two
networks or more. Each entry names a source in which the limit can be seen, and
``docs/networks.md`` has the same table.
"""

from __future__ import annotations

from dispatcher.annotation import INVALID, Fault, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Conflict = tuple[int, int, str]
    """Positions of two items, counted from 1, and the plugin type that cannot serve both."""


class PluginRule:
    """A limit of one plugin: ``reason`` for operators, ``source`` for maintainers."""

    __slots__ = ("reason", "source")

    def __init__(self, reason: str, source: str) -> None:
        self.reason = reason
        self.source = source


ONCE_PER_POD = {
    "flannel": PluginRule(
        "it remembers one attachment per container, so the address of the other is never released",
        "flannel-io/cni-plugin, flannel.go: /var/lib/cni/flannel/<container ID>",
    ),
    "calico": PluginRule(
        "it names the host side of the link after the pod, so the second attachment deletes the "
        "first interface",
        "projectcalico/calico, cni-plugin/pkg/dataplane/linux/dataplane_linux.go: DoNetworking",
    ),
    "weave-net": PluginRule(
        "it names the host side of the link after the container, so the second attachment fails",
        "weaveworks/weave, net/veth.go: AttachContainer",
    ),
    "cilium-cni": PluginRule(
        "its DEL for one interface deletes the endpoints of all interfaces of the container",
        "cilium/cilium, plugins/cilium-cni/cmd/cmd.go: Del",
    ),
}
"""Plugin types that can attach a pod only once. A plan with such a type twice is refused."""

PRIMARY_ONLY = {
    "calico": PluginRule(
        "Calico's agent on the node sends packets only to the pod's own address, that of eth0",
        "projectcalico/calico, libcalico-go/lib/backend/k8s/conversion/"
        "workload_endpoint_default.go: PodToWorkloadEndpoints",
    ),
}
"""Plugin types that are unreachable as a secondary. Such a plan gets a warning."""

LIMITED = frozenset(ONCE_PER_POD) | frozenset(PRIMARY_ONLY)
"""Every plugin type in the tables."""


def conflicts(plan: Sequence[Iterable[str]]) -> list[Conflict]:
    """Return the conflicts of *plan*: for each item, the plugin types of its chain.

    An item conflicts with the first one of the same plugin type, whatever the networks' names.
    """
    first: dict[str, int] = {}
    result = []
    for position, plugin_types in enumerate(plan, 1):
        for plugin_type in sorted(ONCE_PER_POD.keys() & set(plugin_types)):
            if plugin_type in first:
                result.append((first[plugin_type], position, plugin_type))
            else:
                first[plugin_type] = position
    return result


def conflict_fault(conflict: Conflict, networks: Sequence[str]) -> Fault:
    """Return *conflict* as a fault of the annotation that lists *networks*."""
    first, second, plugin_type = conflict
    other, network = networks[first - 1], networks[second - 1]
    once = f"can attach a pod only once: {ONCE_PER_POD[plugin_type].reason}"
    if other == network:
        words = f"item {first} is the same network, and its plugin {quote(plugin_type)} {once}"
        return Fault(INVALID, second, network, f"{words}; list the network once")
    words = f"item {first} ({quote(other)}) uses the same plugin {quote(plugin_type)}, which {once}"
    return Fault(INVALID, second, network, f"{words}; choose one of the two networks")


def conflict_summary(conflict: Conflict, networks: Sequence[str]) -> str:
    """Return *conflict* in a short form, for a warning."""
    first, second, plugin_type = conflict
    other, network = networks[first - 1], networks[second - 1]
    which, fix = f"{quote(other)}, {quote(network)}", "choose one"
    if other == network:
        which, fix = f"{quote(network)} listed twice", "list it once"
    return f"{which}: plugin {quote(plugin_type)} can attach a pod only once; {fix}"


def primary_only_warning(network: str, plugin_type: str) -> str:
    """Return the warning for *network*, whose *plugin_type* works only as the primary."""
    return (
        f"{quote(network)} works only as the primary (on eth0): "
        f"plugin {quote(plugin_type)} leaves other interfaces unreachable"
    )
