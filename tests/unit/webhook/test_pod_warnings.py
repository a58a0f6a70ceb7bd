"""Warnings for new pods: ignored keys, and networks that no node has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.webhook.builders import (
    NETWORKS,
    admit,
    admit_template,
    pod,
    review,
)
from webhook.node_index import merge_nodes
from webhook.pods import PodRules
from webhook.snapshot import ClusterNetworks, Namespace, NodeNetworks, parse_node
from webhook.templates import TemplateRules

CNI = "metadata.annotations[cni]"


ON_NAMESPACE = (
    "Genie reads this annotation on namespaces only, and ignores it on pods; "
    "ask a cluster administrator to set it on the namespace"
)
USE_CNI = 'Genie ignores this annotation; name the networks in "cni"'


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param(
            {"annotations": {"CNI": "weave"}},
            'metadata.annotations[CNI]: Genie ignores this annotation; did you mean "cni"?',
            id="upper-case",
        ),
        pytest.param(
            {"labels": {"cni": "weave"}},
            'metadata.labels[cni]: Genie ignores this label; did you mean the annotation "cni"?',
            id="label",
        ),
        *(
            pytest.param(
                {"annotations": {key: "x"}}, f"metadata.annotations[{key}]: {words}", id=key
            )
            for key, words in {
                "k8s.v1.cni.cncf.io/networks": USE_CNI,
                "v1.multus-cni.io/default-network": USE_CNI,
                "networks": f"{USE_CNI} (Genie has no logical networks)",
                "multi-ip-preferences": (
                    "Genie ignores this annotation; "
                    'the pod\'s addresses will be in "k8s.v1.cni.cncf.io/network-status"'
                ),
                "cni-genie.io/allowed": ON_NAMESPACE,
                "cni-genie.io/scheduling": ON_NAMESPACE,
            }.items()
        ),
    ],
)
def test_a_key_that_is_ignored_is_a_warning(metadata: dict[str, Any], expected: str) -> None:
    """A key that works for Kubernetes, and is probably a mistake, is pointed out."""
    manifest = pod(metadata=metadata)
    decision = admit(manifest)
    assert decision.allowed
    assert decision.warnings == (expected,)


def test_what_another_product_would_read_is_a_warning_beside_the_right_key() -> None:
    """Its author may take it for a second way to name networks."""
    about = {"cni": "weave", "k8s.v1.cni.cncf.io/networks": "canal"}
    (texts,) = admit(pod(metadata={"annotations": about})).warnings
    assert texts == f"metadata.annotations[k8s.v1.cni.cncf.io/networks]: {USE_CNI}"


def node(name: str, there: str, types: str | None) -> NodeNetworks:
    annotations = {} if types is None else {"cni-genie.io/plugin-types": types}
    labels = {f"network.cni-genie.io/{name}": there}
    return parse_node({"metadata": {"labels": labels, "annotations": annotations}})


@pytest.mark.parametrize(
    ("name", "nodes", "is_warned"),
    [
        pytest.param("meta", [("true", "meta=multus")], False, id="by-its-plugin"),
        pytest.param("meta", [("false", "meta=multus,x")], False, id="not-attachable-at-present"),
        pytest.param(
            "meta", [("true", None), ("true", "meta=multus")], False, id="on-one-of-the-nodes"
        ),
        pytest.param("meta", [("true", "meta=bridge")], True, id="another-plugin"),
        pytest.param("meta", [("true", None)], True, id="of-an-unknown-plugin"),
        pytest.param("multus", [("true", None)], False, id="by-its-name"),
        pytest.param("multus", [], False, id="by-its-name-on-no-node"),
        pytest.param("multus", [("true", "multus=bridge")], True, id="a-name-that-misleads"),
    ],
)
@pytest.mark.parametrize("is_default", [False, True])
@pytest.mark.parametrize("key", ["k8s.v1.cni.cncf.io/networks", "v1.multus-cni.io/default-network"])
def test_a_key_of_multus_is_no_mistake_on_a_network_of_multus(
    key: str,
    name: str,
    nodes: list[tuple[str, str | None]],
    *,
    is_warned: bool,
    is_default: bool,
) -> None:
    """Multus reads it. Another product's key is warned of all the same."""
    networks = merge_nodes([node(name, *each) for each in nodes], (name,))
    own = {} if is_default else {"cni": f"weave,{name}@net1"}
    namespace = Namespace("team-a", default=name if is_default else "")
    networks = networks._replace(
        known=networks.known | {"weave"}, present=frozenset({name, "weave"})
    )
    manifest = pod(metadata={"annotations": {**own, key: "x", "networks": "x"}})
    texts = admit(manifest, namespace, networks).warnings
    assert [key in each for each in texts] == [True, False][not is_warned :]
    workload = {"kind": "Deployment", "spec": {"template": manifest}}
    texts = admit_template(
        review(workload), namespace, networks, TemplateRules(pods=PodRules(scheduling="off"))
    ).warnings
    assert [key in each for each in texts] == [True, False][not is_warned :]


@pytest.mark.parametrize("value", ["", " "])
def test_an_address_that_was_never_filled_in_is_no_warning(value: str) -> None:
    """So CNI-Genie was asked for it; nothing is lost."""
    assert admit(pod(metadata={"annotations": {"multi-ip-preferences": value}})).warnings == ()


def test_both_keys_of_multus_are_one_warning() -> None:
    """A cluster that comes from Multus has them on many pods."""
    networks, default = "k8s.v1.cni.cncf.io/networks", "v1.multus-cni.io/default-network"
    about = {networks: "a", default: "b"}
    expected = USE_CNI.replace("this annotation", f'this annotation and "{default}"')
    actual = admit(pod(metadata={"annotations": about})).warnings
    assert actual == (f"metadata.annotations[{networks}]: {expected}",)


@pytest.mark.parametrize("value", ["", " \n"])
def test_a_key_of_multus_that_selects_nothing_is_no_warning(value: str) -> None:
    """No network is lost."""
    manifest = pod(metadata={"annotations": {"k8s.v1.cni.cncf.io/networks": value}})
    assert admit(manifest).warnings == ()


def test_a_near_miss_beside_the_right_key_is_no_warning() -> None:
    """Whoever wrote ``cni`` knows it."""
    manifest = pod(metadata={"annotations": {"CNI": "x", "cni": "weave"}, "labels": {"cni": "y"}})
    assert admit(manifest).warnings == ()


@pytest.mark.parametrize(
    ("scheduling", "spec", "expected"),
    [
        pytest.param(
            "required",
            {},
            "the pod stays Pending until one has it",
            id="required",
        ),
        pytest.param(
            "off",
            {},
            "the pod cannot start until a node has it",
            id="off",
        ),
        pytest.param(
            "required",
            {"nodeName": "n1"},
            "the pod cannot start until a node has it",
            id="node-is-chosen",
        ),
    ],
)
def test_a_network_that_no_node_has_is_a_warning(
    scheduling: str, spec: dict[str, Any], expected: str
) -> None:
    """The scheduler's own message names no network, so ours does, at apply."""
    networks = ClusterNetworks(known=NETWORKS.known, present=frozenset({"canal"}))
    decision = admit(pod("weave,canal", spec=spec), networks=networks, scheduling=scheduling)
    absent = f'{CNI}: no node has network "weave" at present; '
    assert decision.warnings == (absent + expected,)
