"""Read a pod's interfaces and routes from inside its network namespace and from its node.

Tests and demo use this: nothing is taken from Genie's own reports.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.devcluster.cluster import Cluster


@dataclass(frozen=True)
class Interface:
    """One interface of a pod: its name, its bridge on the node, its global addresses."""

    name: str
    bridge: str
    addresses: tuple[str, ...]


def interfaces(cluster: Cluster, pod: str, namespace: str) -> dict[str, Interface]:
    """Return the pod's interfaces by name, without the loopback."""
    inside = json.loads(_in_pod(cluster, pod, namespace, "ip", "-j", "address"))
    links = cluster.node_of(pod, namespace).run(["ip", "-j", "link"]).stdout
    outside = {link["ifindex"]: link for link in json.loads(links)}
    return {
        link["ifname"]: Interface(
            link["ifname"],
            str(outside.get(link.get("link_index"), {}).get("master", "none")),
            tuple(a["local"] for a in link["addr_info"] if a["scope"] == "global"),
        )
        for link in inside
        if link["ifname"] != "lo"
    }


def default_routes(cluster: Cluster, pod: str, namespace: str) -> list[tuple[str, str]]:
    """Return the pod's default routes as (family, interface), in the kernel's order."""
    families = ("-4", "-6")
    script = "\n".join(f"ip -j {family} route show default; echo" for family in families)
    output = _in_pod(cluster, pod, namespace, "sh", "-ec", script)
    tables: list[list[dict[str, Any]]] = [json.loads(line) for line in output.split("\n") if line]
    return [
        (family, route["dev"])
        for family, table in zip(families, tables, strict=True)
        for route in table
    ]


def http_status(cluster: Cluster, pod: str, namespace: str, address: str) -> str:
    """Fetch ``http://ADDRESS/`` from inside the pod; return the status code, "000" without one."""
    host = f"[{address}]" if ":" in address else address
    argv = ("curl", "-s", "-o", "/dev/null", "-m", "5", "-w", "%{http_code}", f"http://{host}/")
    return cluster.in_pod(pod, argv, namespace=namespace, check=False).stdout.strip()


def _in_pod(cluster: Cluster, pod: str, namespace: str, *argv: str) -> str:
    return cluster.in_pod(pod, argv, namespace=namespace).stdout
