"""Configuration of a node's programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.devcluster.layout import API_SERVICE_ADDRESS

if TYPE_CHECKING:
    from tests.devcluster.layout import NodeLayout

PAUSE_IMAGE = "localhost/pause:local"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CNI_CONF_DIR = "/etc/cni/net.d"
CNI_BIN_DIR = "/opt/cni/bin"
CLIENT_CA = "/etc/kubernetes/ca.crt"
STATIC_PODS = "/etc/kubernetes/manifests"
RESOLV_CONF = "/etc/kubernetes/resolv.conf"

NAME_SERVER = f"# There is no name server; {API_SERVICE_ADDRESS} is the API server.\n"


def containerd_config(runc: str) -> str:
    """Return containerd's config.toml; `runc` is the path of that program."""
    return f"""\
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
  # Where root may not lower oom_score_adj (no CAP_SYS_RESOURCE), containers would not start.
  restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{CNI_BIN_DIR}"]
  conf_dir = "{CNI_CONF_DIR}"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
    BinaryName = "{runc}"
    SystemdCgroup = false
"""


def kubelet_config(node: NodeLayout) -> dict[str, Any]:
    """Return the kubelet's KubeletConfiguration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": CLIENT_CA},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": node.cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "staticPodPath": STATIC_PODS,
        "fileCheckFrequency": "1s",
        # The kubelet updates a mounted ConfigMap when it syncs a pod: in 15 s instead of 90 s.
        "syncFrequency": "10s",
        "resolvConf": RESOLV_CONF,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        # The machine's disk may be nearly full: evict no pod and delete no image for that.
        "localStorageCapacityIsolation": False,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
    }


def kube_proxy_flags(node: NodeLayout, kubeconfig: str) -> list[str]:
    """Return kube-proxy's arguments.

    Without br_netfilter, the answer of a pod on the client's bridge would bypass the address
    translation of the Service. Masquerading sends it through the node.
    """
    return [
        "--proxy-mode=nftables",
        "--masquerade-all=true",
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={node.name}",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
    ]
