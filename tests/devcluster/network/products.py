"""Install flannel, kube-router and whereabouts on a running cluster.

Their programs run on the nodes like the kubelet. Roles, accounts, resource definitions and
configurations are those that each project publishes with its module; only the DaemonSets are
omitted, since no registry is used for their images.

    name                what attaches a pod       its address is from       between the nodes
    flannel             bridge cni0               host-local, podCIDR       flanneld, vxlan
    kuberouter          bridge kube-bridge        host-local, annotation    kube-router, BGP
    whereabouts-bridge  bridge wb0                whereabouts, IPPool       one Ethernet, vxlan

Flannel's own CNI plugin is not available as a module. It reads subnet.env and calls bridge and
host-local; the configuration written here contains the arguments that it would pass. kube-router
runs without its service proxy (IPVS) and without its overlay (IPIP): kube-proxy serves Services,
and the nodes share one Ethernet.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING, Any

import yaml

from tests.devcluster.build import gobuild
from tests.devcluster.commands import run, step
from tests.devcluster.credentials import write_kubeconfig
from tests.devcluster.layout import SERVICE_SUBNET
from tests.devcluster.network import fabric

if TYPE_CHECKING:
    from pathlib import Path

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

_SETS = (gobuild.FLANNEL, gobuild.WHEREABOUTS, gobuild.KUBE_ROUTER)
_TIMEOUT = 120.0  # seconds for each daemon; BGP sessions take longest
_PROGRAMS = "/opt/cluster"
_CONFS = "/etc/cni/net.d"
_KUBECONFIGS = {
    "flannel": "/etc/kubernetes/flannel.kubeconfig",
    "kube-router": "/etc/kubernetes/kube-router.kubeconfig",
    "whereabouts": f"{_CONFS}/whereabouts.d/whereabouts.kubeconfig",
}
_ACCOUNTS = {
    "flannel": "kube-flannel",
    "kube-router": "kube-system",
    "whereabouts": "kube-system",
}
"""The service accounts in the published manifests, and their namespaces."""


@dataclass(frozen=True, slots=True)
class Product:
    """One network on a node; `{node}` in a subnet stands for the node's number."""

    network: str
    file: str
    bridge: str
    subnet: str

    def subnet_on(self, node: int) -> str:
        """Return the range of the addresses of pods on a node."""
        return self.subnet.format(node=node)


FLANNEL = Product("flannel", "10-flannel.conflist", "cni0", "10.50.{node}.0/24")
KUBE_ROUTER = Product("kuberouter", "10-kuberouter.conflist", "kube-bridge", "10.51.{node}.0/24")
WHEREABOUTS = Product("whereabouts-bridge", "30-whereabouts-bridge.conflist", "wb0", "10.52.0.0/24")
PRODUCTS = {product.network: product for product in (FLANNEL, KUBE_ROUTER, WHEREABOUTS)}
FLANNEL_NETWORK = "10.50.0.0/16"


def install_products(cluster: Cluster) -> None:
    """Install the networks on every node and wait until they work; repeat it safely.

    Raises ClusterError when a daemon ends or is not ready in time.
    """
    programs = {programs.name: gobuild.build(programs) for programs in _SETS}
    with step(f"cluster {cluster.name}: installing {', '.join(PRODUCTS)}"):
        published = {name: _published(folder) for name, folder in programs.items()}
        for objects in published.values():
            _apply(cluster, objects)
        for node in cluster.nodes.values():
            _assign_ranges(cluster, node)
            _log_in(cluster, node)
            _start_flanneld(node, programs["flannel"], published["flannel"])
            _start_kube_router(node, programs["kube-router"], published["kube-router"])
            _install_whereabouts(node, programs["whereabouts"], _others(cluster, node))
        for node in cluster.nodes.values():
            _finish_flannel(cluster, node, published["flannel"])
            _finish_kube_router(cluster, node)
        _route_from_control_plane(cluster)


def flannel_conflist(published: dict[str, Any], subnet_env: str) -> dict[str, Any]:
    """Return the configuration that flannel's plugin would create from subnet.env."""
    env = dict(line.split("=", 1) for line in subnet_env.splitlines())
    plugin, *others = published["plugins"]
    bridge = {
        "type": "bridge",
        "bridge": FLANNEL.bridge,
        **plugin["delegate"],
        "ipMasq": False,  # flanneld masquerades
        "mtu": int(env["FLANNEL_MTU"]),
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(IPv4Interface(env["FLANNEL_SUBNET"]).network)}]],
            "routes": [{"dst": env["FLANNEL_NETWORK"]}],
        },
    }
    return {**published, "plugins": [bridge, *others]}


def whereabouts_conflist(node: int) -> dict[str, Any]:
    """Return the configuration of one Ethernet across all nodes, with a gateway on each."""
    bridge = {
        "type": "bridge",
        "bridge": WHEREABOUTS.bridge,
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "mtu": 1450,  # 1500 minus the header of vxlan
        "ipam": {
            "type": "whereabouts",
            "range": WHEREABOUTS.subnet,
            "exclude": ["10.52.0.0/28"],  # the gateways
            "gateway": f"10.52.0.{node}",
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    return {"cniVersion": "1.0.0", "name": WHEREABOUTS.network, "plugins": [bridge, portmap]}


# ---- published manifests


def _published(folder: Path) -> list[dict[str, Any]]:
    files = sorted(file for file in folder.iterdir() if file.suffix in {".yaml", ".yml"})
    return [each for file in files for each in yaml.safe_load_all(file.read_text()) if each]


def _apply(cluster: Cluster, objects: list[dict[str, Any]]) -> None:
    items = [each for each in objects if each["kind"] != "DaemonSet"]
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": items})


def _configuration(objects: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """Return a published configuration: the JSON text at `key` of a ConfigMap."""
    [text] = [each["data"][key] for each in objects if key in each.get("data", {})]
    content: dict[str, Any] = json.loads(text)
    return content


# ---- on the nodes


def _others(cluster: Cluster, node: Node) -> list[Node]:
    return [other for other in cluster.nodes.values() if other is not node]


def _assign_ranges(cluster: Cluster, node: Node) -> None:
    """Give the node its podCIDR, for flannel, and another range, for kube-router.

    Both projects use the podCIDR by default, and would allocate the same addresses.
    """
    number = node.layout.number
    subnet = FLANNEL.subnet_on(number)
    range_of_kube_router = f"kube-router.io/pod-cidrs={KUBE_ROUTER.subnet_on(number)}"
    patch = {"spec": {"podCIDR": subnet, "podCIDRs": [subnet]}}
    cluster.kubectl("patch", "node", node.name, "-p", json.dumps(patch))
    cluster.kubectl("annotate", "node", node.name, "--overwrite", range_of_kube_router)


def _log_in(cluster: Cluster, node: Node) -> None:
    for account, namespace in _ACCOUNTS.items():
        token = cluster.kubectl("create", "token", account, "-n", namespace, "--duration=12h")
        path = node.path(_KUBECONFIGS[account])
        credentials = cluster.control_plane.credentials
        write_kubeconfig(path, cluster.layout, credentials, account, token.stdout.strip())


def _copy_program(program: Path, folder: Path) -> None:
    new = folder / f".{program.name}"
    shutil.copy2(program, new)
    new.rename(folder / program.name)  # not overwritten: the old one may be running


def _write(node: Node, path: str, content: dict[str, Any]) -> None:
    file = node.path(path)
    new = file.with_name(f".{file.name}")  # renamed, since programs watch the folder
    new.write_text(json.dumps(content, indent=2) + "\n")
    new.rename(file)


def _start_flanneld(node: Node, programs: Path, objects: list[dict[str, Any]]) -> None:
    _copy_program(programs / "flanneld", node.path(_PROGRAMS))
    # nftables works with and without br_netfilter in the kernel; flannel's iptables does not.
    overrides = {"Network": FLANNEL_NETWORK, "EnableNFTables": True}
    net_conf = "/etc/kubernetes/flannel.json"
    _write(node, net_conf, {**_configuration(objects, "net-conf.json"), **overrides})
    flags = {
        "node": node.name,
        "kubeconfig": _KUBECONFIGS["flannel"],
        "net-conf": net_conf,
        "public-ip": node.layout.ipv4,
    }
    argv = [f"{_PROGRAMS}/flanneld", *(f"-{name}={value}" for name, value in flags.items())]
    node.add_service("flanneld", argv)
    node.start("flanneld")


def _start_kube_router(node: Node, programs: Path, objects: list[dict[str, Any]]) -> None:
    _copy_program(programs / "kube-router", node.path(_PROGRAMS))
    conflist = f"{_CONFS}/{KUBE_ROUTER.file}"
    if not node.path(conflist).exists():  # kube-router modifies it
        _write(node, conflist, _configuration(objects, "cni-conf.json"))
    flags = [
        "--run-router=true",
        "--run-firewall=true",
        "--run-service-proxy=false",
        "--enable-overlay=false",
        f"--service-cluster-ip-range={SERVICE_SUBNET}",
        f"--hostname-override={node.name}",
        f"--kubeconfig={_KUBECONFIGS['kube-router']}",
    ]
    variable = f"KUBE_ROUTER_CNI_CONF_FILE={conflist}"
    node.add_service("kube-router", ["env", variable, f"{_PROGRAMS}/kube-router", *flags])
    node.start("kube-router")


def _install_whereabouts(node: Node, programs: Path, others: list[Node]) -> None:
    _copy_program(programs / "whereabouts", node.path("/opt/cni/bin"))
    if node.run(["ip", "link", "show", WHEREABOUTS.bridge], check=False).returncode != 0:
        uplink = "wb-uplink"
        vxlan = f"type vxlan id 52 dstport 4789 local {node.layout.ipv4} dev eth0"
        commands = [
            f"link add {WHEREABOUTS.bridge} type bridge",
            f"link set {WHEREABOUTS.bridge} up",
            f"link add {uplink} master {WHEREABOUTS.bridge} {vxlan}",
            f"link set {uplink} up",
        ]
        node.run(["ip", "-batch", "-"], input="\n".join(commands) + "\n")
        for other in others:
            flood = ["00:00:00:00:00:00", "dev", uplink, "dst", other.layout.ipv4]
            node.run(["bridge", "fdb", "append", *flood])
    settings = {"kubernetes": {"kubeconfig": _KUBECONFIGS["whereabouts"]}}
    _write(node, f"{_CONFS}/whereabouts.d/whereabouts.conf", settings)
    _write(node, f"{_CONFS}/{WHEREABOUTS.file}", whereabouts_conflist(node.layout.number))


def _finish_flannel(cluster: Cluster, node: Node, objects: list[dict[str, Any]]) -> None:
    subnet_env = node.path("/run/flannel/subnet.env")
    _wait_for(cluster, node, "flanneld", subnet_env.exists, "to write subnet.env")
    published = _configuration(objects, "cni-conf.json")
    _write(node, f"{_CONFS}/{FLANNEL.file}", flannel_conflist(published, subnet_env.read_text()))
    _wait_for_routes(cluster, node, "flanneld", FLANNEL)


def _finish_kube_router(cluster: Cluster, node: Node) -> None:
    conflist = node.path(f"{_CONFS}/{KUBE_ROUTER.file}")
    subnet = KUBE_ROUTER.subnet_on(node.layout.number)
    has_subnet = lambda: subnet in conflist.read_text()  # noqa: E731 - shorter than a function
    _wait_for(cluster, node, "kube-router", has_subnet, "to write the node's range")
    _wait_for_routes(cluster, node, "kube-router", KUBE_ROUTER)


def _wait_for_routes(cluster: Cluster, node: Node, service: str, product: Product) -> None:
    for other in _others(cluster, node):
        subnet = product.subnet_on(other.layout.number)
        routes = functools.partial(node.run, ["ip", "route", "show", subnet])
        has_route = lambda routes=routes: routes().stdout.strip()  # noqa: E731 - shorter than a function
        _wait_for(cluster, node, service, has_route, f"to route {subnet}")


def _wait_for(cluster: Cluster, node: Node, service: str, condition: Any, what: str) -> None:
    def condition_while_running() -> object:
        node.services[service].check()
        return condition()

    cluster.wait_for(condition_while_running, _TIMEOUT, f"{node.name}'s {service} {what}")


def _route_from_control_plane(cluster: Cluster) -> None:
    """Let the API server, which runs on no node, reach webhooks on these networks."""
    netns = os.fspath(fabric.NETNS_FOLDER / cluster.layout.netns("cp"))
    for node in cluster.nodes.values():
        for product in (FLANNEL, KUBE_ROUTER):
            route = [product.subnet_on(node.layout.number), "via", node.layout.ipv4]
            run(["nsenter", f"--net={netns}", "--", "ip", "route", "replace", *route])
