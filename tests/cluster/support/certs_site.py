"""For tests of certificates: replicas as processes, and a client that verifies strictly.

The cluster has no nodes; everything else is what manifests/ install. The replicas log in as the
webhook's ServiceAccount, with its rights only, and have shortened times.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from certs.selfcheck import connect
from certs.settings import CertificateSettings
from certs.webhook_configs import API, KINDS
from dispatcher.kube.client import KubeError
from tests.cluster.support.admission import NAME, NAMESPACE, api
from tests.cluster.support.outside_webhook import ending_with_this, webhook_kubeconfig
from tests.devcluster.build.imagebuild import PROJECT
from tests.ports import free_port
from tests.workers import Workers

if TYPE_CHECKING:
    import threading

    from dispatcher.kube.client import Kube
    from tests.devcluster.cluster import Cluster

TIMES = {
    "ca_lifetime": 900,
    "leaf_lifetime": 18,  # a third is left when it is renewed: a replica may be starved meanwhile
    "propagation": 4,
    "retire_margin": 2,
    "resync": 3,
    "self_check": 1,
    "restore_grace": 3,
}
SHORTENED = {f"GENIE_CERTS_{name.upper()}": str(value) for name, value in TIMES.items()}
LAG = 3.0
"""The strict client trusts the bundles of so many seconds ago, as an API server that lags does."""

SOME = 20
"""Handshakes of the strict client that a test waits for: some with each replica."""

WITHOUT_PODS: list[dict[str, Any]] = [
    {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": spec,
    }
    for version, kind, spec in (
        ("v1", "Service", {"selector": {"$patch": "replace"}}),
        ("apps/v1", "Deployment", {"replicas": 0}),
    )
]
"""Patches of the manifests: the tests write the EndpointSlices, and the Deployment has no pod."""

DNS_NAME = CertificateSettings().dns_name


class ReplicaProcess:
    """One replica of the webhook, as a process on this machine."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster = cluster
        self.number = number
        self.port, self.probes = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.log = cluster.layout.state / f"replica-{number}.log"

    def start(self) -> None:
        """Start the process; do not wait until it is ready."""
        environment = {
            **os.environ,
            **self.cluster.environment,
            **SHORTENED,
            "KUBECONFIG": os.fspath(self.cluster.layout.state / "webhook.kubeconfig"),
            "GENIE_PORT": str(self.port),
            "GENIE_PROBE_PORT": str(self.probes),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ending_with_this([sys.executable, "-m", "tests.cluster.support.certs_replica"]),
                env=environment,
                stderr=log,
                cwd=PROJECT,
            )

    def wait_ready(self) -> None:
        """Return when its readiness probe succeeds."""
        self.cluster.wait_for(self._is_ready, 120, f"replica {self.number} to be ready")

    def kill(self) -> None:
        """Kill the process, as a node that loses power does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)
            self.process = None

    def write_times(self, configuration: str) -> list[float]:
        """Return when it wrote the bundles of a configuration, according to its log."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{")
        return [
            datetime.fromisoformat(line["timestamp"]).timestamp()
            for line in lines
            if (line["event"], line.get("configuration")) == ("caBundle written", configuration)
        ]

    def metric(self, name: str) -> float:
        """Return the value of the metric *name* (with its labels)."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.probes}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))

    def wait_for_metric(self, name: str, value: float) -> None:
        """Return when the metric *name* has *value*."""
        sentence = f"replica {self.number} to report {name} {value:g}"
        self.cluster.wait_for(lambda: self.metric(name) == value, 120, sentence)

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        with contextlib.suppress(OSError, urllib.error.URLError):
            url = f"http://127.0.0.1:{self.probes}/readyz"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        return False


class CertificateSite:
    """The cluster with two replicas."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.admin = api(cluster)
        webhook_kubeconfig(cluster)
        self.replicas = [ReplicaProcess(cluster, number) for number in (1, 2)]
        for replica in self.replicas:
            cluster.apply(_endpoints(cluster.layout.host_ipv4, replica))

    def start(self) -> None:
        """Start both replicas at the same time, and wait until both are ready."""
        for replica in self.replicas:
            replica.start()
        for replica in self.replicas:
            replica.wait_ready()

    def certs(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``python -m certs`` as the administrator."""
        result = subprocess.run(
            [sys.executable, "-m", "certs", *arguments],
            env={**os.environ, **self.cluster.environment},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or result.returncode == 0, result.stderr
        return result

    def secret(self) -> dict[str, Any]:
        """Return the data of the Secret, decoded; empty where there is none."""
        try:
            path = f"/api/v1/namespaces/{NAMESPACE}/secrets/genie-webhook-ca"
            data = self.admin.get(path).get("data") or {}
        except KubeError as error:
            if error.status != 404:
                raise
            return {}
        return {key: base64.b64decode(value) for key, value in data.items()}

    def wait_for_key(self, key: str) -> None:
        """Return when the Secret has *key*."""
        # A rotation waits until no configuration has changed for a while: on a busy machine, that
        # may take long.
        self.cluster.wait_for(lambda: key in self.secret(), 180, f"the Secret to have {key}")

    def wait_steady(self) -> None:
        """Return when the Secret and the bundles hold one CA only."""
        self.cluster.wait_for(self._is_steady, 180, "the rotation to be over")

    def _is_steady(self) -> bool:
        secret = self.secret()
        has_one_ca = "next.crt" not in secret and "previous.crt" not in secret
        return has_one_ca and set(bundles(self.admin).values()) == {secret.get("ca.crt")}


class StrictClient(Workers):
    """Opens TLS connections to each replica, and trusts the bundles of :data:`LAG` seconds ago.

    On a busy machine it may lag more than the replicas wait for: such a connection proves nothing,
    and is neither a handshake nor a fault.
    """

    def __init__(self, site: CertificateSite) -> None:
        super().__init__(self._observe, self._call)
        self.faults: list[str] = []
        self._site = site
        self._views: list[tuple[float, dict[str, bytes]]] = []
        self._handshakes: list[float] = []  # of each, when the bundle that it trusts was read

    def __enter__(self) -> Self:
        self._views = [(time.monotonic(), bundles(self._site.admin))]
        return super().__enter__()

    @property
    def handshakes(self) -> int:
        """How many handshakes have proved that a replica is trusted, or is not."""
        return len(self._handshakes)

    def catch_up(self) -> None:
        """Return after some handshakes that trust the present bundles."""
        now = time.monotonic()
        self._site.cluster.wait_for(
            lambda: sum(read_at >= now for read_at in self._handshakes) >= SOME,
            120,
            "the strict client to trust the present bundles",
        )

    def _observe(self, stopping: threading.Event) -> None:
        kube = api(self._site.cluster)
        while not stopping.wait(0.1):
            read_at = time.monotonic()
            self._views.append((read_at, bundles(kube)))

    def _call(self, stopping: threading.Event) -> None:
        while not stopping.wait(0.02):
            now = time.monotonic()
            past = [each for each in self._views if each[0] <= now - LAG]
            read_at, view = past[-1] if past else self._views[0]
            for bundle in set(view.values()):
                for replica in self._site.replicas:
                    self._connect(replica, bundle, read_at)

    def _connect(self, replica: ReplicaProcess, bundle: bytes, read_at: float) -> None:
        address = self._site.cluster.layout.host_ipv4, replica.port
        context = ssl.create_default_context(cadata=bundle.decode())
        faults = []
        try:
            connect(context, *address, DNS_NAME).close()
        except ssl.SSLCertVerificationError as error:
            faults.append(f"replica {replica.number}: {error}")
        except OSError:
            return  # the replica was killed or is starting: it presented no certificate
        if time.monotonic() - read_at < TIMES["propagation"]:
            self._handshakes.append(read_at)
            self.faults += faults


def bundles(kube: Kube) -> dict[str, bytes]:
    """Return the caBundle of every entry of ours, by configuration and entry."""
    return {
        f"{kind}/{item['metadata']['name']}/{entry['name']}": base64.b64decode(
            entry["clientConfig"].get("caBundle", "")
        )
        for kind in KINDS
        for item in kube.get(API + kind, {"labelSelector": "cni-genie.io/webhook=true"})["items"]
        for entry in item["webhooks"]
    }


def _endpoints(address: str, replica: ReplicaProcess) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{NAME}-replica-{replica.number}",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": NAME},
        },
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": replica.port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
    }
