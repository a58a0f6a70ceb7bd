"""A forged ``cni-genie.io/attachments`` in the modes in which nodes do not read it yet.

Nodes read it after a change to ``enforce``, also that of older pods. So in every mode the author of
a pod gains nothing by it: at the creation, or later through ``pods/status``. The modes ``off`` and
``observe`` have the same policies (test_chart_definitions.py). There is no node.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.kube.client import KubeError
from tests.cluster.support.admission import api
from tests.cluster.support.attachments import (
    ATTACHMENTS,
    CROWDED,
    DEFAULT_NETWORK,
    NETWORKS,
    items,
    patched,
    policies_alone,
    refusal,
    replaced,
    selecting,
)
from tests.cluster.support.outside_webhook import running_webhook
from tests.devcluster.commands import run
from tests.shell_blocks import DOCS, section, to_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dispatcher.kube.client import Kube
    from tests.devcluster.cluster import Cluster

MODES = {
    mode: {"attachmentDefinitions": {"mode": mode, "sharedNamespaces": ["common"]}}
    for mode in ("off", "observe")
}
"""Values of the chart."""

SPACES: Mapping[str, Mapping[str, str]] = {
    "default": {},
    "shop": {},
    "defaulted": {"cni": "w,x@net1,y@net2,z@net3"},
    "bank": {"cni-genie.io/allowed": "canal, partner/gold, open/*"},
    "crowded": CROWDED,
    "ports": {"cni-genie.io/host-ports": "allow"},
}


@pytest.fixture(scope="module", params=["current", "oldest"])
def policies(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Give an API server with the policies of the mode off, and no webhook."""
    foreign = {ATTACHMENTS: items("bank/gold")}
    with policies_alone("forged", request.param, MODES["off"], SPACES, foreign) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def admin(policies: Cluster) -> Kube:
    """Give a client that may do everything."""
    return api(policies)


SIXTEEN = ",".join(["weave", *(f"weave@net{each}" for each in range(1, 16))])
FORGED = f"[{ATTACHMENTS}]: Forbidden: only the Genie webhook writes this annotation"

CREATED: Mapping[str, tuple[str, dict[str, str], str]] = {
    "another namespace": ("shop", {NETWORKS: "bank/gold", ATTACHMENTS: items("bank/gold")}, FORGED),
    "another behind its own": ("shop", {ATTACHMENTS: items("shop/a", "bank/gold")}, FORGED),
    "another as the primary": ("shop", {ATTACHMENTS: items("=bank/gold")}, FORGED),
    "a network outside of the allow-list": (
        "bank",
        {ATTACHMENTS: items("bank/weave", marks="+nodeNetwork")},
        FORGED,
    ),
    "ports of the node": ("shop", {ATTACHMENTS: items("shop/a", marks="+hostPort")}, FORGED),
    "no form": ("shop", {ATTACHMENTS: "shop/a"}, FORGED),
    "a name of 254": ("shop", {ATTACHMENTS: items("shop/" + "a" * 254)}, FORGED),
    "33 items": ("shop", {ATTACHMENTS: items(*["shop/a"] * 33)}, FORGED),
    "200,000 bytes": ("shop", {ATTACHMENTS: (items("shop/a") + ",") * 13_000}, FORGED),
    "a crowded allow-list": ("crowded", {ATTACHMENTS: items(*["b/" + "c" * 250] * 32)}, FORGED),
    "more than the limit": (
        "shop",
        {"cni": "x,y,z", NETWORKS: "a,b", ATTACHMENTS: items("shop/a", "shop/b")},
        f"[{NETWORKS}]: Too many: must have at most 4 networks",
    ),
    # No such primary takes the place of what the node attaches.
    "sixteen times a network, behind a primary": (
        "shop",
        {"cni": SIXTEEN, ATTACHMENTS: items("=shop/x")},
        "[cni]: Too many: must have at most 4 networks",
    ),
    "sixteen times a network, behind a selected primary": (
        "shop",
        {"cni": SIXTEEN, DEFAULT_NETWORK: "shop/x", ATTACHMENTS: items("=shop/x")},
        f"[{DEFAULT_NETWORK}]: Too many: must have at most 4 networks",
    ),
    "one definition three times": (
        "shop",
        {ATTACHMENTS: items(*["shop/a"] * 3)},
        'at most 2 attachments of network "shop/a"',
    ),
    # what the webhook may have written
    "nothing": ("shop", {NETWORKS: "bank/gold"}, ""),
    "an empty value": ("shop", {ATTACHMENTS: ""}, ""),
    "its own": ("shop", {"cni": "canal", ATTACHMENTS: items("shop/a")}, ""),
    "a shared one": ("shop", {ATTACHMENTS: items("=common/a")}, ""),
    "listed ones": ("bank", {ATTACHMENTS: items("partner/gold", "open/any.name")}, ""),
    "a listed network": ("bank", {ATTACHMENTS: items("bank/canal", marks="+nodeNetwork")}, ""),
    "permitted ports": ("ports", {ATTACHMENTS: items("ports/a", marks="+hostPort")}, ""),
    "a primary in place of the default": (
        "defaulted",
        {
            "cni": "w,x@net1,y@net2,z@net3",
            DEFAULT_NETWORK: "defaulted/a",
            ATTACHMENTS: items("=defaulted/a"),
        },
        "",
    ),
}


@pytest.mark.parametrize(("namespace", "annotations", "part"), CREATED.values(), ids=CREATED)
def test_a_new_pod_with(
    admin: Kube, namespace: str, annotations: dict[str, str], part: str
) -> None:
    """It is accepted, or soon refused with a sentence; no expression fails."""
    started = time.monotonic()
    message = refusal(admin, namespace, annotations)
    assert time.monotonic() - started < 10
    assert bool(message) is bool(part), message
    assert part in message


def test_no_policy_is_for_a_pod_that_genie_never_attaches(admin: Kube) -> None:
    """As in the mode ``enforce``."""
    assert refusal(admin, "shop", {ATTACHMENTS: items("bank/gold")}, hostNetwork=True) == ""


@pytest.fixture
def stored(policies: Cluster, admin: Kube) -> Iterator[Callable[[dict[str, str]], str]]:
    """Give a function that stores a pod with annotations, and returns its path."""
    path, names = "/api/v1/namespaces/shop/pods", []

    def store(annotations: dict[str, str]) -> str:
        body = selecting(annotations, schedulerName="none")
        names.append(admin.create(path, body)["metadata"]["name"])
        return f"{path}/{names[-1]}"

    yield store
    policies.kubectl("delete", "pod", *names, "-n", "shop", "--grace-period=0", "--force")


BEFORE: Mapping[str, dict[str, str]] = {
    "without it": {NETWORKS: "bank/gold"},
    "with it": {NETWORKS: "a", ATTACHMENTS: items("shop/a")},
}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
@pytest.mark.parametrize("subresource", ["", "/status"])
@pytest.mark.parametrize("write", [patched, replaced])
def test_nobody_writes_it_into_a_stored_pod(
    admin: Kube,
    stored: Callable[[dict[str, str]], str],
    before: dict[str, str],
    subresource: str,
    write: Any,
) -> None:
    """Also none that a new pod may have. Other annotations may change, and it may be removed."""
    path = stored(before)
    for forged in ("bank/gold", "shop/b"):
        with pytest.raises(KubeError, match="immutable: only the Genie webhook writes it"):
            write(admin, path + subresource, {ATTACHMENTS: items(forged)})
    write(admin, path + subresource, {NETWORKS: "b", "other": "x"})
    after = {**before, NETWORKS: "b", "other": "x"}
    assert admin.get(path)["metadata"]["annotations"] == after
    write(admin, path + subresource, {ATTACHMENTS: None})
    assert ATTACHMENTS not in admin.get(path)["metadata"]["annotations"]


def test_the_documented_command_lists_the_pods_that_have_it(
    policies: Cluster, stored: Callable[[dict[str, str]], str]
) -> None:
    """Those that are older than the policies are to be deleted before the mode ``observe``."""
    with_it, without = stored(BEFORE["with it"]), stored(BEFORE["without it"])
    command = to_run(section((DOCS / "from-multus.md").read_text(), "Observe"))[0]
    path = {"PATH": f"{policies.layout.bin}:/usr/bin:/bin"}
    listed = run(["bash", "-euc", command], env={**policies.environment, **path}).stdout.split()
    assert listed == [f"shop/{with_it.rpartition('/')[2]}"]
    assert without.rpartition("/")[2] not in listed


@pytest.mark.parametrize("mode", MODES)
def test_the_webhook_removes_it_and_a_manifest_with_it_can_be_applied_again(
    policies: Cluster, mode: str
) -> None:
    """Also where its value is one that the policies permit."""
    settings = {"GENIE_ATTACHMENT_DEFINITIONS_MODE": mode, "GENIE_NETWORKS": "weave,canal"}
    with running_webhook(policies, values=MODES[mode], **settings):
        for name, value in (("foreign", items("bank/gold")), ("own", items("shop/a"))):
            body = selecting({ATTACHMENTS: value, "other": "x"}, schedulerName="none")
            body["metadata"] |= {"name": name, "namespace": "shop"}
            del body["metadata"]["generateName"]
            for how in ((), (), ("--server-side", "--force-conflicts")):
                policies.kubectl("apply", *how, "-f", "-", input=json.dumps(body))
                annotations = policies.get("pod", name, "-n", "shop")["metadata"]["annotations"]
                assert ATTACHMENTS not in annotations
                assert annotations["other"] == "x"
            patch = json.dumps({"metadata": {"annotations": {ATTACHMENTS: value}}})
            through = ("--subresource=status", "--type=merge", "-p", patch)
            done = policies.kubectl("patch", "pod", name, "-n", "shop", *through, check=False)
            assert "only the Genie webhook writes it" in done.stderr
        policies.kubectl("delete", "pods", "--all", "-n", "shop", "--grace-period=0", "--force")
