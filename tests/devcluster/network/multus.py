"""Install Multus (thin) on a running cluster, as its quickstart does: by its published manifest.

The manifest is in Multus' module, and its image is built from that module under the name that the
manifest has, since no registry is used. One variable is set besides: this version writes the URL
https://[10.96.0.1]:443, which programs refuse that were built with a Go newer than its own. The
DaemonSet copies the plugin to each node and writes /etc/cni/net.d/00-multus.conflist, whose default
network is the first other configuration of that directory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from tests.devcluster.build import gobuild, images
from tests.devcluster.commands import step

if TYPE_CHECKING:
    from tests.devcluster.cluster import Cluster

DAEMONSET = ("-n", "kube-system", "daemonset/kube-multus-ds")
CONF = "/etc/cni/net.d/00-multus.conflist"
DEFINITIONS = "network-attachment-definitions.k8s.cni.cncf.io"
_TIMEOUT = 120.0  # seconds for the rollout


def manifest(service_host: str) -> dict[str, Any]:
    """Return the published objects, for an API server at the address *service_host*."""
    text = (gobuild.build(gobuild.MULTUS) / "multus-daemonset.yml").read_text()
    objects = [each for each in yaml.safe_load_all(text) if each]
    [daemonset] = [each for each in objects if each["kind"] == "DaemonSet"]
    [container] = daemonset["spec"]["template"]["spec"]["containers"]
    # The same address in the notation that may stand in brackets.
    container["env"] = [{"name": "KUBERNETES_SERVICE_HOST", "value": f"::ffff:{service_host}"}]
    return {"apiVersion": "v1", "kind": "List", "items": objects}


def install_multus(cluster: Cluster) -> None:
    """Install Multus on every node, and wait until each runtime calls it.

    Raises ClusterError when that does not happen within two minutes.
    """
    archive = images.multus_image()
    with step(f"cluster {cluster.name}: installing Multus {gobuild.MULTUS.version}"):
        for node in cluster.nodes.values():
            node.import_image(archive)
        service = cluster.get("service", "kubernetes", "-n", "default")
        cluster.apply(manifest(service["spec"]["clusterIP"]))
        cluster.wait_until_served(DEFINITIONS)
        cluster.kubectl("rollout", "status", *DAEMONSET, f"--timeout={_TIMEOUT:.0f}s")
        for node in cluster.nodes.values():
            conf = node.path(CONF)
            cluster.wait_for(conf.exists, _TIMEOUT, f"Multus to write {CONF} on {node.name}")
