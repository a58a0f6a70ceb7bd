"""Compute names, addresses and folders of a cluster from its name, slot and node numbers.

A cluster consists of network namespaces on one bridge, each like a machine:

    cp        the control plane and the bridge, which has one port to the machine itself
    outside   the world outside the cluster: an HTTP server on an address of no pod
    <node>    one per node, with its own mount namespace

Addresses of pods and services never leave these namespaces, so all clusters use the same ones.
Only the link to the machine must be unique: its subnet and name contain the slot (0 to 255).
Nothing in this module touches the machine.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SLOTS = 256
MAX_NODES = 9
SERVICE_SUBNET = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
API_PORT = 6443
OUTSIDE_IPV4 = "203.0.113.1"  # RFC 5737, documentation
OUTSIDE_IPV6 = "2001:db8::1"  # RFC 3849, documentation
OUTSIDE_PORT = 80

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")
_RESERVED_MACHINES = {"cp", "outside", "host"}


def check_name(name: str) -> str:
    """Return a valid name of a cluster or node unchanged; raise ValueError otherwise."""
    if not _NAME.fullmatch(name) or name in _RESERVED_MACHINES:
        raise ValueError(
            f"{name!r} is not a valid name of a cluster or node: use up to 31 characters a-z, 0-9"
            " and '-', start with a letter, and do not use"
            f" {', '.join(sorted(_RESERVED_MACHINES))}"
        )
    return name


def preferred_slot(name: str) -> int:
    """Return the slot that a cluster gets unless another cluster has it."""
    return hashlib.sha256(name.encode()).digest()[0] % SLOTS


def choose_slot(name: str, taken: set[int]) -> int:
    """Return the cluster's slot: the preferred one, or the next free one."""
    first = preferred_slot(name)
    for step in range(SLOTS):
        slot = (first + step) % SLOTS
        if slot not in taken:
            return slot
    raise ValueError(f"all {SLOTS} slots are in use: take a cluster down")


@dataclass(frozen=True, slots=True)
class Layout:
    """Names, addresses and folders of one cluster; `state` contains all its files."""

    name: str
    slot: int
    state: Path

    def netns(self, machine: str) -> str:
        """Return the name of a machine's network namespace, as `ip netns` prints it."""
        return f"{self.name}.{machine}"

    @property
    def netns_prefix(self) -> str:
        """Return the prefix of the names of this cluster's namespaces."""
        return f"{self.name}."

    @property
    def host_link(self) -> str:
        """Return the name of the link to the cluster, in the machine's own namespace."""
        return f"genie{self.slot}"

    @property
    def cgroup(self) -> str:
        """Return the control group above those of all pods of the cluster."""
        return f"/genie-cluster/{self.name}"

    def ipv4(self, number: int) -> str:
        """Return an address on the cluster's bridge, from the range for tests (RFC 2544)."""
        return f"198.18.{self.slot}.{number}"

    def ipv6(self, number: int) -> str:
        """Return an IPv6 address on the cluster's bridge."""
        return f"fd18:0:0:{self.slot:x}::{number:x}"

    @property
    def host_ipv4(self) -> str:
        """Return the machine's own address on the link to the cluster."""
        return self.ipv4(1)

    @property
    def api_ipv4(self) -> str:
        """Return the address of the API server, reachable from the machine."""
        return self.ipv4(2)

    @property
    def api_url(self) -> str:
        """Return the URL of the API server, reachable from the machine."""
        return f"https://{self.api_ipv4}:{API_PORT}"

    @property
    def outside_ipv4(self) -> str:
        """Return the address of the default gateway of all nodes."""
        return self.ipv4(3)

    @property
    def outside_ipv6(self) -> str:
        """Return the IPv6 address of the default gateway of all nodes."""
        return self.ipv6(3)

    def node(self, name: str, number: int) -> NodeLayout:
        """Return the layout of a node; the first has number 1."""
        return NodeLayout(self, name, number)

    @property
    def control_plane(self) -> Path:
        """Return the folder with the files of etcd and of the control plane."""
        return self.state / "control-plane"

    @property
    def mount_namespaces(self) -> Path:
        """Return the folder of the files that keep the nodes' mount namespaces alive."""
        return self.state / "mount-namespaces"

    @property
    def logs(self) -> Path:
        """Return the folder of the logs, which stays after the cluster is taken down."""
        return self.state.with_name(f"{self.name}.logs")

    @property
    def lock(self) -> Path:
        """Return the file that the tool locks while it changes this cluster."""
        return self.state.with_name(f"{self.name}.lock")

    @property
    def bin(self) -> Path:
        """Return the folder that `env` puts on the PATH."""
        return self.state / "bin"

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig."""
        return self.state / "kubeconfig"

    @property
    def kubectl_cache(self) -> Path:
        """Return the folder of kubectl's discovery cache."""
        return self.state / "kubectl-cache"


@dataclass(frozen=True, slots=True)
class NodeLayout:
    """Names, addresses and folders of one node."""

    cluster: Layout
    name: str
    number: int

    @property
    def netns(self) -> str:
        """Return the name of the node's network namespace."""
        return self.cluster.netns(self.name)

    @property
    def ipv4(self) -> str:
        """Return the node's address, its InternalIP."""
        return self.cluster.ipv4(10 + self.number)

    @property
    def ipv6(self) -> str:
        """Return the node's IPv6 address on the cluster's bridge."""
        return self.cluster.ipv6(10 + self.number)

    @property
    def mount_namespace(self) -> Path:
        """Return the file that keeps the node's mount namespace alive."""
        return self.cluster.mount_namespaces / self.name

    @property
    def folder(self) -> Path:
        """Return the machine's path of the folder with the node's own files."""
        return self.cluster.state / "nodes" / self.name

    @property
    def cgroup(self) -> str:
        """Return the kubelet's cgroupRoot."""
        return f"{self.cluster.cgroup}/{self.name}"

    def path(self, inside: str) -> Path:
        """Return the machine's path of a file that has the path `inside` on the node.

        Raises ValueError for a path outside OWN_FOLDERS, where the node sees the machine's files.
        """
        if not inside.startswith(tuple(f"{folder}/" for folder in OWN_FOLDERS)):
            raise ValueError(
                f"{inside} is the machine's: a node has own files only in {', '.join(OWN_FOLDERS)}"
            )
        return self.folder / inside.removeprefix("/")


OWN_FOLDERS = ("/etc/cni", "/etc/kubernetes", "/etc/containerd", "/opt", "/run", "/var")
"""Folders of which each node has its own; the machine's content is not visible there."""
