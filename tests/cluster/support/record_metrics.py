"""Record what agent, webhook, API server and kubelet answer at ``/metrics``, to test alerts.

    python -m tests.devcluster up --name mine
    python -m tests.cluster.support.record_metrics mine

writes ``tests/cluster/recorded/healthy.txt``, while pods come and go, and ``faulty.txt``, while
everything is wrong at once that an alert or a panel shows. A file has a line for each series: its
values at SCRAPES times, INTERVAL seconds apart (``_``: absent), and the labels that the monitors of
the chart add. Record again when a metric of an alert or a panel changes: the tests fail then. The
cluster must be new: records of former pods that failed are no part of a healthy cluster.

Two states last too long to be waited for, so their cause is written by hand where reaper and plugin
write it: the reaper's problem, and a parked attachment.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.support.agents import agent_pod, metrics
from tests.cluster.support.pods import create_namespace, pod_manifest
from tests.devcluster.cluster import Cluster
from tests.devcluster.genie import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.samples import Sample

    from tests.devcluster.node.node import Node

RECORDED = Path(__file__).parents[1] / "recorded"
SCRAPES = 5
INTERVAL = 15
NODE = "node1"
STATE = "/var/lib/cni/genie"
WEAVE = "/etc/cni/net.d/20-weave.conflist"
ANOTHER = "net.d/00-another"
PODS = "recorded"
KEPT = ("genie_", "process_resident_memory_bytes")
OF_THE_API_SERVER = (
    "apiserver_admission_webhook_fail_open_count",
    "apiserver_admission_match_condition_evaluation_errors_total",
    "apiserver_validating_admission_policy_check_total",
)
OF_THE_KUBELET = ("kubelet_node_name",)
BROKEN = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "cni-genie-recorded"},
    "spec": {
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["configmaps"],
                }
            ]
        },
        "matchConditions": [
            {"name": "fails", "expression": "object.metadata.annotations.x == 'y'"}
        ],
        "validations": [{"expression": "true"}],
    },
}
BINDING = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "cni-genie-recorded"},
    "spec": {"policyName": "cni-genie-recorded", "validationActions": ["Deny"]},
}


def main() -> None:
    """Record both files from the cluster that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cluster")
    cluster = Cluster.attach(parser.parse_args().cluster)
    create_namespace(cluster, PODS)
    try:
        record(cluster, "healthy")
        with faults(cluster):
            record(cluster, "faulty")
    finally:
        cluster.kubectl("delete", "namespace", PODS)


def record(cluster: Cluster, name: str) -> None:
    """Scrape while pods start and stop, and write the file *name*."""
    values: dict[str, list[str]] = defaultdict(lambda: ["_"] * SCRAPES)
    for number in range(SCRAPES):
        began = time.monotonic()
        exercise(cluster, name, number)
        time.sleep(max(0.0, INTERVAL - (time.monotonic() - began)))
        for series, value in scrape(cluster):
            values[series][number] = value
    RECORDED.mkdir(exist_ok=True)
    lines = [f"{series} {' '.join(each)}\n" for series, each in sorted(values.items())]
    (RECORDED / f"{name}.txt").write_text("".join(lines))


def read(name: str) -> dict[str, str]:
    """Return the recorded series with their values, in promtool's notation."""
    lines = (RECORDED / f"{name}.txt").read_text().splitlines()
    parts = [line.rpartition("} ") for line in lines]
    return {f"{series}}}": values for series, _, values in parts}


def exercise(cluster: Cluster, name: str, number: int) -> None:
    """Start a pod on each network, stop the previous one, and have a pod refused."""
    for network in ("canal", "weave"):
        cluster.apply(pod_manifest(f"{network}-{number}", network), "-n", PODS)
        pod = f"pod/{network}-{number}"
        cluster.kubectl("wait", "-n", PODS, "--for=condition=Ready", "--timeout=120s", pod)
        if number:
            previous = f"{network}-{number - 1}"
            cluster.kubectl("delete", "pod", previous, "-n", PODS, "--ignore-not-found")
    cluster.apply(pod_manifest("refused", "no-such-network"), "-n", PODS, check=False)
    if name == "faulty":
        cluster.apply(pod_manifest("invalid", "@"), "-n", PODS, check=False)
        cluster.kubectl("create", "configmap", f"x{number}", "-n", PODS, check=False)
        cluster.node(NODE).path(f"{STATE}/.reaper-problem").write_text(REAPER_PROBLEM)
        _send_malformed_reviews(cluster)
        if number == SCRAPES - 1:
            # From now on the node attaches pods without Genie, so its labels keep others away.
            weave = json.loads(cluster.node(NODE).path(WEAVE).read_text())
            _put_network(cluster.node(NODE), ANOTHER, weave["plugins"])
            problem = partial(_has, cluster, "genie_agent_problem{")
            cluster.wait_for(problem, 60, "the node's problem in the metrics")


def _send_malformed_reviews(cluster: Cluster) -> None:
    """Send what is no AdmissionReview, through the API server's proxy."""
    for pod in _webhooks(cluster):
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/https:{pod}:8443/proxy/pods"
        cluster.kubectl("create", "--raw", path, "-f", "-", input="{}", check=False)


def _webhooks(cluster: Cluster) -> list[str]:
    pods = ("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=webhook")
    return [pod["metadata"]["name"] for pod in cluster.get(*pods)["items"]]


REAPER_PROBLEM = "the container runtime does not answer on /run/containerd/containerd.sock"


@contextlib.contextmanager
def faults(cluster: Cluster) -> Iterator[None]:
    """Break what an alert or a panel shows; mend it at the end of the block."""
    node = cluster.node(NODE)
    try:
        _put_network(node, "genie.d/absent", [{"type": "no-such-plugin"}])
        _put_network(node, "genie.d/failing", [{"type": "bridge", "ipam": {"type": "host-local"}}])
        _put_records(node)
        _set(cluster, "mode", "uninstalled")
        cluster.apply(BROKEN)
        cluster.apply(BINDING)
        for series in ('network="failing"', "genie_agent_settings_refused{"):
            cluster.wait_for(partial(_has, cluster, series), 60, f"{series} in the metrics")
        cluster.apply(pod_manifest("failing", "failing"), "-n", PODS, check=False)
        _fail_open(cluster)
        yield
    finally:
        _set(cluster, "mode", "install")
        for path in ("genie.d/absent", "genie.d/failing", ANOTHER):
            node.run(["rm", "-f", f"/etc/cni/{path}.conflist"])
        for path in ("parked.json", "unreadable.json", ".reaper-problem"):
            node.path(f"{STATE}/{path}").unlink(missing_ok=True)
        for record_ in node.path(STATE).glob("*.json"):  # its DEL fails, too
            if '"failing"' in record_.read_text():
                record_.unlink()
        for kind in ("validatingadmissionpolicy", "validatingadmissionpolicybinding"):
            cluster.kubectl("delete", kind, "cni-genie-recorded", "--ignore-not-found")


def _has(cluster: Cluster, series: str) -> bool:
    return series in metrics(cluster, NODE)


def _set(cluster: Cluster, key: str, value: str) -> None:
    """Change one setting of the ConfigMap of agent and reaper."""
    patch = json.dumps({"data": {key: value}})
    cluster.kubectl("patch", "configmap", "genie", "-n", NAMESPACE, "--type=merge", "-p", patch)


def _put_network(node: Node, path: str, plugins: list[dict[str, object]]) -> None:
    """Write a conflist to *path* below /etc/cni, without its suffix."""
    conflist = {"cniVersion": "1.0.0", "name": path.rpartition("/")[2], "plugins": plugins}
    file = f"/etc/cni/{path}.conflist"
    node.run(["sh", "-c", f"mkdir -p $(dirname {file}); cat > {file}"], input=json.dumps(conflist))


def _put_records(node: Node) -> None:
    """Add a record whose attachment is parked, and one that cannot be read."""
    path = next(p for p in node.path(STATE).glob("*.json"))
    record_ = json.loads(path.read_text())
    record_["format"] = 1  # without a checksum
    record_["attachments"][0].update(phase="parked", network="canal")
    node.path(f"{STATE}/parked.json").write_text(json.dumps(record_).replace(path.stem, "parked"))
    node.path(f"{STATE}/unreadable.json").write_text("{")


def _fail_open(cluster: Cluster) -> None:
    """Create a pod while no replica of the webhook answers."""
    deployment = ("deployment/genie-webhook", "-n", NAMESPACE)
    cluster.kubectl("scale", *deployment, "--replicas=0")
    cluster.wait_for(lambda: not _webhooks(cluster), 60, "the end of the webhook")
    cluster.apply(pod_manifest("open", "weave"), "-n", PODS)
    # The label of its default is missing: the webhook adds it when it is back.
    cluster.kubectl("annotate", "namespace", PODS, "cni=weave")
    cluster.kubectl("scale", *deployment, "--replicas=2")
    cluster.kubectl("rollout", "status", *deployment, "--timeout=180s")


def scrape(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Yield each series with its value, as Prometheus would store it."""
    agent = {
        "job": f"{NAMESPACE}/genie-agent",
        "namespace": NAMESPACE,
        "node": NODE,
        "pod": agent_pod(cluster, NODE),
    }
    yield _series("up", agent), "1"
    yield from _samples(metrics(cluster, NODE), agent, KEPT)

    for name in _webhooks(cluster):
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/metrics"
        webhook = {"job": "genie-webhook", "namespace": NAMESPACE, "pod": name}
        yield _series("up", webhook), "1"
        yield from _samples(cluster.kubectl("get", "--raw", path).stdout, webhook, KEPT)

    text = cluster.kubectl("get", "--raw", "/metrics").stdout
    for series, value in _samples(text, {"job": "apiserver"}, OF_THE_API_SERVER):
        if "cni-genie" in series:
            yield series, value

    text = cluster.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/metrics").stdout
    yield from _samples(text, {"job": "kubelet", "node": NODE}, OF_THE_KUBELET)


def _samples(
    text: str, labels: dict[str, str], names: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    # Those of the API server are many, and the parser is slow.
    kept = [line for line in text.splitlines() if line.removeprefix("# TYPE ").startswith(names)]
    for family in text_string_to_metric_families("\n".join(kept) + "\n"):
        for sample in family.samples:
            # The parser adds the suffix to counters that have none.
            name = sample.name if sample.name in text else sample.name.removesuffix("_total")
            if name.startswith(names):
                yield _series(name, {**sample.labels, **labels}), _value(sample)


def _value(sample: Sample) -> str:
    if math.isnan(sample.value):
        return "NaN"
    return str(int(sample.value)) if sample.value % 1 == 0 else f"{sample.value:.4f}"


def _series(name: str, labels: dict[str, str]) -> str:
    pairs = ",".join(f"{key}={json.dumps(labels[key])}" for key in sorted(labels))
    return f"{name}{{{pairs}}}"


if __name__ == "__main__":
    main()
