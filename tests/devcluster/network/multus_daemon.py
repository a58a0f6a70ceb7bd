"""Run Multus with its daemon ("thick") on the nodes of a running cluster.

The daemon runs on a node like the kubelet, so `node.start` and `node.stop` switch it. Custom
resource, role, account and the daemon's configuration are those that Multus publishes in its
module; the DaemonSet is omitted, and with it the container and its limit of a tenth of a processor,
which applies to every plugin that the daemon executes.

While the daemon runs, /etc/cni/net.d/00-multus.conf is its file: it writes the file when it starts,
and deletes it when it ends. As published, it names the default network by the path of its conflist,
and then this version never releases its addresses (k8snetworkplumbingwg/multus-cni, issue 1449).
Here the network has its name, which the daemon looks up in the same directory; so it does for a
definition without a config.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import yaml

from tests.devcluster.build import gobuild
from tests.devcluster.commands import step
from tests.devcluster.network.multus import DEFINITIONS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

SERVICE = "multus-daemon"
CONF = "/etc/cni/net.d/00-multus.conf"
_SETTINGS = "/etc/cni/net.d/multus.d/daemon-config.json"
_PROGRAM = "/opt/cluster/multus-daemon"
_ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"
"""Where a Kubernetes client looks for its token; /var/run is /run."""

_TIMEOUT = 60.0  # seconds for the daemon to write its file


def settings(published: dict[str, Any], default_network: str) -> dict[str, Any]:
    """Return the daemon's configuration for a host, from that for a container.

    The container has the host's directories below /host, and executes plugins in /hostroot. What
    stands here wins over the file that the daemon writes.
    """
    own = {
        key: value.removeprefix("/host") if isinstance(value, str) else value
        for key, value in published.items()
        if key != "chrootDir"
    }
    return {**own, "confDir": own["cniConfigDir"], "clusterNetwork": default_network}


def install_multus_daemon(cluster: Cluster, default_network: str) -> None:
    """Prepare every node for the daemon, and add it as a service that does not run yet.

    Pods get *default_network* beside what they select. Raises ClusterError.
    """
    programs = gobuild.build(gobuild.MULTUS)
    text = (programs / "multus-daemonset-thick.yml").read_text()
    objects = [each for each in yaml.safe_load_all(text) if each]
    [config] = [each["data"] for each in objects if each["kind"] == "ConfigMap"]
    published = json.loads(config["daemon-config.json"])

    with step(f"cluster {cluster.name}: installing Multus {gobuild.MULTUS.version} with a daemon"):
        items = [each for each in objects if each["kind"] not in {"ConfigMap", "DaemonSet"}]
        cluster.apply({"apiVersion": "v1", "kind": "List", "items": items})
        cluster.wait_until_served(DEFINITIONS)
        service = cluster.get("service", "kubernetes", "-n", "default")["spec"]["clusterIP"]
        for node in cluster.nodes.values():
            _copy_programs(node, programs)
            _log_in(cluster, node)
            file = node.path(_SETTINGS)
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(settings(published, default_network), indent=2) + "\n")
            variables = {
                "KUBERNETES_SERVICE_HOST": service,
                "KUBERNETES_SERVICE_PORT": "443",
                "MULTUS_NODE_NAME": node.name,
            }
            env = [f"{name}={value}" for name, value in variables.items()]
            node.add_service(SERVICE, ["env", *env, _PROGRAM, f"-config={_SETTINGS}"])


def start(cluster: Cluster, node: Node) -> None:
    """Start the daemon; return when the runtime calls it. Raises ClusterError."""
    node.start(SERVICE)
    conf = node.path(CONF)

    def calls() -> bool:
        node.services[SERVICE].check()
        return conf.exists()

    cluster.wait_for(calls, _TIMEOUT, f"Multus' daemon to write {CONF} on {node.name}")


def stop(node: Node) -> None:
    """Stop the daemon; return when the runtime does not call it any more."""
    node.stop(SERVICE)
    node.path(CONF).unlink(missing_ok=True)  # if it had to be killed


def _copy_programs(node: Node, programs: Path) -> None:
    shutil.copy2(programs / "multus-shim", node.path("/opt/cni/bin"))
    if node.services.get(SERVICE) is None or node.services[SERVICE].pid() is None:
        shutil.copy2(programs / "multus-daemon", node.path(_PROGRAM))


def _log_in(cluster: Cluster, node: Node) -> None:
    """Write the account's token and the CA where a pod has them."""
    token = cluster.kubectl("create", "token", "multus", "-n", "kube-system", "--duration=12h")
    folder = node.path(_ACCOUNT)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "token"
    file.touch(mode=0o600)
    file.write_text(token.stdout.strip())
    shutil.copy2(cluster.control_plane.credentials.ca, folder / "ca.crt")
