"""Upgrade, downgrade and upgrade again while pods run, start and stop: nothing is lost or left.

Image and manifests of the predecessor are built from the history (:mod:`tests.predecessor`). Each
version replaces the other as an administrator does it: this tree with Helm, which takes over what
the predecessor's kustomization installed, and the predecessor with `kubectl apply -k`.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from dispatcher.state.record import FORMAT
from tests import predecessor as of_history
from tests.cluster.support.agents import LAUNCHER, pod_events
from tests.cluster.support.churn import (
    READY_WITHIN,
    attachments,
    churn,
    failures,
    remaining_leftovers,
)
from tests.cluster.support.definitions import (
    CRD,
    ENFORCE,
    LABEL,
    apply,
    bridge,
    definition,
    definitions_untouched,
    selecting,
)
from tests.cluster.support.observe import interfaces
from tests.cluster.support.pods import pod_manifest, wait_until_ready
from tests.devcluster import helm
from tests.devcluster.build.imagebuild import PROJECT
from tests.devcluster.genie import DEFAULT_NETWORK, hand_over_to_helm, install_genie
from tests.workers import Workers

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.support.churn import Attachments, ChurnFigures
    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

NODE = "node1"
AT_ONCE = 4
"""Pods of one wave in each lane: enough to have some starting in every second of a rollout."""

CHOICES: dict[str, tuple[str | None, dict[str, str]]] = {
    "default": (None, {"eth0": DEFAULT_NETWORK}),
    "one": ("weave", {"eth0": "weave"}),
    "two": ("weave,canal@net1", {"eth0": "weave", "net1": "canal"}),
    "three": ("canal,weave@net1,canal@net2", {"eth0": "canal", "net1": "weave", "net2": "canal"}),
}
"""What the pods of each version ask for, and the attachments that each has from then on."""


def replace(
    cluster: Cluster, namespace: str, tree: Path, expected: Attachments, **values: Any
) -> None:
    """Put the version of *tree* in place of the other while pods come and go.

    Fail if one of these is refused, not Ready or not gone in time. The pods that stay keep what
    they have, and none restarts. *values* are those of the chart.
    """
    node = cluster.node(NODE)
    launcher = node.path(LAUNCHER)
    former = launcher.read_text()
    results: list[ChurnFigures] = []

    def pods_come_and_go(stopping: threading.Event) -> None:
        def waves() -> Iterator[None]:
            while not stopping.is_set():
                yield

        results.append(churn(cluster, node, namespace, waves, pods=AT_ONCE))

    with Workers(pods_come_and_go):
        if tree == PROJECT:
            hand_over_to_helm(cluster)
        install_genie(cluster, tree=tree, values=values)

    assert results[0].pods
    assert launcher.read_text() != former
    assert held(cluster, node, namespace) == expected


def additions(rendered: Any, live: Any, path: str) -> Iterator[str]:
    """Yield what *live* has in its lists of named things, and *rendered* has not."""
    if isinstance(rendered, dict) and isinstance(live, dict):
        for key, value in rendered.items():
            yield from additions(value, live.get(key), f"{path}.{key}")
    if isinstance(rendered, list) and isinstance(live, list):
        expected, present = (
            {each["name"]: each for each in items if isinstance(each, dict) and "name" in each}
            for items in (rendered, live)
        )
        yield from (f"{path}.{name}" for name in present.keys() - expected.keys())
        for name in present.keys() & expected.keys():
            yield from additions(expected[name], present[name], f"{path}.{name}")


def left_of_kustomize(cluster: Cluster) -> list[str]:
    """Return the entries of installed objects that the chart's release does not have.

    Helm replaces what it applied itself; entries that only `kubectl apply` wrote might stay.
    """
    objects = helm.manifest(cluster)
    assert objects
    found: list[str] = []
    for each in objects:
        kind, name = each["kind"], each["metadata"]["name"]
        place = ("-n", each["metadata"]["namespace"]) if "namespace" in each["metadata"] else ()
        found += additions(each, cluster.get(kind, name, *place), f"{kind}/{name}")
    return found


def create(cluster: Cluster, namespace: str, prefix: str) -> Attachments:
    """Start a pod of each choice; return the attachments that each must have."""
    pods = [
        pod_manifest(f"{prefix}-{name}", cni, labels={"stays": "yes"})
        for name, (cni, _) in CHOICES.items()
    ]
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": pods}, "-n", namespace)
    wait = ("wait", "pods", "-n", namespace, "-l", "stays=yes", "--for=condition=Ready")
    cluster.kubectl(*wait, f"--timeout={READY_WITHIN}s", timeout=2 * READY_WITHIN)
    return {f"{prefix}-{name}": interfaces for name, (_, interfaces) in CHOICES.items()}


def delete_one_of_each(cluster: Cluster, namespace: str, expected: Attachments) -> Attachments:
    """Delete the first pod of each version so far; return what the others must have."""
    first = {name.partition("-")[0]: name for name in reversed(expected)}
    cluster.kubectl("delete", "pod", *first.values(), "-n", namespace, "--wait=true")
    return {name: had for name, had in expected.items() if name not in first.values()}


def held(cluster: Cluster, node: Node, namespace: str) -> Attachments:
    """Return the attachments of the pods that stay; none may have restarted."""
    pods = cluster.get("pods", "-n", namespace, "-l", "stays=yes")["items"]
    for pod in pods:
        [container] = pod["status"]["containerStatuses"]
        assert (container["ready"], container["restartCount"]) == (True, 0), pod["metadata"]["name"]
    return attachments(node, pods)


WITH_DEFINITION = ("with-definition", "with-definition-too")
ENFORCED = {"attachmentDefinitions": {"mode": ENFORCE}}


def create_with_definitions(cluster: Cluster, namespace: str) -> None:
    """Start pods on a definition, and one that has been admitted and may not be scheduled yet."""
    cluster.wait_for(lambda: node_label(cluster) == "true", 120, "the label of the node")
    apply(cluster, definition(namespace, "blue", bridge("blue0", 77)), namespace=namespace)
    pods = [selecting(name, "blue") for name in (*WITH_DEFINITION, "waiting")]
    pods[-1]["spec"]["schedulingGates"] = [{"name": "test/later"}]
    apply(cluster, *pods, namespace=namespace)
    wait_until_ready(cluster, namespace, *WITH_DEFINITION)


def node_label(cluster: Cluster) -> str | None:
    """Return the label that pods with definitions require."""
    labels = cluster.get("node", NODE)["metadata"]["labels"]
    value: str | None = labels.get(LABEL)
    return value


def on_definition(cluster: Cluster, node: Node, namespace: str, *pods: str) -> None:
    """Check that exactly *pods* have an address of the definition, and none has restarted."""
    addresses = node.addresses("blue")
    for name in pods:
        [address] = interfaces(cluster, name, namespace)["net1"].addresses[:1]
        assert address in addresses
        [container] = cluster.get("pod", name, "-n", namespace)["status"]["containerStatuses"]
        assert (container["ready"], container["restartCount"]) == (True, 0), name
    assert len(addresses) == len(pods)


def no_node_for(cluster: Cluster, namespace: str, pod: str) -> None:
    """Let *pod* be scheduled; return when the scheduler reports that no node is for it."""
    gates = json.dumps([{"op": "remove", "path": "/spec/schedulingGates"}])
    cluster.kubectl("patch", "pod", pod, "-n", namespace, "--type=json", "-p", gates)
    sentence = "didn't match Pod's node affinity/selector"
    cluster.wait_for(
        lambda: any(
            sentence in message
            for message in pod_events(cluster, namespace, pod, "FailedScheduling")
        ),
        120,
        f"the scheduler's Event about {pod}",
    )


def formats(node: Node) -> set[int]:
    """Return the formats of the records on the node."""
    versions = set()
    for record in node.path("/var/lib/cni/genie").glob("*.json"):
        with contextlib.suppress(FileNotFoundError):  # of a pod of Genie's own that has just ended
            versions.add(json.loads(record.read_bytes())["format"])
    return versions


def records_of(node: Node, namespace: str) -> list[str]:
    """Return the records of a namespace's pods on the node, and all that are corrupt."""
    names = []
    for record in node.path("/var/lib/cni/genie").glob("*.json*"):
        with contextlib.suppress(FileNotFoundError):  # of a pod of Genie's own that has just ended
            if record.name.endswith(".corrupt") or namespace in record.read_text():
                names.append(record.name)
    return names


def test_an_upgrade_that_is_taken_back_and_made_again_loses_nothing(
    cluster: Cluster, namespace: str, predecessor: Path
) -> None:
    """Pods of every version so far keep what they have; each version releases pods of the other.

    No creation fails meanwhile, and in the end no address, record, rule or veth remains. The
    uninstall before it leaves NetworkAttachmentDefinitions, which are the cluster's, as they are.

    The predecessor knows no definitions. So before the downgrade the mode is set to off: pods that
    have one keep it, and one that was admitted before finds no node.
    """
    node = cluster.node(NODE)
    with definitions_untouched(cluster, namespace):
        helm.uninstall(cluster)  # there is no pod yet that could lose anything
    install_genie(cluster, tree=predecessor)
    apply(cluster, CRD)
    try:
        expected = create(cluster, namespace, "old")
        assert held(cluster, node, namespace) == expected

        for prefix, tree in (("upgraded", PROJECT), ("downgraded", predecessor)):
            if tree == PROJECT:
                replace(cluster, namespace, tree, expected, **ENFORCED)
                assert left_of_kustomize(cluster) == []
                create_with_definitions(cluster, namespace)
                on_definition(cluster, node, namespace, *WITH_DEFINITION)
                install_genie(cluster)
                cluster.wait_for(lambda: node_label(cluster) is None, 120, "the label to be gone")
            else:
                replace(cluster, namespace, tree, expected)
                no_node_for(cluster, namespace, "waiting")
                on_definition(cluster, node, namespace, *WITH_DEFINITION)
                cluster.kubectl("delete", "pod", WITH_DEFINITION[0], "-n", namespace)
                on_definition(cluster, node, namespace, *WITH_DEFINITION[1:])
            created = create(cluster, namespace, prefix)
            assert held(cluster, node, namespace) == expected | created
            assert formats(node) == {of_history.FORMAT, FORMAT}

            expected = delete_one_of_each(cluster, namespace, expected) | created
            assert held(cluster, node, namespace) == expected
            assert remaining_leftovers(node) == {}

        replace(cluster, namespace, PROJECT, expected)
    except BaseException:
        install_genie(cluster)  # the next tests need this version
        raise
    finally:
        cluster.kubectl("delete", "crd", CRD["metadata"]["name"])
    on_definition(cluster, node, namespace, *WITH_DEFINITION[1:])
    assert records_of(node, namespace)
    cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--wait=true")
    assert failures(cluster, namespace) == []
    assert remaining_leftovers(node) == {}
    on_definition(cluster, node, namespace)
    assert records_of(node, namespace) == []
