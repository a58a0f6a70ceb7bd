"""Node affinity: every shape that a pod's own affinity can have."""

from __future__ import annotations

from typing import Any

import jsonpatch
import pytest

from webhook import affinity
from webhook.objects import parse_pod

WEAVE = {"key": "network.cni-genie.io/weave", "operator": "In", "values": ["true"]}
CANAL = {"key": "network.cni-genie.io/canal", "operator": "In", "values": ["true"]}
DISK = {"key": "disk", "operator": "Exists"}
FIELDS = [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]


def required(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"nodeAffinity": {affinity.REQUIRED: {"nodeSelectorTerms": list(terms)}}}


def preferred(*preferences: dict[str, Any]) -> dict[str, Any]:
    return {"nodeAffinity": {affinity.PREFERRED: list(preferences)}}


def updated(
    spec: dict[str, Any], stored: dict[str, Any], networks: tuple[str, ...] = ("weave",)
) -> list[dict[str, Any]]:
    return affinity.patch_updated(parse_pod({"spec": spec}), parse_pod({"spec": stored}), networks)


OURS = {"weight": 100, "preference": {"matchExpressions": [WEAVE]}}
THEIRS = {"weight": 1, "preference": {"matchExpressions": [DISK]}}
POD_AFFINITY: dict[str, Any] = {"podAffinity": {"x": []}}


def after(
    before: Any, mode: str = "required", networks: tuple[str, ...] = ("weave",), **spec: Any
) -> Any:
    pod_object = {"spec": {**spec, **({} if before is None else {"affinity": before})}}
    patch = affinity.patch_new(parse_pod(pod_object), networks, mode)
    result = jsonpatch.apply_patch(pod_object, patch)
    assert not affinity.patch_new(parse_pod(result), networks, mode), "it was added twice"
    return result["spec"].get("affinity")


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param(None, required({"matchExpressions": [WEAVE]}), id="no-affinity"),
        pytest.param({}, required({"matchExpressions": [WEAVE]}), id="empty-affinity"),
        pytest.param(
            POD_AFFINITY,
            POD_AFFINITY | required({"matchExpressions": [WEAVE]}),
            id="pod-affinity-only",
        ),
        pytest.param(
            {"nodeAffinity": {}}, required({"matchExpressions": [WEAVE]}), id="empty-node-affinity"
        ),
        pytest.param(
            preferred(THEIRS),
            {
                "nodeAffinity": preferred(THEIRS)["nodeAffinity"]
                | required({"matchExpressions": [WEAVE]})["nodeAffinity"]
            },
            id="preferred-only",
        ),
        pytest.param(
            required({"matchExpressions": [DISK]}, {"matchFields": FIELDS}),
            required(
                {"matchExpressions": [DISK, WEAVE]},
                {"matchExpressions": [WEAVE], "matchFields": FIELDS},
            ),
            id="every-term-gets-it",
        ),
        pytest.param(
            required({}, {"matchExpressions": []}, {"matchExpressions": [DISK]}),
            required({}, {"matchExpressions": []}, {"matchExpressions": [DISK, WEAVE]}),
            id="a-term-that-matches-nothing-stays-so",
        ),
        pytest.param(
            required({"matchExpressions": [WEAVE]}),
            required({"matchExpressions": [WEAVE]}),
            id="is-there",
        ),
        pytest.param(required({}), required({}), id="only-an-empty-term"),
    ],
)
def test_a_required_affinity_is_merged_into(before: Any, expected: Any) -> None:
    """The pod goes only to nodes with the network, and nothing its author wrote is weakened."""
    assert after(before) == expected


def test_each_network_is_required() -> None:
    """A pod on two networks needs a node that has both."""
    assert after(None, networks=("weave", "canal")) == required(
        {"matchExpressions": [WEAVE, CANAL]}
    )
    assert after(required({"matchExpressions": [CANAL]}), networks=("weave", "canal")) == required(
        {"matchExpressions": [CANAL, WEAVE]}
    )


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param(None, preferred(OURS), id="no-affinity"),
        pytest.param(POD_AFFINITY, POD_AFFINITY | preferred(OURS), id="pod-affinity-only"),
        pytest.param(
            required({"matchExpressions": [DISK]}),
            {
                "nodeAffinity": required({"matchExpressions": [DISK]})["nodeAffinity"]
                | preferred(OURS)["nodeAffinity"]
            },
            id="required-of-their-own",
        ),
        pytest.param(preferred(THEIRS), preferred(THEIRS, OURS), id="beside-theirs"),
        pytest.param(preferred(OURS), preferred(OURS), id="is-there"),
    ],
)
def test_a_preferred_affinity_is_merged_into(before: Any, expected: Any) -> None:
    """With ``preferred`` the scheduler may choose a node without the network."""
    assert after(before, "preferred") == expected


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"mode": "off"}, id="switched-off"),
        pytest.param({"networks": ()}, id="no-network"),
        pytest.param({"nodeName": "n1"}, id="node-is-chosen"),
    ],
)
def test_no_affinity_is_added(arguments: dict[str, Any]) -> None:
    """Kubelet ends a pod whose affinity does not fit the node that was chosen for it."""
    assert after(None, **arguments) is None


@pytest.mark.parametrize("mode", ["required", "preferred", "off"])
@pytest.mark.parametrize(
    "own",
    [
        None,
        required({"matchExpressions": [DISK]}),
        preferred(THEIRS),
        required({"matchFields": FIELDS}),
    ],
    ids=["none", "required", "preferred", "fields"],
)
def test_an_update_brings_back_what_create_added(mode: str, own: Any) -> None:
    """The manifest applied again gives the stored affinity, whatever the setting was then."""
    manifest = {} if own is None else {"affinity": own}
    stored = {**manifest, "affinity": after(own, mode)} if mode != "off" else manifest
    patch = affinity.patch_updated(
        parse_pod({"spec": manifest}), parse_pod({"spec": stored}), ("weave",)
    )
    assert jsonpatch.apply_patch({"spec": manifest}, patch)["spec"] == stored


PARTLY = required({"matchExpressions": [WEAVE]}, {"matchExpressions": [DISK]})


@pytest.mark.parametrize(
    ("own", "stored"),
    [
        pytest.param(PARTLY, PARTLY, id="one-alternative-has-it-by-its-author"),
        pytest.param(PARTLY, PARTLY | {"podAffinity": {}}, id="and-something-else-was-added"),
        pytest.param(required({}), required({}), id="no-alternative-matches-a-node"),
    ],
)
def test_an_update_adds_nothing_that_create_did_not(own: Any, stored: Any) -> None:
    """Where scheduling was off, or the node chosen, an author's own terms are not completed.

    A new requirement would change the pod's spec, which the API server forbids.
    """
    assert updated({"affinity": own}, {"affinity": stored}) == []


MANY = required(*[{"matchExpressions": [{}]}] * (affinity.MAX_TERMS + 1))
MOST = required(*[{"matchExpressions": [{}]}] * affinity.MAX_TERMS)


@pytest.mark.parametrize(
    ("pod_object", "networks", "mode"),
    [
        pytest.param({"affinity": MOST}, ("weave",), "required", id="as-many-as-there-may-be"),
        pytest.param({"affinity": MANY}, ("weave",), "preferred", id="nothing-is-added-to-each"),
        pytest.param({"affinity": MANY}, ("weave",), "off", id="switched-off"),
        pytest.param({"affinity": MANY}, (), "required", id="no-network"),
        pytest.param(
            {"affinity": MANY, "nodeName": "n1"}, ("weave",), "required", id="node-is-chosen"
        ),
    ],
)
def test_alternatives_are_counted_only_where_each_gets_the_networks(
    pod_object: dict[str, Any], networks: tuple[str, ...], mode: str
) -> None:
    """Kubernetes itself has no limit, and what is not ours is not ours to refuse."""
    assert affinity.check_terms(parse_pod({"spec": pod_object}), networks, mode) is None


def test_too_many_alternatives_are_named_and_never_patched() -> None:
    """100,000 of them would be 100,000 operations for each network, from 3 MB that anyone sends."""
    refusal = affinity.check_terms(parse_pod({"spec": {"affinity": MANY}}), ("weave",), "required")
    assert refusal is not None
    assert refusal.field == f"spec.affinity.nodeAffinity.{affinity.REQUIRED}.nodeSelectorTerms"
    assert refusal.message == (
        "Too many: must have at most 100 node selector terms in a pod that has networks (has 101); "
        "use fewer"
    )
    stored = {"affinity": after(required({"matchExpressions": [DISK]}))}
    assert updated({"affinity": MANY}, stored) == []


def test_an_update_of_a_pod_without_networks_adds_nothing() -> None:
    """What was not ours at CREATE is not ours now."""
    stored = {"affinity": required({"matchExpressions": [WEAVE]})}
    assert updated({}, stored, ()) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, False),
        ({"affinity": required({"matchExpressions": [WEAVE]})}, True),
        ({"affinity": PARTLY}, False),
        ({"affinity": required({"matchExpressions": [WEAVE]}, {})}, True),
        ({"affinity": preferred(OURS)}, False),
    ],
    ids=[
        "none",
        "asked-for",
        "one-alternative-does-not",
        "one-alternative-matches-no-node",
        "only-preferred",
    ],
)
def test_covers_tells_whether_a_spec_asks_for_the_network(
    spec: dict[str, Any], *, expected: bool
) -> None:
    """A DaemonSet that asks by itself gets no hint."""
    assert affinity.requires(parse_pod({"spec": spec}), [WEAVE]) is expected
