"""Definitions that pods select, with the webhook down: the API server alone, new and old.

Whatever a pod's author writes into ``cni-genie.io/attachments``, the pod gains nothing that the
policies refuse; what they cannot see, the plugin refuses (test_attach_definitions.py). The chart is
that of the mode ``enforce``. There is no node, and nothing runs in the cluster.
"""

from __future__ import annotations

import functools
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.kube.client import KubeError
from tests.cluster.support.admission import api
from tests.cluster.support.attachments import (
    ATTACHMENTS,
    CHANGES,
    CROWDED,
    DEFAULT_NETWORK,
    ESCAPED,
    FOREIGN,
    NETWORKS,
    PORTS,
    SHARED,
    items,
    patched,
    policies_alone,
    refusal,
    replaced,
    selecting,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dispatcher.kube.client import Kube
    from tests.devcluster.cluster import Cluster


SPACES: Mapping[str, Mapping[str, str]] = {
    "shop": {},
    "bank": {"cni-genie.io/allowed": " canal, partner/gold,\nopen/*"},
    "closed": {"cni-genie.io/allowed": ""},
    "endless": {"cni-genie.io/allowed": "x/y," * 2100},
    "crowded": CROWDED,
    "ports": {"cni-genie.io/host-ports": " allow\n"},
    "no-ports": {"cni-genie.io/host-ports": "allowed"},
    "default": {},
    "defaulted": {"cni": "weave"},
    "choosing": {"cni-genie.io/choose": "weave,canal"},
    "long-default": {"cni": "a,b,c,d,e"},
    "roomy": {"cni-genie.io/max-attachments": "6", "cni-genie.io/max-per-network": "3"},
}
"""Namespaces as they may be stored: what the webhook refuses is written while it is down."""


@pytest.fixture(scope="module", params=["current", "oldest"])
def policies(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Give an API server with the policies of the mode enforce, and no webhook."""
    with policies_alone("selects", request.param, SHARED, SPACES, {NETWORKS: "a"}) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def admin(policies: Cluster) -> Kube:
    """Give a client that may do everything."""
    return api(policies)


UNCHECKED = "was not checked: is the Genie webhook running?"
FORM = "only the Genie webhook writes this annotation"
NULL = "an element of the list must not be null"
MISSING_DEFAULT = "was not filled in"
MISSING_CHOICE = (
    'no network of the list "cni-genie.io/choose" of namespace "choosing" was filled in'
)

CREATED: Mapping[str, tuple[str, dict[str, str], str]] = {
    # what the author selects, and no attachments
    "no selection": ("shop", {}, ""),
    "blank selections": ("shop", {NETWORKS: " \n", DEFAULT_NETWORK: "\t"}, ""),
    "an empty list": ("shop", {NETWORKS: " [ ] "}, ""),
    "a short form": ("shop", {NETWORKS: "a"}, f"[{NETWORKS}]: Forbidden: the selection of"),
    "JSON": ("shop", {NETWORKS: '[{"name":"a"}]'}, UNCHECKED),
    "escaped keys": ("shop", {NETWORKS: ESCAPED}, UNCHECKED),
    "a blank of another kind": ("shop", {NETWORKS: "\u2003"}, UNCHECKED),
    "a default network": ("shop", {DEFAULT_NETWORK: "a"}, f"[{DEFAULT_NETWORK}]: Forbidden"),
    # attachments that the author wrote
    "present": ("shop", {NETWORKS: "a", ATTACHMENTS: items("shop/a")}, ""),
    "present and empty, as for Multus": ("shop", {NETWORKS: "a", ATTACHMENTS: ""}, ""),
    "reordered, for the plugin to see": (
        "shop",
        {NETWORKS: "a,b", ATTACHMENTS: items("shop/b", "shop/a")},
        "",
    ),
    "without a selection": ("shop", {ATTACHMENTS: items("other/a")}, FOREIGN),
    "blanks": ("shop", {NETWORKS: "a", ATTACHMENTS: " "}, FORM),
    "a newline at the end": ("shop", {NETWORKS: "a", ATTACHMENTS: items("shop/a") + "\n"}, FORM),
    "no hash": ("shop", {NETWORKS: "a", ATTACHMENTS: "shop/a"}, FORM),
    "no namespace": ("shop", {NETWORKS: "a", ATTACHMENTS: items("a")}, FORM),
    "another mark": ("shop", {NETWORKS: "a", ATTACHMENTS: items("shop/a", marks="+all")}, FORM),
    "two primaries": ("shop", {ATTACHMENTS: items("=shop/a", "=shop/a")}, FORM),
    "a path": ("shop", {NETWORKS: "a", ATTACHMENTS: items("shop/../other/a")}, FORM),
    "a name of 254": ("shop", {NETWORKS: "a", ATTACHMENTS: items("shop/" + "a" * 254)}, FORM),
    "33 items": ("roomy", {ATTACHMENTS: items(*["roomy/a"] * 33)}, "at most 32 items"),
    # other namespaces
    "another namespace": ("shop", {NETWORKS: "b/a", ATTACHMENTS: items("b/a")}, FOREIGN),
    "another behind its own": (
        "shop",
        {ATTACHMENTS: items("shop/a", "b/a")},
        '"b/a" is in another',
    ),
    "another as the primary": ("shop", {ATTACHMENTS: items("=b/a")}, '"b/a" is in another'),
    "a shared one": ("shop", {NETWORKS: "infra/a", ATTACHMENTS: items("infra/a")}, ""),
    "a listed one": ("bank", {ATTACHMENTS: items("partner/gold")}, ""),
    "another of its namespace": ("bank", {ATTACHMENTS: items("partner/iron")}, FOREIGN),
    "any of a listed namespace": ("bank", {ATTACHMENTS: items("open/a.b")}, ""),
    "its own despite the list": ("closed", {ATTACHMENTS: items("closed/a")}, ""),
    "a list that is too long": ("endless", {ATTACHMENTS: items("x/y")}, "more than 8192 bytes"),
    # a definition without a config is the nodes' network of its name
    "the empty definition own/weave": (
        "bank",
        {ATTACHMENTS: items("bank/weave", marks="+nodeNetwork")},
        'selects the network "weave", which is not allowed in namespace "bank"',
    ),
    "the empty definition of a shared namespace": (
        "closed",
        {ATTACHMENTS: items("common/weave", marks="+nodeNetwork")},
        'selects the network "weave"',
    ),
    "an allowed network": ("bank", {ATTACHMENTS: items("bank/canal", marks="+nodeNetwork")}, ""),
    "no list of networks": ("shop", {ATTACHMENTS: items("shop/weave", marks="+nodeNetwork")}, ""),
    # ports of the node
    "ports": ("shop", {NETWORKS: ESCAPED, ATTACHMENTS: items("shop/a", marks="+hostPort")}, PORTS),
    "ports on a network of the node": (
        "shop",
        {ATTACHMENTS: items("shop/weave", marks="+nodeNetwork+hostPort")},
        PORTS,
    ),
    "permitted ports": ("ports", {ATTACHMENTS: items("ports/a", marks="+hostPort")}, ""),
    "another word": ("no-ports", {ATTACHMENTS: items("no-ports/a", marks="+hostPort")}, PORTS),
    # null elements
    "null alone": ("shop", {NETWORKS: "[null]", ATTACHMENTS: ""}, NULL),
    "null first": ("shop", {NETWORKS: ' [\n null , {"name":"a"}]', ATTACHMENTS: ""}, NULL),
    "null last": ("shop", {NETWORKS: '[{"name":"a"} , null\n] ', ATTACHMENTS: ""}, NULL),
    "null between": ("shop", {DEFAULT_NETWORK: "[{},null,{}]", ATTACHMENTS: ""}, NULL),
    "a definition named null": ("shop", {NETWORKS: "null", ATTACHMENTS: items("shop/null")}, ""),
    "null in cni-args": (
        "shop",
        {
            NETWORKS: '[{"name":"a","cni-args":{"x":[1,null],"y":null}}]',
            ATTACHMENTS: items("shop/a"),
        },
        "",
    ),
    # limits: "cni" and definitions count together
    "the limit": ("shop", {"cni": "x,y", ATTACHMENTS: items("shop/a", "shop/b")}, ""),
    "one more": (
        "shop",
        {"cni": "x,y,z", NETWORKS: "a,b", ATTACHMENTS: items("shop/a", "shop/b")},
        f'[{NETWORKS}]: Too many: must have at most 4 networks in namespace "shop" (has 5)',
    ),
    "one more than a long default": (
        "long-default",
        {"cni": "a,b,c,d,e", ATTACHMENTS: items("long-default/a")},
        "must have at most 4 networks",
    ),
    "one definition three times": (
        "shop",
        {ATTACHMENTS: items(*["shop/a"] * 3)},
        'at most 2 attachments of network "shop/a" in namespace "shop" (has 3)',
    ),
    "as often as this namespace allows": ("roomy", {ATTACHMENTS: items(*["roomy/a"] * 3)}, ""),
    "a network twice, and the definition of it": (
        "shop",
        {"cni": "weave,weave@x", ATTACHMENTS: items("shop/weave", marks="+nodeNetwork")},
        'at most 2 attachments of network "weave"',
    ),
    "three definitions of one network": (
        "shop",
        {ATTACHMENTS: items("shop/weave", "infra/weave", "common/weave", marks="+nodeNetwork")},
        'at most 2 attachments of network "weave"',
    ),
    # a pod that selects its primary does not get the namespace's default
    "another primary": (
        "defaulted",
        {DEFAULT_NETWORK: "a", ATTACHMENTS: items("=defaulted/a")},
        "",
    ),
    "no primary": ("defaulted", {DEFAULT_NETWORK: "[]", ATTACHMENTS: ""}, MISSING_DEFAULT),
    "another primary than one of a list": (
        "choosing",
        {DEFAULT_NETWORK: "a", ATTACHMENTS: items("=choosing/a")},
        "",
    ),
    "nothing chosen from a list": ("choosing", {}, MISSING_CHOICE),
    "no primary, and nothing chosen": (
        "choosing",
        {DEFAULT_NETWORK: "[]", ATTACHMENTS: ""},
        MISSING_CHOICE,
    ),
    "a network of a list": ("choosing", {"cni": "canal"}, ""),
    "a secondary alone": (
        "defaulted",
        {NETWORKS: "a", ATTACHMENTS: items("defaulted/a")},
        MISSING_DEFAULT,
    ),
}


@pytest.mark.parametrize(("namespace", "annotations", "part"), CREATED.values(), ids=CREATED)
def test_a_new_pod_with(
    admin: Kube, namespace: str, annotations: dict[str, str], part: str
) -> None:
    """It is accepted, or refused with a sentence; no expression fails."""
    message = refusal(admin, namespace, annotations)
    assert bool(message) is bool(part), message
    assert part in message


EXCLUDED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "of the host's network": ("shop", {"hostNetwork": True}),
    "of Windows": ("shop", {"os": {"name": "windows"}}),
    "of kube-system": ("kube-system", {}),
    "of Genie": ("genie-system", {}),
}


@pytest.mark.parametrize(("namespace", "spec"), EXCLUDED.values(), ids=EXCLUDED)
def test_no_policy_is_for_a_pod(
    policies: Cluster, admin: Kube, namespace: str, spec: dict[str, Any]
) -> None:
    """As for ``cni``: Genie attaches none of them, or their author is an administrator."""
    account = ("serviceaccount", "default", "-n", namespace)
    policies.wait_for(functools.partial(policies.exists, *account), 120, "the account of its pods")
    annotations = {NETWORKS: "b/a", ATTACHMENTS: items("b/a", marks="+hostPort")}
    assert refusal(admin, namespace, annotations, **spec) == ""


LARGE: Mapping[str, tuple[str, dict[str, str], str]] = {
    "a selection": ("shop", {NETWORKS: "a," * 100_000}, "may not be more than 65536 bytes"),
    "a selection of nulls": ("shop", {NETWORKS: "},null" * 10_922}, UNCHECKED),
    "a selection of blanks": ("shop", {NETWORKS: " " * 65_536}, ""),
    "attachments": ("shop", {ATTACHMENTS: (items("shop/a") + ",") * 13_000}, FORM),
    "attachments of one letter": ("shop", {ATTACHMENTS: "a" * 11_104}, FORM),
    "attachments of commas": ("shop", {ATTACHMENTS: "," * 11_104}, FORM),
    "a crowded allow-list": (
        "crowded",
        {ATTACHMENTS: items(*["b/" + "c" * 250] * 32)},
        FOREIGN,
    ),
}


@pytest.mark.parametrize(("namespace", "annotations", "part"), LARGE.values(), ids=LARGE)
def test_a_large_value_costs_the_api_server_no_time(
    admin: Kube, namespace: str, annotations: dict[str, str], part: str
) -> None:
    """An expression that does not look at the size first takes half a minute."""
    started = time.monotonic()
    message = refusal(admin, namespace, annotations)
    assert time.monotonic() - started < 10
    assert bool(message) is bool(part), message
    assert part in message


STORED = {"cni": "x", NETWORKS: "a", ATTACHMENTS: items("shop/a")}


@pytest.fixture(scope="module")
def stored(policies: Cluster, admin: Kube) -> Iterator[str]:
    """Give the path of a pod with the annotations of :data:`STORED`."""
    body = selecting(STORED, schedulerName="none")
    path = "/api/v1/namespaces/shop/pods"
    name = admin.create(path, body)["metadata"]["name"]
    yield f"{path}/{name}"
    policies.kubectl("delete", "pod", name, "-n", "shop", "--grace-period=0", "--force")


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("subresource", ["", "/status"])
@pytest.mark.parametrize("write", [patched, replaced])
def test_a_pod_keeps_its_definitions(
    admin: Kube, stored: str, write: Any, subresource: str, changes: dict[str, str | None]
) -> None:
    """By none of the ways that write annotations; other annotations may change."""
    with pytest.raises(KubeError, match="field is immutable: the pod was created with"):
        write(admin, stored + subresource, changes)
    write(admin, stored + subresource, {"other": subresource})
    assert admin.get(stored)["metadata"]["annotations"] == {**STORED, "other": subresource}


def test_what_else_writes_a_pod_changes_no_annotation(
    policies: Cluster, admin: Kube, stored: str
) -> None:
    """These subresources drop them, and server-side apply writes like a patch."""
    for subresource in ("ephemeralcontainers", "resize"):
        patched(admin, f"{stored}/{subresource}", {NETWORKS: "b"})
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": stored.rpartition("/")[2], "annotations": {NETWORKS: "b"}},
    }
    command = ("apply", "--server-side", "--force-conflicts", "-n", "shop", "-f", "-")
    done = policies.kubectl(*command, input=json.dumps(body), check=False)
    assert f"[{NETWORKS}]: Invalid value: field is immutable" in done.stderr
    assert admin.get(stored)["metadata"]["annotations"].items() >= STORED.items()


@pytest.mark.parametrize("key", ["cni", NETWORKS, DEFAULT_NETWORK, ATTACHMENTS])
def test_no_binding_changes_what_a_pod_selects(admin: Kube, stored: str, key: str) -> None:
    """The API server would copy its annotations into the pod."""
    for path in (f"{stored}/binding", "/api/v1/namespaces/shop/bindings"):
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": stored.rpartition("/")[2], "annotations": {key: "b"}},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "node1"},
        }
        with pytest.raises(KubeError, match="a Binding must not set the networks") as refused:
            admin.create(path, body)
        assert f"metadata.annotations[{key}]: Forbidden" in refused.value.message
    assert "nodeName" not in admin.get(stored)["spec"]


def test_who_may_only_write_the_namespace_permits_no_ports(policies: Cluster) -> None:
    """The key is one of those that need a right on all namespaces."""
    policies.kubectl("create", "role", "all", "--verb=*", "--resource=*.*", "-n", "shop")
    policies.kubectl("create", "rolebinding", "all", "--role=all", "--user=tenant", "-n", "shop")
    read = ("--as=tenant", "get", "namespace", "shop")
    policies.wait_for(
        lambda: policies.kubectl(*read, check=False).returncode == 0, 120, "the tenant's rights"
    )
    change = ("annotate", "namespace", "shop", "cni-genie.io/host-ports=allow", "--dry-run=server")
    done = policies.kubectl("--as=tenant", *change, check=False)
    assert "[cni-genie.io/host-ports]: Forbidden: setting the networks" in done.stderr
    policies.kubectl(*change)
