"""Definitions that hostile pods select, with webhook and policies: the attacks of the other files.

An author writes ``cni-genie.io/attachments``, or selects what the namespace does not permit. Each
ends in a refusal, or in the value that the webhook permits. The webhook is a process beside a real
API server, which has the chart's policies of the mode ``enforce``; there is no node.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING

import pytest

from dispatcher.kube.client import KubeError
from tests.cluster.support.admission import api, make_spaces, own_cluster
from tests.cluster.support.attachments import (
    ATTACHMENTS,
    CHANGES,
    DEFAULT_NETWORK,
    ESCAPED,
    FOREIGN,
    NETWORKS,
    PORTS,
    SHARED,
    items,
    patched,
    refusal,
    selecting,
)
from tests.cluster.support.definitions import define, definition
from tests.cluster.support.outside_webhook import apply_chart, running_webhook

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.devcluster.cluster import Cluster

SPACES: Mapping[str, Mapping[str, str]] = {
    "shop": {},
    "bank": {"cni-genie.io/allowed": "canal"},
    "ports": {"cni-genie.io/host-ports": "allow"},
    "defaulted": {"cni": "weave"},
    "infra": {},
}


@pytest.fixture(scope="module")
def both() -> Iterator[Cluster]:
    """Give an API server with the policies of the mode enforce, a webhook, and definitions."""
    with own_cluster("attacked") as cluster:
        apply_chart(cluster, values=SHARED)
        _define(cluster)
        admin = api(cluster)
        selected = (admin, "shop", {NETWORKS: "a"})
        cluster.wait_for(lambda: refusal(*selected), 120, "the policies to be in force")
        settings = {
            "GENIE_ATTACHMENT_DEFINITIONS_MODE": "enforce",
            "GENIE_SHARED_NAMESPACES": "common,infra",
            "GENIE_NETWORKS": "weave,canal",
        }
        with running_webhook(cluster, values=SHARED, **settings):
            cluster.wait_for(lambda: not refusal(*selected), 120, "the API server to ask it")
            yield cluster


def _define(cluster: Cluster) -> None:
    define(cluster)
    make_spaces(cluster, SPACES)
    ports = {"type": "bridge", "capabilities": {"portMappings": True}}
    spaces = ("shop", "bank", "ports", "defaulted", "infra")
    definitions = [definition(space, "a", ports) for space in spaces]
    definitions += [definition(space, "weave", {}) for space in ("shop", "bank")]
    for each in definitions[len(spaces) :]:
        del each["spec"]["config"]
    every = {"apiVersion": "v1", "kind": "List", "items": definitions}
    cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(every))


ATTACKS: Mapping[str, tuple[str, dict[str, str], str]] = {
    "another definition forged": (
        "shop",
        {NETWORKS: "a", ATTACHMENTS: items("shop/b")},
        r"shop/a:\w{6}",
    ),
    "another order forged": (
        "shop",
        {NETWORKS: "a,weave", ATTACHMENTS: items("shop/weave", "shop/a")},
        r"shop/a:\w{6},shop/weave:\w{6}\+nodeNetwork",
    ),
    "a primary forged": ("shop", {NETWORKS: "a", ATTACHMENTS: items("=shop/a")}, r"shop/a:\w{6}"),
    "ports forged": (
        "shop",
        {NETWORKS: "a", ATTACHMENTS: items("shop/a", marks="+hostPort")},
        r"shop/a:\w{6}",
    ),
    "permitted ports": ("ports", {NETWORKS: ESCAPED, ATTACHMENTS: ""}, r"ports/a:\w{6}\+hostPort"),
    "a permission without a selection": ("shop", {ATTACHMENTS: items("bank/a")}, ""),
    "a permission beside an empty list": (
        "shop",
        {NETWORKS: "[]", ATTACHMENTS: items("=bank/a")},
        "",
    ),
    "no form": ("shop", {NETWORKS: "infra/a", ATTACHMENTS: "a" * 20_000}, r"infra/a:\w{6}"),
    "a primary instead of the default": (
        "defaulted",
        {DEFAULT_NETWORK: "defaulted/a", ATTACHMENTS: items("defaulted/a")},
        r"=defaulted/a:\w{6}",
    ),
}
"""Values that an author wrote, and the one that is stored."""


@pytest.mark.parametrize(("namespace", "annotations", "value"), ATTACKS.values(), ids=ATTACKS)
def test_webhook_and_policies_store_what_is_permitted_in_place_of(
    both: Cluster, namespace: str, annotations: dict[str, str], value: str
) -> None:
    """The author's selection stays as it is; server-side apply gives the same."""
    for how in ((), ("--server-side",)):
        body = {"kind": "Pod", "apiVersion": "v1", **selecting(annotations)}
        body["metadata"] = {"name": "web", "annotations": annotations}
        command = ("apply", *how, "--dry-run=server", "-o", "json", "-n", namespace, "-f", "-")
        output = both.kubectl(*command, input=json.dumps(body)).stdout
        after = json.loads(output)["metadata"].get("annotations", {})
        assert re.fullmatch(value, after.get(ATTACHMENTS, "")), after
        assert (ATTACHMENTS in after) is bool(value)
        author = {key: text for key, text in annotations.items() if key != ATTACHMENTS}
        assert after.items() >= author.items()


REFUSED: Mapping[str, tuple[str, dict[str, str], str]] = {
    "another namespace": ("shop", {NETWORKS: "bank/a", ATTACHMENTS: items("shop/a")}, FOREIGN),
    "another namespace as the primary": ("shop", {DEFAULT_NETWORK: "bank/a"}, FOREIGN),
    "Multus' namespace as the primary": (
        "shop",
        {DEFAULT_NETWORK: "a", ATTACHMENTS: items("=shop/a")},
        '"kube-system/a" is in another namespace than the pod, "shop"',
    ),
    "the empty definition own/weave": (
        "bank",
        {NETWORKS: "weave", ATTACHMENTS: items("bank/weave")},
        'selects the network "weave", which is not allowed in namespace "bank"',
    ),
    "ports behind escaped keys": (
        "shop",
        {NETWORKS: ESCAPED, ATTACHMENTS: items("shop/a", marks="+hostPort")},
        PORTS,
    ),
    "null": ("shop", {NETWORKS: "[null]", ATTACHMENTS: ""}, "must be an object"),
    "too many, with cni": ("shop", {"cni": "weave,canal,weave", NETWORKS: "a,a"}, "at most 4"),
    "the default beside another primary": (
        "defaulted",
        {"cni": "weave", DEFAULT_NETWORK: "a"},
        'cannot be combined with "cni"',
    ),
}


@pytest.mark.parametrize(("namespace", "annotations", "part"), REFUSED.values(), ids=REFUSED)
def test_the_webhook_refuses_before_the_policies(
    both: Cluster, namespace: str, annotations: dict[str, str], part: str
) -> None:
    """Its sentence names the item."""
    message = refusal(api(both), namespace, annotations)
    assert part in message
    assert f"[{DEFAULT_NETWORK if DEFAULT_NETWORK in annotations else NETWORKS}]" in message
    assert "ValidatingAdmissionPolicy" not in message


def test_a_stored_pod_keeps_what_was_permitted_with_the_webhook(both: Cluster) -> None:
    """A write of any kind is refused, or leaves the annotations as they were."""
    admin = api(both)
    path = "/api/v1/namespaces/shop/pods"
    name = admin.create(path, selecting({NETWORKS: "a"}, schedulerName="none"))["metadata"]["name"]
    stored = f"{path}/{name}"
    before = admin.get(stored)["metadata"]["annotations"]
    assert re.fullmatch(r"shop/a:\w{6}", before[ATTACHMENTS])
    try:
        for subresource in ("", "/status", "/ephemeralcontainers", "/resize"):
            for changes in CHANGES.values():
                with contextlib.suppress(KubeError):
                    patched(admin, stored + subresource, changes)
                assert admin.get(stored)["metadata"]["annotations"] == before
        for key in (NETWORKS, DEFAULT_NETWORK, ATTACHMENTS):
            metadata = {"name": name, "annotations": {key: "bank/a"}}
            target = {"apiVersion": "v1", "kind": "Node", "name": "node1"}
            body = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
            with contextlib.suppress(KubeError):
                admin.create(f"{stored}/binding", body)
            assert admin.get(stored)["metadata"]["annotations"] == before
    finally:
        both.kubectl("delete", "pod", name, "-n", "shop", "--grace-period=0", "--force")
