"""Objects as the API server lists them, with what the commands read of them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from dispatcher import keys
from dispatcher.kube.errors import FORBIDDEN, NOT_FOUND, KubeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def node(name: str, types: str = "", *, plugin: str = "", **networks: str) -> dict[str, Any]:
    """Return a node with a label for each of *networks*, whose agent reports its *plugin*."""
    labels = {keys.network_label(key): value for key, value in networks.items()}
    annotations = {keys.PLUGIN_TYPES: types} if types else {}
    if plugin:
        annotations[keys.REMOVAL] = f"mode=install;next=canal;plugin={plugin}"
    return {"metadata": {"name": name, "labels": labels, "annotations": annotations}}


def namespace(name: str, **annotations: str) -> dict[str, Any]:
    """Return a namespace; ``allowed`` is the allow-list, ``cni`` the default."""
    known = {"cni": keys.ANNOTATION, "allowed": keys.ALLOWED}
    written = {known[key]: value for key, value in annotations.items()}
    return {"metadata": {"name": name, "annotations": written}}


def pod(
    name: str,
    cni: str | None = None,
    attached: Mapping[str, str] | None = None,
    *,
    node_name: str = "n1",
    phase: str = "Running",
    address: str = "10.0.0.2",
    host_network: bool = False,
) -> dict[str, Any]:
    """Return a pod in the namespace shop; *attached* is interface by network."""
    annotations = {} if cni is None else {keys.ANNOTATION: cni}
    if attached:
        entries = [
            {"name": name, "interface": interface, "ips": [f"10.{n}.0.2"], "default": not n}
            for n, (name, interface) in enumerate(attached.items())
        ]
        annotations[keys.NETWORK_STATUS] = json.dumps(entries)
    return {
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
        "spec": {"nodeName": node_name, "hostNetwork": host_network},
        "status": {"phase": phase, "podIP": address},
    }


def workload(
    kind: str, name: str, wanted: int, ready: int, image: str = "cni-genie:0.1.0"
) -> dict[str, Any]:
    """Return a DaemonSet or Deployment all of whose pods are current."""
    template = {"spec": {"containers": [{"image": image}, {"image": image}]}}
    status = {
        "desiredNumberScheduled": wanted,
        "numberReady": ready,
        "updatedNumberScheduled": wanted,
        "readyReplicas": ready,
        "updatedReplicas": wanted,
    }
    spec = {"replicas": wanted, "template": template}
    return {"kind": kind, "metadata": {"name": name}, "spec": spec, "status": status}


def deployment(cni: str) -> dict[str, Any]:
    """Return a Deployment of the namespace shop whose template names *cni*."""
    template = {"metadata": {"annotations": {"cni": cni}}, "spec": {"containers": []}}
    return {"metadata": {"name": "web", "namespace": "shop"}, "spec": {"template": template}}


class FakeAPI:
    """A client that answers from *objects* by path; *forbidden* paths are 403, others 404."""

    def __init__(self, objects: Mapping[str, Any], forbidden: tuple[str, ...] = ()) -> None:
        self.objects = objects
        self.forbidden = forbidden
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.admit: Callable[[Mapping[str, Any]], dict[str, Any]] = admitted
        self.may_create = True

    def get(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        accept: str = "application/json",
    ) -> dict[str, Any]:
        """Return what is at *path*; a list of lists is a list in pages."""
        del accept
        self.requests.append((path, dict(query or {})))
        if path in self.forbidden:
            raise KubeError(FORBIDDEN, "Forbidden", f"{path} is forbidden")
        if path not in self.objects:
            raise KubeError(NOT_FOUND, "NotFound", f"{path} not found")
        value = self.objects[path]
        if not isinstance(value, list):
            return dict(value)
        pages = value if value and isinstance(value[0], list) else [value]
        if selector := (query or {}).get("labelSelector"):
            key, _, wanted = selector.partition("=")
            pages = [
                [each for each in page if each["metadata"].get("labels", {}).get(key) == wanted]
                for page in pages
            ]
        number = int((query or {}).get("continue", "0"))
        more = {"continue": str(number + 1)} if number + 1 < len(pages) else {}
        return {"items": pages[number], "metadata": more}

    def get_text(self, path: str) -> str:
        """Return the text at *path*; every log has two lines."""
        if "/log?" in path:
            self.requests.append((path, {}))
            return "first\nsecond\n"
        self.get(path)
        return str(self.objects[path]["text"])

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer an access review by ``may_create``, and the dry-run of a pod by ``admit``."""
        if path.endswith("selfsubjectaccessreviews"):
            return {"status": {"allowed": self.may_create}}
        assert path.endswith("/pods?dryRun=All"), "nothing else may be written"
        return self.admit(body)


def admitted(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Return *pod* as the webhook changes it."""
    value = pod["metadata"]["annotations"][keys.ANNOTATION]
    return {"metadata": {"annotations": {keys.ANNOTATION: value.strip()}}}


def agent_pod(node_name: str, bin_dir: str = "") -> dict[str, Any]:
    """Return the ready agent's pod of a node; *bin_dir* is where it installs the plugin."""
    env = [{"name": "GENIE_CNI_BIN_DIR", "value": bin_dir}] if bin_dir else []
    containers = [{"name": "agent", "env": env}, {"name": "reaper"}]
    labels = {"app.kubernetes.io/name": "genie-agent", "app.kubernetes.io/component": "agent"}
    return {
        "metadata": {"name": f"genie-agent-{node_name}", "labels": labels},
        "spec": {"nodeName": node_name, "containers": containers},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def webhook_pod(name: str) -> dict[str, Any]:
    """Return a running pod of the webhook."""
    ports = [{"name": "https", "containerPort": 8443}, {"name": "probes", "containerPort": 8080}]
    return {
        "metadata": {"name": name, "labels": {"app.kubernetes.io/component": "webhook"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "webhook", "ports": ports}]},
        "status": {"phase": "Running"},
    }


def metrics_path(name: str) -> str:
    """Return the path of the metrics of a webhook pod, through the API server."""
    return f"{GENIE}/pods/{name}:8080/proxy/metrics"


def metrics(leaf_expiry: str, uncovered: int = 0) -> dict[str, str]:
    """Return what a webhook pod says of its certificate, with Unix seconds as Prometheus prints."""
    lines = (
        "# HELP genie_certificate_leaf_expiry_timestamp_seconds Time at which it expires.",
        f"genie_certificate_leaf_expiry_timestamp_seconds {leaf_expiry}",
        f"genie_certificate_uncovered_entries {uncovered}.0",
        'genie_build_info{component="webhook",version="0.1.0"} 1.0',
    )
    return {"text": "\n".join(lines)}


def bundle(*ends: datetime) -> str:
    """Return a caBundle of CAs that end at *ends*."""
    return base64.b64encode(b"".join(map(_ca, ends))).decode()


def _ca(end: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(end)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def whole_node(ready: str = "True", *taints: str, cordoned: bool = False) -> dict[str, Any]:
    """Return what a Node says of its state, besides its metadata."""
    return {
        "spec": {
            "unschedulable": cordoned,
            "taints": [{"key": each, "effect": "NoSchedule"} for each in taints],
        },
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


CA_END = datetime(2099, 12, 31, tzinfo=UTC)

PLUGIN = "0.1.0-518f2aaabced"

GENIE = "/api/v1/namespaces/genie-system"
APPS = "/apis/apps/v1/namespaces/genie-system"
CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/cni-genie"
CLUSTER: dict[str, Any] = {
    "/api/v1/nodes": [
        [
            node(
                "n1",
                "canal=calico;weave=weave-net",
                plugin=PLUGIN,
                canal="true",
                weave="true",
            )
        ],
        [node("n2", plugin=PLUGIN, canal="true", weave="false")],
    ],
    "/api/v1/nodes/n1": whole_node(),
    "/api/v1/nodes/n2": whole_node(),
    "/api/v1/namespaces": [namespace("shop", cni="weave")],
    "/api/v1/namespaces/shop/pods": [
        pod("web", "weave,canal", {"weave": "eth0", "canal": "eth1"}),
        pod("new", "weave", address="", phase="Pending"),
    ],
    "/api/v1/pods": [pod("web", "weave", {"weave": "eth0"})],
    f"{GENIE}/pods": [
        agent_pod("n1"),
        agent_pod("n2"),
        webhook_pod("genie-webhook-a"),
        webhook_pod("genie-webhook-b"),
    ],
    f"{GENIE}/pods/genie-webhook-a:8080/proxy/metrics": metrics("4.1e+09"),
    f"{GENIE}/pods/genie-webhook-b:8080/proxy/metrics": metrics("4.100000007e+09"),
    f"{GENIE}/configmaps/genie": {"data": {"mode": "install", "default-network": "canal"}},
    f"{APPS}/daemonsets": [workload("DaemonSet", "genie-agent", 2, 2)],
    f"{APPS}/deployments": [workload("Deployment", "genie-webhook", 2, 2)],
    CONFIGURATION: {"webhooks": [{"name": "pods", "clientConfig": {"caBundle": bundle(CA_END)}}]},
}
