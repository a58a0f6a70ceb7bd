"""Namespaces with annotations, values to try, and API clients, for tests of admission."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

from dispatcher.annotation import InvalidAnnotationError, normalise
from dispatcher.kube.client import Kube, KubeError
from tests.cluster.support.names import name_of
from tests.cluster.support.pods import ending_pods
from tests.devcluster.cluster import Cluster
from webhook.limits import CLUSTER, excesses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

NAMESPACE = "genie-system"
NAME = "genie-webhook"
WEBHOOK_PODS = ("-n", NAMESPACE, "-l", "app.kubernetes.io/component=webhook")

SPACES: Mapping[str, Mapping[str, str]] = {
    "plain": {},
    "defaulted": {"cni": "weave"},
    "limited": {"cni": "canal", "cni-genie.io/allowed": "canal,flannel"},
    "preferring": {"cni-genie.io/scheduling": "preferred"},
    "unscheduled": {"cni-genie.io/scheduling": "off"},
    "roomy": {"cni-genie.io/max-attachments": "6", "cni-genie.io/max-per-network": "3"},
    "scratch": {},
}

NAMES = st.sampled_from(
    ["weave", "canal", "a/b", "", "-x", "w" * 63, "w" * 64, "é", "A.b_c-d", "x"]
)
INTERFACES = st.sampled_from(
    ["", "@eth0", "@eth1", "@lo", "@all", "@", "@a/b", "@" + "n" * 15, "@x@y"]
)
BLANKS = st.sampled_from([""] * 12 + [" ", "\t", "\n", "\r\n"] + ["\v", "\x1c", "\u2003"])
ITEMS = st.builds("{}{}{}{}".format, BLANKS, NAMES, INTERFACES, BLANKS)
VALUES = st.lists(ITEMS, min_size=1, max_size=17).map(",".join) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=20
)
"""Values of the annotation; many are valid or nearly valid."""


def admitted(value: str) -> str | None:
    """Return the normal form of *value* in an admitted pod; None if the pod is refused.

    This applies to a namespace without its own limits and without an allow-list.
    """
    try:
        normal = normalise(value)
    except InvalidAnnotationError:
        return None
    return None if any(excesses(normal, CLUSTER)) else normal


CONFIGURATIONS = (
    "mutatingwebhookconfigurations/cni-genie",
    "validatingwebhookconfigurations/cni-genie",
)
_ENTRY = "/webhooks/0"
_CLIENT = f"{_ENTRY}/clientConfig"


def _replace(path: str, value: Any) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": path, "value": value}]


THEFTS: Mapping[str, list[dict[str, Any]]] = {
    "a-url": [
        {"op": "remove", "path": f"{_CLIENT}/service"},
        {"op": "add", "path": f"{_CLIENT}/url", "value": "https://thief.example/"},
    ],
    "another-service": _replace(f"{_CLIENT}/service/namespace", "default"),
    "another-path": _replace(f"{_CLIENT}/service/path", "/x"),
    "all-resources": _replace(f"{_ENTRY}/rules/0/resources", ["*"]),
    "all-groups": _replace(f"{_ENTRY}/rules/0/apiGroups", ["*"]),
    "all-namespaces": _replace(f"{_ENTRY}/namespaceSelector", {}),
    "some-objects": _replace(f"{_ENTRY}/objectSelector", {"matchLabels": {"a": "b"}}),
    "no-conditions": [{"op": "remove", "path": f"{_ENTRY}/matchConditions"}],
    "another-match": _replace(f"{_ENTRY}/matchPolicy", "Exact"),
    "closed": _replace(f"{_ENTRY}/failurePolicy", "Fail"),
    "patience": _replace(f"{_ENTRY}/timeoutSeconds", 30),
    "side-effects": _replace(f"{_ENTRY}/sideEffects", "NoneOnDryRun"),
    "versions": _replace(f"{_ENTRY}/admissionReviewVersions", ["v1beta1", "v1"]),
    "another-name": _replace(f"{_ENTRY}/name", "other.cni-genie.io"),
    "an-entry-more": [
        {"op": "copy", "from": _ENTRY, "path": "/webhooks/1"},
        *_replace("/webhooks/1/name", "other.cni-genie.io"),
    ],
    "an-entry-less": [{"op": "remove", "path": _ENTRY}],
    "no-label": [{"op": "remove", "path": "/metadata/labels"}],
    "an-annotation": [{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}],
    "a-finalizer": [{"op": "add", "path": "/metadata/finalizers", "value": ["a.example/b"]}],
}
"""Changes of a webhook configuration that the webhook's token must not permit."""


def change(client: Kube, configuration: str, patch: list[dict[str, Any]]) -> None:
    """Try a change of a webhook configuration in a dry run."""
    path = f"/apis/admissionregistration.k8s.io/v1/{configuration}?dryRun=All"
    client.patch(path, patch)


def cannot_change(thief: Kube, theft: list[dict[str, Any]]) -> None:
    """Assert that *thief*, who has the webhook's token, cannot change any configuration so."""
    for configuration in CONFIGURATIONS:
        with pytest.raises(KubeError, match="may change only caBundle") as refused:
            change(thief, configuration, theft)
        assert refused.value.status == 403


@contextlib.contextmanager
def spaces(
    cluster: Cluster, wanted: Mapping[str, Mapping[str, str]], *, force: bool = False
) -> Iterator[None]:
    """Create namespaces with these annotations, ready for pods; delete them at the end.

    `force` is for clusters without nodes, where no kubelet confirms the end of a pod.
    """
    make_spaces(cluster, wanted)
    how = ("--grace-period=0", "--force") if force else ("--grace-period=1",)
    try:
        yield
    finally:
        for name in wanted:
            cluster.kubectl("delete", "pods", "--all", "-n", name, *how)
        cluster.kubectl("delete", "namespace", *wanted)


def make_spaces(cluster: Cluster, wanted: Mapping[str, Mapping[str, str]]) -> None:
    """Create namespaces with these annotations, ready for pods."""
    for name, wishes in wanted.items():
        metadata = {"name": name, "annotations": dict(wishes)}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        account = ("serviceaccount", "default", "-n", name)
        exists = functools.partial(cluster.exists, *account)
        cluster.wait_for(exists, 120, f"the service account of {name}")


@contextlib.contextmanager
def own_cluster(suffix: str, **options: str) -> Iterator[Cluster]:
    """Yield a control plane without nodes; take it down at the end."""
    cluster = Cluster.up(name_of(suffix), {}, **options)
    try:
        yield cluster
    finally:
        cluster.down()


def node(name: str) -> dict[str, Any]:
    """Return a Node without a kubelet, with both networks and one that has become unavailable."""
    networks = {"canal": "true", "weave": "true", "flannel": "false"}
    labels = {f"network.cni-genie.io/{network}": there for network, there in networks.items()}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
    }


def scale(cluster: Cluster, replicas: int) -> None:
    """Scale the webhook; wait until exactly so many replicas exist, and one of them is called."""
    cluster.kubectl("scale", f"deployment/{NAME}", "-n", NAMESPACE, f"--replicas={replicas}")
    cluster.kubectl("rollout", "status", f"deployment/{NAME}", "-n", NAMESPACE)
    pods = ("pods", *WEBHOOK_PODS)
    if replicas == 0:  # no other replica could take over: draining would only take time
        cluster.kubectl("delete", *pods, "--grace-period=1")

    def settled() -> bool:
        return len(cluster.get(*pods)["items"]) == replicas

    cluster.wait_for(settled, 120, f"{replicas} replicas of the webhook")
    if replicas:
        wait_for_webhook(cluster)


def is_refused(cluster: Cluster) -> bool:
    """Return whether a bad pod is refused in the webhook's own words, not in a policy's."""
    run = ("run", "web", "--image=nginx:latest", "--annotations=cni=@", "--dry-run=server")
    return 'The Pod "web" is invalid: ' in cluster.kubectl(*run, check=False).stderr


def wait_for_webhook(cluster: Cluster) -> None:
    """Wait until the API server calls the webhook: it learns of a ready replica a moment later."""
    cluster.wait_for(lambda: is_refused(cluster), 120, "the API server to call the webhook")


def replicas(cluster: Cluster) -> list[dict[str, Any]]:
    """Return the webhook's pods, without those that a rollout is about to remove.

    A command on all pods, or on the Deployment, fails if such a pod is gone before its turn.
    """
    pods: list[dict[str, Any]] = cluster.get("pods", *WEBHOOK_PODS)["items"]
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def replica_metrics(cluster: Cluster) -> list[dict[str, float]]:
    """Return the metrics of each replica, by series; empty for one that does not answer."""
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{{}}:8080/proxy/metrics"
    pages = [
        cluster.kubectl("get", "--raw", path.format(each["metadata"]["name"]), check=False).stdout
        for each in replicas(cluster)
    ]
    lines = [[line for line in page.splitlines() if line[:1] != "#"] for page in pages]
    return [{line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in e} for e in lines]


def end_old_replicas(cluster: Cluster) -> None:
    """End the replicas that a rollout has replaced.

    While they drain, for ten seconds, they answer by the former settings on connections that the
    API server has kept.
    """

    def ended() -> bool:
        old = ending_pods(cluster, *WEBHOOK_PODS)
        if old:
            how = ("--grace-period=1", "--ignore-not-found")
            cluster.kubectl("delete", "pods", *old, "-n", NAMESPACE, *how)
        return not old

    cluster.wait_for(ended, 120, "the end of the old replicas")


def api(cluster: Cluster, kubeconfig: Path | None = None) -> Kube:
    """Return a client of the API server, as the administrator or the user of *kubeconfig*."""
    return Kube.load("genie-tests", os.fspath(kubeconfig or cluster.layout.kubeconfig))


def pod(cni: str | None, **spec: Any) -> dict[str, Any]:
    """Return a pod with a generated name that is never scheduled."""
    metadata: dict[str, Any] = {"generateName": "web-"}
    if cni is not None:
        metadata["annotations"] = {"cni": cni}
    containers = [{"name": "c", "image": "nginx:latest"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": containers, "nodeSelector": {"no": "node"}, **spec},
    }
