"""NetworkAttachmentDefinitions are copied to the node, and validated, in the mode observe."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.support.agents import agent_pod, agent_settings, granted, restarts, rolled_out
from tests.cluster.support.definitions import (
    OBSERVE,
    define,
    definition,
    definitions_rights,
    webhook_in_mode,
)
from tests.devcluster.genie import NAMESPACE
from tests.tenants import hostile_definitions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.devcluster.cluster import Cluster

NODE = "node1"
NETWORKS = "k8s.v1.cni.cncf.io/networks"
ATTACHMENTS = "cni-genie.io/attachments"
LABEL = "node.cni-genie.io/attachments"
NAME = "network-attachment-definitions.k8s.cni.cncf.io"
SOON = 30
"""Seconds for what an event of a watch causes at once: far less than until the next list."""


def copies(cluster: Cluster) -> Path:
    """Return the directory of the copies on the node."""
    return cluster.node(NODE).path("/var/lib/cni/genie/nad")


def read(file: Path) -> dict[str, Any]:
    """Return a copy; empty if there is none."""
    return dict(json.loads(file.read_text())) if file.exists() else {}


def node_label(cluster: Cluster) -> str | None:
    labels = cluster.get("node", NODE)["metadata"]["labels"]
    value: str | None = labels.get(LABEL)
    return value


def apply(cluster: Cluster, *objects: dict[str, Any]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    cluster.kubectl("apply", "--server-side", "-f", "-", input=text)


def within(seconds: float, holds: Any, what: str) -> float:
    """Wait for what the agent does; return how long it took."""
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() - begin < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - begin


def complaints(cluster: Cluster) -> int:
    """Return how many failures to list or watch the agent's log has."""
    log = cluster.kubectl("logs", agent_pod(cluster, NODE), "-c", "agent", "-n", NAMESPACE).stdout
    return log.count("informer cache cannot list or watch")


@pytest.fixture
def observing(cluster: Cluster) -> Iterator[None]:
    """Let the agents copy definitions, in a cluster whose custom resource is of the test."""
    with (
        granted(cluster, definitions_rights()),
        agent_settings(
            cluster, attachment_definitions_mode=OBSERVE, attachment_definitions_delay_seconds=0
        ),
    ):
        yield
    cluster.kubectl("delete", "crd", NAME, "--ignore-not-found")


@pytest.mark.usefixtures("observing")
def test_definitions_are_copied_while_they_change(cluster: Cluster, namespace: str) -> None:
    """Without the custom resource, once it is there, and through a restart of the agent."""
    folder = copies(cluster)
    state, blue = folder / ".synced", folder / namespace / "blue"

    # The custom resource is missing: one line in the log, no label, and the agent is ready.
    within(SOON, lambda: complaints(cluster) > 0, "the line in the log")
    time.sleep(4)
    assert complaints(cluster) == 1
    assert not read(state).get("complete")
    assert node_label(cluster) is None

    # It appears: the agent asks again, after a minute at most.
    define(cluster)
    within(60 + SOON, lambda: read(state).get("complete"), "the first complete copy")
    within(SOON, lambda: node_label(cluster) == "true", "the label")

    # Created, changed, refused.
    apply(cluster, definition(namespace, "blue", {"type": "bridge", "mtu": 1400}))
    within(SOON, blue.exists, "the copy")
    first = read(blue)
    assert (first["format"], first["refused"]) == (1, "")
    assert json.loads(first["config"]) == {"type": "bridge", "mtu": 1400}
    assert (blue.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    apply(cluster, definition(namespace, "blue", {"type": "bridge", "mtu": 1300}))
    within(SOON, lambda: read(blue)["hash"] != first["hash"], "the changed copy")
    apply(
        cluster,
        definition(namespace, "large", {"type": "bridge", "x": "y" * (1 << 20)}),
        definition(namespace, "hostile", [None]),
    )
    for name, reason in (("large", "may not be more than 64 KiB"), ("hostile", "a JSON object")):
        within(SOON, (folder / namespace / name).exists, name)
        assert reason in read(folder / namespace / name)["refused"]
        assert read(folder / namespace / name)["config"] == ""

    # Another program removes the copy: it is written again while nothing else changes.
    blue.unlink()
    within(SOON, blue.exists, "the restored copy")

    # The agent is restarted, and a definition deleted meanwhile: no other file is written again.
    written = blue.stat().st_mtime_ns
    cluster.kubectl("delete", "pod", agent_pod(cluster, NODE), "-n", NAMESPACE)
    cluster.kubectl("delete", "net-attach-def", "large", "-n", namespace)
    rolled_out(cluster)
    within(120, lambda: not (folder / namespace / "large").exists(), "the removal after a list")
    assert blue.stat().st_mtime_ns == written
    assert node_label(cluster) == "true"
    cluster.kubectl("delete", "net-attach-def", "blue", "-n", namespace)
    within(SOON, lambda: not blue.exists(), "the removal after an event")


def test_without_the_mode_nothing_of_it_is_left(cluster: Cluster) -> None:
    """The copies and the label of an earlier mode are removed; this test follows the one above."""
    within(SOON, lambda: node_label(cluster) is None, "the label")
    assert not copies(cluster).exists()


SELECTING = """\
kind: Pod
apiVersion: v1
metadata:
  name: web
  annotations:
    k8s.v1.cni.cncf.io/networks: |
      [{"name": "blue", "interface": "eth0"},
       {"name": "red", "deviceID": "0000:00:1f.0", "mac": "02-00-00-00-00-01"}]
    v1.multus-cni.io/default-network: a@b
spec:
  containers: [{name: c, image: "nginx:latest"}]
"""
WARNED = """\
metadata.annotations[k8s.v1.cni.cncf.io/networks]: Genie ignores this annotation and \
"v1.multus-cni.io/default-network"; name the networks in "cni"
metadata.annotations[k8s.v1.cni.cncf.io/networks]: Invalid value: "deviceID": item 2: deviceID: \
a pod may not name a device of the node: remove the key; the device comes from the container \
runtime (line 2 column 18)
metadata.annotations[v1.multus-cni.io/default-network]: Invalid value: "b": item 1: \
the primary is on "eth0": leave the interface out (line 1 column 1)
"""


@pytest.fixture(scope="module")
def admitting(cluster: Cluster) -> Iterator[None]:
    """Let the webhook observe, in a cluster with the custom resource."""
    define(cluster)
    with webhook_in_mode(cluster, OBSERVE):
        yield
    cluster.kubectl("delete", "crd", NAME)


def warnings(cluster: Cluster, namespace: str, *arguments: str, text: str) -> list[str]:
    """Return what kubectl warns of when it writes *text*."""
    result = cluster.kubectl(*arguments, "-n", namespace, "-f", "-", input=text)
    lines = result.stderr.splitlines()
    return [each.removeprefix("Warning: ") for each in lines if each.startswith("Warning: ")]


CREATE = ("create", "--dry-run=server")


def test_without_the_mode_a_selection_has_one_warning(cluster: Cluster, namespace: str) -> None:
    """That it is ignored; this test is before those that need the fixture below."""
    assert warnings(cluster, namespace, *CREATE, text=SELECTING) == WARNED.splitlines()[:1]


@pytest.mark.usefixtures("admitting")
def test_faults_of_selections_are_warnings_in_that_mode(cluster: Cluster, namespace: str) -> None:
    """The pod is admitted as it is."""
    assert warnings(cluster, namespace, *CREATE, text=SELECTING) == WARNED.splitlines()


def selecting(value: str, **annotations: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "annotations": {NETWORKS: value, **annotations}},
        "spec": {
            "containers": [{"name": "c", "image": "nginx:latest"}],
            "nodeSelector": {"no": "node"},
        },
    }


@pytest.mark.usefixtures("admitting")
def test_what_was_validated_is_written_into_the_pod(cluster: Cluster, namespace: str) -> None:
    """Over a forgery, of a definition in the same manifest, and also when it is applied again."""
    forged = {ATTACHMENTS: "=kube-system/secret:000000+hostPort"}
    objects = [definition(namespace, "blue", {"type": "bridge"}), selecting("blue@data", **forged)]
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    annotations: dict[str, str] = {}
    for _ in range(2):
        warned = warnings(cluster, namespace, "apply", text=manifest)
        assert [each for each in warned if "Genie ignores this annotation" not in each] == []
        annotations = cluster.get("pod", "web", "-n", namespace)["metadata"]["annotations"]
        assert re.fullmatch(f"{namespace}/blue:[0-9a-f]{{6}}", annotations[ATTACHMENTS])
        assert annotations[NETWORKS] == "blue@data"

    change = ("annotate", "--overwrite", "pod", "web", "-n", namespace)
    result = cluster.kubectl(*change, f"{NETWORKS}=red", f"{ATTACHMENTS}-")
    assert "a change has no effect on a pod that exists" in result.stderr
    after = cluster.get("pod", "web", "-n", namespace)["metadata"]["annotations"]
    assert after[ATTACHMENTS] == annotations[ATTACHMENTS]


@pytest.mark.usefixtures("admitting")
def test_what_cannot_be_attached_is_a_warning(cluster: Cluster, namespace: str) -> None:
    """Of the pod, and of a definition that no node could run; none of them is refused."""
    wrong = definition(namespace, "wrong", {"plugins": [{"type": "bridge"}, {"type": "../x"}]})
    [warned] = warnings(cluster, namespace, "create", text=json.dumps(wrong))
    assert warned.startswith(
        "spec.config: Genie will attach no pod to this definition: plugins[1].type: "
    )
    apply(cluster, definition(namespace, "blue", {"type": "bridge"}))

    sentences = {
        "bleu": f'Not found: "{namespace}/bleu": item 1: no NetworkAttachmentDefinition has this '
        'name (did you mean "blue"?)',
        "kube-system/blue": 'Forbidden: item 1: "kube-system/blue" is in another namespace',
        "wrong": f'Invalid value: "{namespace}/wrong": item 1: this definition cannot be attached '
        "on any node: ",
    }
    for value, sentence in sentences.items():
        # A suggestion comes from the cache, which follows the definition above.
        within(
            SOON,
            lambda value=value, sentence=sentence: any(
                sentence in each
                for each in warnings(cluster, namespace, *CREATE, text=json.dumps(selecting(value)))
            ),
            sentence,
        )


@pytest.mark.usefixtures("admitting")
def test_hostile_definitions_stop_no_replica(cluster: Cluster, namespace: str) -> None:
    """Admission and informer cache read each of them; the next is answered as before."""
    running = restarts(cluster)
    apply(cluster, *hostile_definitions(namespace))
    [warned] = warnings(
        cluster,
        namespace,
        *CREATE,
        text=json.dumps(definition(namespace, "x", {"type": "../x"})),
    )
    assert "Genie will attach no pod to this definition: type: " in warned
    within(
        SOON,
        lambda: any(
            "this definition cannot be attached on any node: spec.config: not valid JSON" in each
            for each in warnings(
                cluster, namespace, *CREATE, text=json.dumps(selecting("not-a-number"))
            )
        ),
        "the warning of a pod",
    )
    assert restarts(cluster) == running
