"""One node: containerd, kubelet and kube-proxy in their own network and mount namespaces.

The mount namespace receives the machine's mounts and propagates none back. In it, /opt, /run and
/var belong to the node, /etc is an overlay on the machine's, and the cluster's programs are in
/opt/cluster. So a hostPath volume is a folder of this node; nothing is installed on the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from tests.devcluster.commands import ClusterError, run
from tests.devcluster.credentials import write_kubeconfig
from tests.devcluster.network import fabric
from tests.devcluster.network.networks import NETWORKS
from tests.devcluster.node import cgroups, nodeconfig
from tests.devcluster.processes import Daemon

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.devcluster.credentials import Credentials
    from tests.devcluster.layout import Layout, NodeLayout

_PROGRAMS = "/opt/cluster"
_CONTAINERD_TIMEOUT = 120.0  # seconds until it answers
_PRIVATE = ("etc/cni", "etc/kubernetes", "etc/containerd")
_FOLDERS = (
    *("etc/cni/net.d", "etc/kubernetes/manifests", "etc/containerd", "etc-upper", "etc-work"),
    *("opt/cni/bin", "opt/cluster/kubernetes", "opt/cluster/containerd"),
    *("run/netns", "run/lock"),
    *("var/lib/cni", "var/lib/kubelet", "var/lib/containerd", "var/log/pods", "var/log/containers"),
    *("var/tmp", "var/cache", "imported"),
)
Command = subprocess.CompletedProcess[str]


def prepare_mount_namespaces(layout: Layout) -> None:
    """Create the folder that keeps mount namespaces alive; it must be a private mount."""
    folder = layout.mount_namespaces
    folder.mkdir(parents=True)
    run(["mount", "--bind", folder, folder])
    run(["mount", "--make-private", folder])


class Node:
    """A node of a running cluster."""

    def __init__(self, layout: NodeLayout) -> None:
        self.layout = layout
        self.name = layout.name
        path = f"{_PROGRAMS}/kubernetes:{_PROGRAMS}/containerd:{os.environ['PATH']}"
        # The machine's proxies are not reachable from here.
        self._env = {"PATH": path, "HOME": "/root", "NO_PROXY": "*", "no_proxy": "*"}
        kubelet = [
            "kubelet",
            "--config=/var/lib/kubelet/config.json",
            "--kubeconfig=/etc/kubernetes/kubelet.kubeconfig",
            f"--hostname-override={self.name}",
            f"--node-ip={layout.ipv4}",
        ]
        proxy = nodeconfig.kube_proxy_flags(layout, "/etc/kubernetes/kube-proxy.kubeconfig")
        self.services = {
            "containerd": self._service("containerd", ["containerd"]),
            "kubelet": self._service("kubelet", kubelet),
            "kube-proxy": self._service("kube-proxy", ["kube-proxy", *proxy]),
        }

    # ---- for tests

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002 - as in commands.run
        check: bool = True,
        timeout: float | None = 120,
    ) -> Command:
        """Run a program on the node, in its network and mount namespaces."""
        command = [*self._enter(), *argv]
        return run(command, env=self._env, input=input, check=check, timeout=timeout)

    def ctr(self, *args: str, check: bool = True) -> Command:
        """Run containerd's client in the kubelet's namespace."""
        return self.run(["ctr", "--namespace=k8s.io", *args], check=check)

    def sandbox(self, *args: str) -> str:
        """Call the runtime by CRI: "find" NAMESPACE POD, "netns" ID, "stop" ID, "remove" ID."""
        return self.run(["sandbox", *args], timeout=180).stdout.strip()

    def path(self, inside: str) -> Path:
        """Return the machine's path of one of the node's own files; see NodeLayout.path."""
        return self.layout.path(inside)

    def add_service(self, name: str, argv: list[str]) -> None:
        """Add a daemon to the node, for `start`, `stop` and `restart`."""
        self.services[name] = self._service(name, argv)

    def start(self, service: str) -> None:
        """Start "containerd", "kubelet", "kube-proxy" or an added daemon, unless it runs."""
        self.services[service].start()
        if service == "containerd":
            self._wait_for_containerd()

    def stop(self, service: str) -> None:
        """Stop a daemon and wait until it has ended; pods keep running."""
        self.services[service].stop()

    def restart(self, service: str) -> None:
        """Stop a daemon and start it again."""
        self.stop(service)
        self.start(service)

    def records(self) -> list[str]:
        """Return the container ids of Genie's records on this node."""
        return sorted(file.stem for file in self.path("/var/lib/cni/genie").glob("*.json"))

    def addresses(self, network: str) -> list[str]:
        """Return the addresses that host-local has allocated for a network on this node."""
        store = self.path(f"/var/lib/cni/networks/{network}")
        return sorted(p.name for p in store.glob("*") if p.name[0] in "0123456789abcdef:")

    # ---- creation

    def create(self, networks: Sequence[str], programs: dict[str, Path]) -> None:
        """Create the node's namespaces, folders and control groups.

        `programs` are the folders of the sets "kubernetes", "containerd" and "cni-plugins".
        """
        for folder in _FOLDERS:
            (self.layout.folder / folder).mkdir(parents=True)
        (self.layout.folder / "var/run").symlink_to("../run")
        (self.layout.folder / "var/lock").symlink_to("../run/lock")
        for program in programs["cni-plugins"].iterdir():
            shutil.copy2(program, self.path(nodeconfig.CNI_BIN_DIR))
        self._write_configuration(networks)
        cgroups.create(self.layout.cgroup)
        fabric.create_node(self.layout)
        self._create_mount_namespace(programs)

    def log_in(self, credentials: Credentials) -> None:
        """Give the kubelet and kube-proxy what they need to talk to the API server."""
        shutil.copy2(credentials.ca, self.path(nodeconfig.CLIENT_CA))
        users = {"kubelet": f"system:node:{self.name}", "kube-proxy": "system:kube-proxy"}
        for service, user in users.items():
            file = self.path(f"/etc/kubernetes/{service}.kubeconfig")
            write_kubeconfig(file, self.layout.cluster, credentials, user)

    def import_image(self, archive: Path, reference: str = "") -> None:
        """Import an image archive into containerd, unless it is the last one imported as such.

        `reference` tells images apart whose archives have the same file name.
        """
        marker = self.layout.folder / "imported" / (reference or archive.name).replace("/", "_")
        if marker.exists() and marker.read_text() == archive.parent.name:
            return
        # The shell opens the archive before nsenter changes the mounts.
        opened = ["sh", "-c", 'exec "$@" <"$0"', os.fspath(archive)]
        run([*opened, *self._enter(), "ctr", "--namespace=k8s.io", "images", "import", "-"],
            env=self._env)  # fmt: skip
        marker.write_text(archive.parent.name)

    def _enter(self) -> list[str]:
        netns = fabric.NETNS_FOLDER / self.layout.netns
        return ["nsenter", f"--net={netns}", f"--mount={self.layout.mount_namespace}", "--"]

    def _service(self, name: str, argv: list[str]) -> Daemon:
        return Daemon(
            name=f"{self.name}'s {name}",
            record=self.layout.folder / f"{name}.pid.json",
            log=self.layout.cluster.logs / f"{self.name}.{name}.log",
            argv=[*self._enter(), *argv],
            env=self._env,
        )

    def _write_configuration(self, networks: Sequence[str]) -> None:
        for name in networks:
            network = NETWORKS[name]
            file = self.path(f"{nodeconfig.CNI_CONF_DIR}/{network.file}")
            file.write_text(json.dumps(network.conflist(self.layout.number), indent=2) + "\n")
        runc = shutil.which("runc") or "runc"
        config = self.path("/etc/containerd/config.toml")
        config.write_text(nodeconfig.containerd_config(runc))
        kubelet = json.dumps(nodeconfig.kubelet_config(self.layout), indent=2)
        self.path("/var/lib/kubelet/config.json").write_text(kubelet)
        self.path(nodeconfig.RESOLV_CONF).write_text(nodeconfig.NAME_SERVER)

    def _create_mount_namespace(self, programs: dict[str, Path]) -> None:
        folder = self.layout.folder
        layers = f"lowerdir=/etc,upperdir={folder}/etc-upper,workdir={folder}/etc-work"
        own = ["/opt", "/run", "/var"]
        # Last the folder in which the node's own files are: its mount hides them.
        own.sort(key=lambda path: f"{folder}/".startswith(f"{path}/"))
        script = [
            "mount --make-rshared /",  # for mountPropagation in pods; the machine sees nothing
            f"mount -t overlay -o '{layers}' overlay /etc",
            *(f"mkdir -p /{path} && mount --bind '{folder}/{path}' /{path}" for path in _PRIVATE),
            *(
                f"mount --bind '{programs[name]}' '{folder}{_PROGRAMS}/{name}'"
                for name in ("kubernetes", "containerd")
            ),
            *(f"mount --rbind '{folder}{path}' {path}" for path in own),
        ]
        self.layout.mount_namespace.touch()
        unshare = ["unshare", f"--mount={self.layout.mount_namespace}", "--propagation=slave"]
        run([*unshare, "sh", "-eu"], input="\n".join(script))

    def _wait_for_containerd(self) -> None:
        deadline = time.monotonic() + _CONTAINERD_TIMEOUT
        while self.ctr("version", check=False).returncode != 0:
            self.services["containerd"].check()
            if time.monotonic() > deadline:
                containerd = self.services["containerd"]
                raise ClusterError(
                    f"{containerd.name} does not answer after {_CONTAINERD_TIMEOUT:.0f} s;"
                    f" last lines of {containerd.log}:\n{containerd.tail()}"
                )
            time.sleep(0.1)
