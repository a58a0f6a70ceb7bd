"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler of a cluster."""

from __future__ import annotations

import json
import os
import ssl
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from tests.devcluster.commands import ClusterError
from tests.devcluster.credentials import Credentials, write_kubeconfig
from tests.devcluster.layout import API_PORT, SERVICE_SUBNET, Layout
from tests.devcluster.network import fabric
from tests.devcluster.processes import Daemon

if TYPE_CHECKING:
    from pathlib import Path

_READY_TIMEOUT = 120.0  # seconds for the API server

_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "Metadata",
            "verbs": ["create"],
            "resources": [{"group": "", "resources": ["pods"]}],
        },
        {"level": "Metadata", "users": ["system:serviceaccount:genie-system:genie-agent"]},
        {"level": "Metadata", "resources": [{"group": "k8s.cni.cncf.io"}]},
        {"level": "None"},
    ],
}
"""Log who created which pod, with the annotations of admission and without the object; every
request of an agent of Genie; and who reads NetworkAttachmentDefinitions."""


class ControlPlane:
    """The daemons of the control plane."""

    def __init__(self, layout: Layout, programs: dict[str, Path], api_server: str) -> None:
        self._layout = layout
        self._cancelled = False
        self.credentials = Credentials(layout.control_plane / "pki")
        self.services = {
            name: self._service(name, programs, flags)
            for name, flags in {
                "etcd": self._etcd_flags(),
                "kube-apiserver": self._api_server_flags(),
                "kube-controller-manager": self._controller_manager_flags(),
                "kube-scheduler": self._scheduler_flags(api_server),
            }.items()
        }

    def start_all(self) -> None:
        """Start all daemons; return when the API server is ready."""
        self.start("etcd")
        self.start("kube-apiserver")
        for name in ("kube-controller-manager", "kube-scheduler"):
            self.start(name)

    def cancel_start(self) -> None:
        """Make a start that another thread waits for fail soon."""
        self._cancelled = True

    def start(self, name: str) -> None:
        """Start one daemon; in the case of the API server, wait until it is ready."""
        self.services[name].start()
        if name == "kube-apiserver":
            self.wait_until_ready()

    def stop(self, name: str) -> None:
        """Stop one daemon and wait until it has ended."""
        self.services[name].stop()

    def wait_until_ready(self, patience: float = _READY_TIMEOUT) -> None:
        """Return when the API server reports that it is ready.

        Raises ClusterError when it ends, or is not ready after `patience` seconds.
        """
        deadline = time.monotonic() + patience
        while not self._is_ready():
            for name in ("etcd", "kube-apiserver"):
                self.services[name].check()
            if self._cancelled or time.monotonic() > deadline:
                server = self.services["kube-apiserver"]
                raise ClusterError(
                    f"kube-apiserver is not ready; last lines of {server.log}:\n{server.tail()}"
                )
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        context = ssl.create_default_context(cafile=self.credentials.ca)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # without the machine's proxy
            urllib.request.HTTPSHandler(context=context),
        )
        try:
            with opener.open(f"{self._layout.api_url}/readyz", timeout=5):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def _service(self, name: str, programs: dict[str, Path], flags: list[str]) -> Daemon:
        folder = self._layout.control_plane
        netns = fabric.NETNS_FOLDER / self._layout.netns("cp")
        argv = ["nsenter", f"--net={netns}", "--", os.fspath(programs[name]), *flags]
        return Daemon(
            name=name,
            record=folder / "run" / f"{name}.json",
            log=self._layout.logs / f"{name}.log",
            argv=argv,
            env={"HOME": os.fspath(folder)},
        )

    def _etcd_flags(self) -> list[str]:
        return [
            f"--data-dir={self._layout.control_plane / 'etcd'}",
            "--unsafe-no-fsync",  # the data need not survive a crash
            "--log-level=warn",
        ]

    def _api_server_flags(self) -> list[str]:
        files = self.credentials
        return [
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={self._layout.api_ipv4}",
            f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={SERVICE_SUBNET}",
            f"--client-ca-file={files.ca}",
            f"--tls-cert-file={files.certificate('apiserver')}",
            f"--tls-private-key-file={files.key('apiserver')}",
            f"--token-auth-file={files.tokens}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--enable-aggregator-routing=true",  # webhooks are reached at their pods' addresses
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={files.certificate('kubelet-client')}",
            f"--kubelet-client-key={files.key('kubelet-client')}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files.folder / 'service-accounts.pub'}",
            f"--service-account-signing-key-file={files.key('service-accounts')}",
            f"--audit-policy-file={self._audit_policy}",
            f"--audit-log-path={self._audit_log}",
        ]

    def _controller_manager_flags(self) -> list[str]:
        return [
            *self._client_flags("system:kube-controller-manager"),
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self.credentials.key('service-accounts')}",
            f"--root-ca-file={self.credentials.ca}",
            f"--cluster-signing-cert-file={self.credentials.ca}",
            f"--cluster-signing-key-file={self.credentials.key('ca')}",
        ]

    def _scheduler_flags(self, api_server: str) -> list[str]:
        # A scheduler waits for every resource that it watches; the oldest API server lacks one.
        without = ["--feature-gates=DRADeviceTaintRules=false"] if api_server == "oldest" else []
        return [*self._client_flags("system:kube-scheduler"), *without]

    def _client_flags(self, user: str) -> list[str]:
        kubeconfig = self._kubeconfig(user)
        return [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0"]

    def _kubeconfig(self, user: str) -> Path:
        return self._layout.control_plane / f"{user.removeprefix('system:')}.kubeconfig"

    @property
    def _audit_log(self) -> Path:
        return self._layout.logs / "audit.log"

    def audit_entries(self) -> list[dict[str, Any]]:
        """Return the entries of the API server's audit log so far."""
        complete, _, _ = self._audit_log.read_text().rpartition("\n")
        return [json.loads(line) for line in complete.splitlines()]

    @property
    def _audit_policy(self) -> Path:
        return self._layout.control_plane / "audit.json"

    def write_files(self) -> None:
        """Write the audit policy and the kubeconfigs of the components and the administrator."""
        self._audit_policy.write_text(json.dumps(_AUDIT_POLICY))
        for user in ("system:kube-controller-manager", "system:kube-scheduler"):
            write_kubeconfig(self._kubeconfig(user), self._layout, self.credentials, user)
        write_kubeconfig(self._layout.kubeconfig, self._layout, self.credentials, "admin")
