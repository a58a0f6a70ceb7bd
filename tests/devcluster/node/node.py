"""One node: containerd, kubelet and kube-proxy in a network and a mount namespace of their own.

The mount namespace receives the machine's mounts and gives none back. In it /opt, /run and /var
are the node's alone, /etc is the machine's with the node's changes on top (overlay), and the
programs of the cluster are under /opt/cluster. So hostPath volumes mean this node, and nothing is
ever installed into the machine.
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
_PATIENCE = 30.0  # seconds for containerd to answer
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
    """Make the folder that keeps mount namespaces alive; the kernel wants it on a private mount."""
    folder = layout.mount_namespaces
    folder.mkdir(parents=True)
    run(["mount", "--bind", folder, folder])
    run(["mount", "--make-private", folder])


class Node:
    """A node of a running cluster; `layout` says where its files are."""

    def __init__(self, layout: NodeLayout) -> None:
        self.layout = layout
        self.name = layout.name
        path = f"{_PROGRAMS}/kubernetes:{_PROGRAMS}/containerd:{os.environ['PATH']}"
        # The machine's proxies lead nowhere from here.
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

    # ---- what tests do with a node

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002 - as in commands.run
        check: bool = True,
        timeout: float | None = 120,
    ) -> Command:
        """Run a program as if logged in on the node: in its network and mount namespaces."""
        command = [*self._enter(), *argv]
        return run(command, env=self._env, input=input, check=check, timeout=timeout)

    def ctr(self, *args: str, check: bool = True) -> Command:
        """Run containerd's client, in the namespace that the kubelet uses."""
        return self.run(["ctr", "--namespace=k8s.io", *args], check=check)

    def sandbox(self, *args: str) -> str:
        """Ask the runtime through CRI: "find" NAMESPACE POD, "netns" ID, "stop" ID, "remove" ID."""
        return self.run(["sandbox", *args], timeout=180).stdout.strip()

    def path(self, inside: str) -> Path:
        """Return where the machine sees one of the node's own files; see NodeLayout.path."""
        return self.layout.path(inside)

    def add_service(self, name: str, argv: list[str]) -> None:
        """Let `start` and `stop` know another program of this node."""
        self.services[name] = self._service(name, argv)

    def start(self, service: str) -> None:
        """Start "containerd", "kubelet", "kube-proxy" or an added one, if it does not run."""
        self.services[service].start()
        if service == "containerd":
            self._wait_for_containerd()

    def stop(self, service: str) -> None:
        """End a service and wait until it is gone; pods go on without it."""
        self.services[service].stop()

    def restart(self, service: str) -> None:
        """End a service and start it again."""
        self.stop(service)
        self.start(service)

    def records(self) -> list[str]:
        """Return the container ids of Genie's attachment records on this node."""
        return sorted(file.stem for file in self.path("/var/lib/cni/genie").glob("*.json"))

    def addresses(self, network: str) -> list[str]:
        """Return the addresses that host-local has given out for a network on this node."""
        store = self.path(f"/var/lib/cni/networks/{network}")
        return sorted(p.name for p in store.glob("*") if p.name[0] in "0123456789abcdef:")

    # ---- how a node comes to be

    def create(self, networks: Sequence[str], programs: dict[str, Path]) -> None:
        """Make the node's namespaces, folders and control groups.

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

    def import_image(self, archive: Path) -> None:
        """Load an image archive into containerd, unless it is the one there."""
        imported = self.layout.folder / "imported" / archive.name
        if imported.exists() and imported.read_text() == archive.parent.name:
            return
        opened = ["sh", "-c", 'exec "$@" <"$0"', os.fspath(archive)]  # before the mounts change
        run([*opened, *self._enter(), "ctr", "--namespace=k8s.io", "images", "import", "-"],
            env=self._env)  # fmt: skip
        imported.write_text(archive.parent.name)

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
        own.sort(key=lambda path: f"{folder}/".startswith(f"{path}/"))  # hide our own files last
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
        deadline = time.monotonic() + _PATIENCE
        while self.ctr("version", check=False).returncode != 0:
            self.services["containerd"].check()
            if time.monotonic() > deadline:
                raise ClusterError(f"{self.services['containerd'].name} does not answer")
            time.sleep(0.1)
