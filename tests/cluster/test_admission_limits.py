"""Limits per pod and who may set a namespace's networks: by the API server alone, new and old.

No webhook runs here and there is no node. What the policies say is held against what the webhook
would decide.
"""

from __future__ import annotations

import functools
import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.annotation import InvalidAnnotationError, normalise
from dispatcher.kube.client import KubeError
from tests.cluster.support.admission import api, make_spaces, own_cluster, pod
from tests.devcluster.build.imagebuild import PROJECT
from webhook.limits import CLUSTER, pod_cause, pod_excesses
from webhook.pods import FIELD
from webhook.snapshot import parse_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dispatcher.kube.client import Kube
    from tests.devcluster.cluster import Cluster
    from webhook.limits import Excess

ATTACHMENTS = "cni-genie.io/max-attachments"
PER_NETWORK = "cni-genie.io/max-per-network"
POLICY = "cni-genie-pod-limits"

SPACES: Mapping[str, Mapping[str, str]] = {
    "no-limits-of-its-own": {},
    "roomy": {ATTACHMENTS: "8", PER_NETWORK: "4"},
    "cramped": {ATTACHMENTS: "1", PER_NETWORK: "1"},
    "as-many-as-may-be": {ATTACHMENTS: "32", PER_NETWORK: "32"},
    "zero": {ATTACHMENTS: "0", PER_NETWORK: "00"},
    "unreadable": {ATTACHMENTS: "9" * 100_000, PER_NETWORK: "-1"},
    "blanks": {ATTACHMENTS: " 8", PER_NETWORK: "8\n"},
    "no-numbers": {ATTACHMENTS: "33", PER_NETWORK: "\u0663"},
    "long-default": {"cni": " a, a@x ,\ta,b,c@y ,d"},
    "malformed-default": {"cni": "a,a,a,"},
}
"""Namespaces as they may be stored: what the webhook refuses is written while it is down."""


@pytest.fixture(scope="module", params=["current", "oldest"])
def policies(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Give an API server with the policies, and namespaces, and no webhook."""
    with own_cluster(f"limits-{request.param}", api_server=request.param) as cluster:
        install(cluster)
        make_spaces(cluster, SPACES)
        client = api(cluster)
        for value in ("a,a", "a b"):  # over the limit, and without a form
            is_refused = functools.partial(refusal, client, "cramped", value)
            cluster.wait_for(is_refused, 120, "the policies to be in force")
        yield cluster


@pytest.fixture(scope="module")
def admin(policies: Cluster) -> Kube:
    """Give a client that may do everything."""
    return api(policies)


def refusal(admin: Kube, namespace: str, value: str | None) -> str:
    """Return what the API server says against a pod, nothing where it takes it."""
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    try:
        admin.create(path, pod(value), timeout=15)
    except KubeError as error:
        if "cni-genie-pod" not in error.message:
            raise
        return error.message
    return ""


def wanted(namespace: str, value: str) -> list[Excess]:
    """Return what the webhook would refuse a pod with this value for."""
    facts = parse_namespace({"metadata": {"name": namespace, "annotations": SPACES[namespace]}})
    return pod_excesses(value, facts, CLUSTER)


ITEMS = st.lists(st.sampled_from(["a", "a", "b", "c", "d"]), min_size=1, max_size=16)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(namespace=st.sampled_from(sorted(SPACES)), names=ITEMS)
def test_the_policy_refuses_what_the_webhook_refuses_in_its_words(
    admin: Kube, namespace: str, names: list[str]
) -> None:
    """Limits, counts and the annotation that can be raised are the same."""
    value = ",".join(names)
    excesses = wanted(namespace, value)
    output = refusal(admin, namespace, value)
    assert bool(output) is bool(excesses)
    if excesses:
        assert POLICY in output
        assert any(pod_cause(excess, namespace, FIELD).message in output for excess in excesses)


@pytest.mark.parametrize(
    ("value", "is_refused"),
    [
        pytest.param("a,a@x,a,b,c@y,d", False, id="the-default-filled-in"),
        pytest.param("a,a@x,a,b,c@z,d", True, id="another-value-of-that-length"),
        pytest.param("a", False, id="a-short-one"),
    ],
)
def test_a_default_that_is_longer_than_the_limit_passes(
    admin: Kube, value: str, *, is_refused: bool
) -> None:
    """In its normal form, which is what the webhook fills in."""
    assert bool(refusal(admin, "long-default", value)) is is_refused


@pytest.mark.parametrize("namespace", SPACES)
def test_a_pod_without_the_annotation_knows_no_limit(admin: Kube, namespace: str) -> None:
    """Whatever the limits of its namespace are; only a default must have been filled in."""
    output = refusal(admin, namespace, None)
    assert bool(output) is namespace.endswith("default")
    assert POLICY not in output


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=st.text(",@a \t\n\u2003é", max_size=30) | st.just("," * 1024) | st.just("a," * 9000))
def test_a_value_of_any_form_never_makes_the_policy_fail(admin: Kube, value: str) -> None:
    """What it cannot count is refused for its form, by the other policy."""
    output = refusal(admin, "roomy", value)
    assert "resulted in error" not in output
    try:
        is_normal = normalise(value) == value
    except InvalidAnnotationError:
        is_normal = False
    assert not output or POLICY in output or not is_normal


def documented(title: str) -> dict[str, list[dict[str, Any]]]:
    """Return the patches of docs/namespaces.md that stand behind the sentence with *title*."""
    text = (PROJECT / "docs" / "namespaces.md").read_text()
    block = re.search(rf"{title}.*?```yaml\n(.*?)```", text, re.DOTALL)
    assert block
    content: dict[str, list[dict[str, Any]]] = yaml.safe_load(block[1])
    return content


def install(cluster: Cluster, **more: Any) -> None:
    """Install all of manifests/, as an overlay with *more* does."""
    overlay = cluster.layout.state / "limits"
    overlay.mkdir(exist_ok=True)
    content = {"resources": [os.path.relpath(PROJECT / "manifests", overlay)], **more}
    (overlay / "kustomization.yaml").write_text(json.dumps(content))
    cluster.kubectl("apply", "-k", os.fspath(overlay))


def test_the_documented_patch_raises_the_clusters_limits(policies: Cluster, admin: Kube) -> None:
    """As an administrator's overlay has it."""
    value = "a,b,c,d,a"
    assert "must have at most 4 networks" in refusal(admin, "no-limits-of-its-own", value)
    install(policies, **documented("To change the numbers for the whole cluster"))
    policies.wait_for(
        lambda: refusal(admin, "no-limits-of-its-own", value) == "", 120, "the limits to be raised"
    )
    assert "at most 8 networks" in refusal(admin, "no-limits-of-its-own", ",".join("abcdabcda"))
    actual = policies.get("configmap", "genie", "-n", "genie-system")["data"]
    assert (actual["max-attachments"], actual["max-per-network"]) == ("8", "4")
    install(policies)
    policies.wait_for(
        lambda: refusal(admin, "no-limits-of-its-own", value) != "", 120, "the limits as before"
    )


def test_the_documented_patch_for_migrations_only_warns(policies: Cluster, admin: Kube) -> None:
    """The pod is created, and its author reads why it will not be one day."""
    install(policies, **documented("let the limits only warn"))
    annotations = ("--annotations=cni=a,b,c,d,a", "--dry-run=server", "-n", "no-limits-of-its-own")
    tried = ("run", "web", "--image=nginx:latest", *annotations)

    def warns() -> bool:
        told = policies.kubectl(*tried, check=False)
        return told.returncode == 0 and "must have at most 4 networks" in told.stderr

    policies.wait_for(warns, 120, "a warning")
    assert refusal(admin, "no-limits-of-its-own", "a b")  # what else must hold is enforced
    install(policies)
    policies.wait_for(lambda: not warns(), 120, "the limits to be enforced again")


ROLES = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: everything, namespace: shop}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tenant, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: everything}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: tenant}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: creator}
rules: [{apiGroups: [""], resources: [namespaces], verbs: [get, list, create]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: patcher}
rules: [{apiGroups: [""], resources: [namespaces, namespaces/status], verbs: [get, create, patch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: updater}
rules: [{apiGroups: [""], resources: [namespaces], verbs: [get, update]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: writer-of-two}
rules:
- {apiGroups: [""], resources: [namespaces], resourceNames: [shop, other], verbs: [get, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: writer-of-one}
rules:
- apiGroups: [""]
  resources: [namespaces, namespaces/status]
  resourceNames: [shop]
  verbs: [get, patch]
"""


def bound(role: str, user: str = "") -> str:
    return f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {role}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user or role}}}]
"""


def networks_role() -> str:
    """Return the role that docs/namespaces.md shows."""
    text = (PROJECT / "docs" / "namespaces.md").read_text()
    (block,) = re.findall(
        r"```yaml\n(apiVersion: rbac\.\S+\nkind: ClusterRole\n.*?)```", text, re.DOTALL
    )
    return str(block)


@pytest.fixture(scope="module")
def people(policies: Cluster) -> Cluster:
    """Give the cluster with a namespace, and people who have rights on it of several kinds."""
    make_spaces(policies, {"shop": {"cni-genie.io/allowed": "a", "x": "y"}, "other": {}})
    roles = ("creator", "patcher", "updater", "writer-of-one", "shop-networks")
    more = bound("writer-of-two", "shop-networks")
    manifests = [ROLES, networks_role(), *map(bound, roles), more]
    policies.kubectl("apply", "-f", "-", input="---\n".join(manifests))
    for who in ("tenant", *roles):
        policies.wait_for(functools.partial(has_rights, policies, who), 120, f"the rights of {who}")
    return policies


def has_rights(cluster: Cluster, who: str) -> bool:
    """Return whether *who* has the rights of the fixture: each of them may read the namespace."""
    names = ("shop", "other") if who == "shop-networks" else ("shop",)
    tried = [("get", "namespace", *names)]
    if who == "shop-networks":
        tried.append(("auth", "can-i", "set-networks", "namespaces/shop"))
    return not any(cluster.kubectl(f"--as={who}", *each, check=False).returncode for each in tried)


CHANGES: Mapping[str, dict[str, Any]] = {
    "the-default": {"cni": "b"},
    "the-allow-list": {"cni-genie.io/allowed": None},
    "the-list-to-choose-from": {"cni-genie.io/choose": "b"},
    "scheduling": {"cni-genie.io/scheduling": "off"},
    "how-many": {ATTACHMENTS: "32"},
    "how-often": {PER_NETWORK: "32"},
}


def patch_as(
    cluster: Cluster, who: str, metadata: Any, name: str = "shop", *more: str
) -> tuple[int, str]:
    body = json.dumps({"metadata": metadata})
    what = ("patch", "namespace", name, "--type=merge", "-p", body, "--dry-run=server")
    result = cluster.kubectl(f"--as={who}", *what, *more, check=False)
    return result.returncode, result.stderr


@pytest.mark.parametrize("subresource", ["", "status"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("who", ["tenant", "writer-of-one"])
def test_who_may_only_write_the_namespace_cannot_change_its_networks(
    people: Cluster, who: str, change: str, subresource: str
) -> None:
    """Not with every verb on everything in it, nor by name, nor through a subresource."""
    more = (f"--subresource={subresource}",) if subresource else ()
    code, output = patch_as(people, who, {"annotations": CHANGES[change]}, "shop", *more)
    assert code == 1
    (key,) = CHANGES[change]
    assert f"metadata.annotations[{key}]: Forbidden: setting the networks" in output


def test_finalising_is_no_way_past_the_policy(people: Cluster) -> None:
    """That subresource takes a whole Namespace, annotations included."""
    value = people.get("namespace", "shop")
    value["metadata"]["annotations"].pop("cni-genie.io/allowed")
    what = ("replace", "--raw", "/api/v1/namespaces/shop/finalize", "-f", "-")
    result = people.kubectl("--as=tenant", *what, input=json.dumps(value), check=False)
    assert result.returncode == 1
    assert (
        "metadata.annotations[cni-genie.io/allowed]: Forbidden: setting the networks"
        in result.stderr
    )
    assert people.get("namespace", "shop")["metadata"]["annotations"]["cni-genie.io/allowed"] == "a"


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("who", ["patcher", "shop-networks"])
def test_who_has_the_right_changes_them(people: Cluster, who: str, change: str) -> None:
    """Either right will do: to patch all namespaces, or the verb for this one."""
    assert patch_as(people, who, {"annotations": CHANGES[change]}) == (0, "")


def replaced_as(
    cluster: Cluster, who: str, annotations: dict[str, Any], name: str = "shop"
) -> tuple[int, str]:
    """Return what comes of a PUT of the namespace with *annotations* changed."""
    value = cluster.get("namespace", name)
    changed = value["metadata"].get("annotations", {}) | annotations
    value["metadata"]["annotations"] = {k: v for k, v in changed.items() if v is not None}
    what = (f"--as={who}", "replace", "-f", "-", "--dry-run=server")
    result = cluster.kubectl(*what, input=json.dumps(value), check=False)
    return result.returncode, result.stderr


@pytest.mark.parametrize("change", CHANGES)
def test_who_may_update_all_namespaces_changes_them(people: Cluster, change: str) -> None:
    """A controller that writes namespaces with PUT may lack the right to patch them."""
    assert replaced_as(people, "updater", CHANGES[change]) == (0, "")
    code, output = patch_as(people, "updater", {"annotations": CHANGES[change]})
    assert (code, "cannot patch resource" in output) == (1, True), output


@pytest.mark.parametrize(("name", "is_refused"), [("shop", False), ("other", True)])
def test_the_verb_for_one_namespace_is_good_for_that_one(
    people: Cluster, name: str, *, is_refused: bool
) -> None:
    """For someone who may write both of them by name, but not all."""
    code, output = replaced_as(people, "shop-networks", {"cni": "b"}, name)
    assert bool(code) is is_refused, output
    assert ("Forbidden: setting the networks" in output) is is_refused


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"labels": {"cni-genie.io/defaulted": "true"}}, id="our-label"),
        pytest.param({"annotations": {"x": "z", "cni-genie.io/allowed": "a"}}, id="another-key"),
        pytest.param({"finalizers": ["a.example/b"]}, id="a-finalizer"),
    ],
)
def test_what_is_not_ours_is_free_to_change(people: Cluster, metadata: dict[str, Any]) -> None:
    """A namespace's own people go on writing the rest of it."""
    assert patch_as(people, "tenant", metadata) == (0, "")


@pytest.mark.parametrize(
    ("who", "annotations", "is_refused"),
    [
        pytest.param("creator", {}, False, id="without-our-keys"),
        pytest.param("creator", {"x": "y"}, False, id="with-others"),
        pytest.param("creator", {"cni": "a"}, True, id="with-a-default"),
        pytest.param("creator", {ATTACHMENTS: "32"}, True, id="with-a-limit"),
        pytest.param("patcher", {"cni": "a"}, False, id="by-who-may-patch-all"),
    ],
)
def test_who_may_only_create_namespaces_gives_them_no_networks(
    people: Cluster, who: str, annotations: dict[str, str], *, is_refused: bool
) -> None:
    """Else a limit could be had by making another namespace."""
    metadata = {"generateName": "made-", "annotations": annotations}
    body = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    what = ("create", "-f", "-", "--dry-run=server")
    result = people.kubectl(f"--as={who}", *what, input=body, check=False)
    assert bool(result.returncode) is is_refused, result.stderr
    assert ("Forbidden: setting the networks" in result.stderr) is is_refused


def test_a_namespace_with_our_keys_is_deleted_like_any_other(people: Cluster) -> None:
    """The namespace controller has no right to patch namespaces, and needs none."""
    make_spaces(people, {"gone": {"cni": "a", ATTACHMENTS: "8"}})
    people.kubectl("delete", "namespace", "gone", timeout=60)
    assert people.kubectl("get", "namespace", "gone", check=False).returncode == 1
