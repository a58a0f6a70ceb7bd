"""The objects networks.cni-genie.io on a real cluster: who sees them, and who may write what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from webhook.network_objects import object_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.devcluster.client import Command
    from tests.devcluster.cluster import Cluster

NETWORKS = "networks.cni-genie.io"
WEBHOOK = "system:serviceaccount:genie-system:genie-webhook"
ANYBODY = ("--as=somebody", "--as-group=system:authenticated")
STOLEN = (f"--as={WEBHOOK}", "--as-group=system:serviceaccounts", "--as-group=system:authenticated")
STOLEN_WITH_EVERY_RIGHT = (f"--as={WEBHOOK}", "--as-group=system:masters")
LATER = "Lab_1"
"""A network whose object cannot have its name."""


@pytest.fixture(scope="module")
def networks(cluster: Cluster) -> Cluster:
    """Give the cluster when the webhook has written its networks as they are."""
    expected = {"canal": "1/1", "weave": "1/1"}  # a test before may have changed a label
    cluster.wait_for(lambda: expected.items() <= ready(cluster).items(), 60, "the networks")
    return cluster


def ready(cluster: Cluster) -> dict[str, str]:
    """Return what the column READY says of each network."""
    items = json.loads(cluster.kubectl("get", NETWORKS, "-o", "json").stdout)["items"]
    columns = {each["spec"]["network"]: each.get("status", {}).get("columns") for each in items}
    return {name: each["ready"] for name, each in columns.items() if each}


def one(cluster: Cluster, name: str) -> dict[str, Any]:
    content: dict[str, Any] = cluster.get(NETWORKS, name)
    return content


def test_anybody_who_is_logged_in_can_list_the_networks(networks: Cluster) -> None:
    """With the columns that a developer needs, and no right on nodes."""
    result = networks.kubectl("get", NETWORKS, *ANYBODY)
    head, *rows = result.stdout.splitlines()
    titles = ["NAME", "NETWORK", "READY", "DEFAULT", "PLUGINS", "AGE"]
    assert head.split() == titles
    # Cut below the titles: a column that is empty has no word in a row.
    starts = [head.index(title) for title in titles]
    cells = [
        [row[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
        for row in rows
    ]
    by_name = {row[0]: row[1:] for row in cells}
    assert by_name["canal"][:3] == ["canal", "1/1", "true"]
    assert by_name["weave"][:3] == ["weave", "1/1", "false"]
    # A network of another test may be gone from the nodes, and has no plugins then.
    assert all(by_name[name][3] for name in ("canal", "weave"))
    refused = networks.kubectl("get", "nodes", *ANYBODY, check=False)
    assert "forbidden" in refused.stderr


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("delete", NETWORKS, "weave"), id="delete"),
        pytest.param(("label", NETWORKS, "weave", "a=b"), id="change"),
    ],
)
def test_anybody_cannot_change_them(networks: Cluster, command: tuple[str, ...]) -> None:
    """The role has no verb that writes."""
    result = networks.kubectl(*command, *ANYBODY, "--dry-run=server", check=False)
    assert "forbidden" in result.stderr


@pytest.fixture
def later_network(networks: Cluster) -> Iterator[Callable[[str], Command]]:
    """Give a function that labels the node with a network; the label goes at the end."""
    label = f"network.cni-genie.io/{LATER}"
    yield lambda value: networks.kubectl("label", "node", "node1", f"{label}={value}")
    networks.kubectl("label", "node", "node1", f"{label}-")


def test_what_is_changed_by_hand_is_restored_and_a_description_stays(
    networks: Cluster, later_network: Callable[[str], Command]
) -> None:
    """All at once, because the webhook writes every ten seconds."""
    age = one(networks, "canal")["metadata"]["uid"]
    description = {"spec": {"description": "fast, and not for production"}}
    networks.kubectl("delete", NETWORKS, "canal")
    networks.kubectl("patch", NETWORKS, "weave", "--type=merge", "-p", json.dumps(description))
    wrong = {"status": {"default": True, "columns": {"ready": "9/9"}}}
    patch = ("patch", NETWORKS, "weave", "--subresource=status", "--type=merge", "-o", "json")
    # The answer itself: the webhook may restore the status before the next read.
    patched = json.loads(networks.kubectl(*patch, "-p", json.dumps(wrong)).stdout)
    assert patched["status"]["columns"]["ready"] == "9/9"
    later_network("false")

    expected = {"canal": "1/1", "weave": "1/1", LATER: "0/1"}
    networks.wait_for(  # other tests may have left labels of other networks
        lambda: expected.items() <= ready(networks).items(), 120, "the networks to be restored"
    )
    weave = one(networks, "weave")
    assert weave["spec"] == {"network": "weave", **description["spec"]}
    assert weave["status"]["default"] is False
    assert one(networks, "canal")["metadata"]["uid"] != age
    assert one(networks, object_name(LATER))["spec"] == {"network": LATER}

    networks.kubectl("label", "node", "node1", f"network.cni-genie.io/{LATER}-")
    networks.wait_for(lambda: LATER not in ready(networks), 120, "the end of an unknown network")
    assert one(networks, "weave")["spec"] == weave["spec"]


def test_one_replica_writes_and_another_continues_after_it(networks: Cluster) -> None:
    """The Lease names its pod, and is released when that pod is deleted.

    After a crash it is free after 30 seconds: tests/unit/kube/test_lease.py.
    """
    lease = ("lease", "genie-webhook-networks", "-n", "genie-system")

    def holder() -> str:
        identity: str = networks.get(*lease)["spec"].get("holderIdentity", "")
        return identity.partition("_")[0]

    networks.wait_for(holder, 120, "a holder of the Lease")
    before = holder()
    # It may just be going with an earlier rollout.
    ending = ("--wait=false", "--ignore-not-found")
    networks.kubectl("delete", "pod", before, "-n", "genie-system", *ending)
    networks.wait_for(lambda: holder() not in {"", before}, 120, "another holder of the Lease")

    networks.kubectl("delete", NETWORKS, "canal")
    networks.wait_for(lambda: ready(networks).get("canal") == "1/1", 120, "canal to be restored")


def network(name: str = "lab", **more: Any) -> dict[str, Any]:
    """Return the object of a network."""
    spec = {"network": "lab", **more}
    return {
        "apiVersion": "cni-genie.io/v1alpha1",
        "kind": "Network",
        "metadata": {"name": name},
        "spec": spec,
    }


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        pytest.param(network("other"), "metadata.name must be spec.network", id="another name"),
        pytest.param(
            network("lab", network="Lab"), "metadata.name must be spec.network", id="no hash"
        ),
        pytest.param(network("lab", network="a/b"), "spec.network in body should match", id="a/b"),
        pytest.param(network(colour="red"), 'unknown field "spec.colour"', id="an unknown field"),
    ],
)
def test_an_invalid_object_is_refused(
    networks: Cluster, manifest: dict[str, Any], sentence: str
) -> None:
    """By the schema and its rules, for administrators too."""
    result = networks.apply(manifest, "--dry-run=server", "--validate=strict", check=False)
    assert sentence in result.stderr


def test_the_network_of_an_object_cannot_be_changed(networks: Cluster) -> None:
    """The name follows from it."""
    patch = ("--type=merge", "-p", '{"spec": {"network": "canal"}}', "--dry-run=server")
    result = networks.kubectl("patch", NETWORKS, "weave", *patch, check=False)
    assert "spec.network cannot be changed" in result.stderr


STATUS = {"status": {"columns": {"ready": "0/1"}}}
DESCRIPTION = json.dumps({"spec": {"description": "x"}})


def attempt(cluster: Cluster, who: tuple[str, ...], *words: str, manifest: Any = None) -> str:
    """Return what the API server says against a command as *who*, in a dry run."""
    text = None if manifest is None else json.dumps(manifest)
    return cluster.kubectl(*words, *who, "--dry-run=server", input=text, check=False).stderr.strip()


def test_the_webhooks_token_may_do_what_the_webhook_does(networks: Cluster) -> None:
    """Create, write a status, delete."""
    # `kubectl patch` would read the status first, which the webhook does not.
    apply = ("apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-")
    status = network("canal") | STATUS
    assert attempt(networks, STOLEN, "create", "-f", "-", manifest=network()) == ""
    assert attempt(networks, STOLEN, *apply, "--subresource=status", manifest=status) == ""
    delete = ("delete", "--raw", "/apis/cni-genie.io/v1alpha1/networks/canal?dryRun=All")
    assert networks.kubectl(*delete, *STOLEN, check=False).stderr == ""


def test_a_stolen_token_cannot_touch_what_administrators_write(networks: Cluster) -> None:
    """By the policy, also if somebody gives the webhook more rights than it needs."""
    may_not = "the Genie webhook may "
    describe = ("patch", NETWORKS, "canal", "--type=merge", "-p", DESCRIPTION)
    assert "forbidden" in attempt(networks, STOLEN, *describe)
    assert f"{may_not}update only the status" in attempt(
        networks, STOLEN_WITH_EVERY_RIGHT, *describe
    )
    for manifest in (
        network(description="x"),
        network() | {"metadata": {"name": "lab", "labels": {"a": "b"}}},
        network() | {"metadata": {"name": "lab", "finalizers": ["a.example/b"]}},
    ):
        done = attempt(networks, STOLEN, "create", "-f", "-", manifest=manifest)
        assert f"{may_not}create a network only" in done


def test_a_stolen_token_cannot_delete_a_described_network(networks: Cluster) -> None:
    """The text would be lost."""
    networks.kubectl("patch", NETWORKS, "weave", "--type=merge", "-p", DESCRIPTION)
    result = networks.kubectl("delete", NETWORKS, "weave", *STOLEN, "--wait=false", check=False)
    assert "may not delete a network that has a description" in result.stderr
