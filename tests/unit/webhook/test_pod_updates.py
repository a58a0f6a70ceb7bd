"""Changed pods: the networks stay, and a manifest can be applied again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import keys
from tests.unit.webhook.builders import (
    NETWORKS,
    PLAIN,
    admit,
    messages,
    patched,
    pod,
)
from webhook.snapshot import Namespace

if TYPE_CHECKING:
    from webhook.decision import Decision

CNI = "metadata.annotations[cni]"
DEFAULTED = Namespace("team-a", default=" weave , canal@net1 ")


def updated(
    new: str | None, old: str | None, namespace: Namespace = PLAIN, **specs: Any
) -> tuple[Decision, Any]:
    manifest, stored = pod(new, spec=specs.get("spec")), pod(old, spec=specs.get("old_spec"))
    decision = admit(manifest, namespace, NETWORKS, "required", old=stored)
    return decision, patched(manifest, decision) if decision.allowed else None


@pytest.mark.parametrize(
    ("new", "old", "namespace"),
    [
        pytest.param(" weave , canal ", "weave,canal", PLAIN, id="the-spelling-of-the-manifest"),
        pytest.param("", "weave", PLAIN, id="blank-keeps-what-was-chosen"),
        pytest.param("weave", "weave", PLAIN, id="the-same"),
        pytest.param("weave", " weave ", PLAIN, id="stored-before-genie-was-installed"),
        pytest.param("a/b", "a/b", PLAIN, id="stored-malformed"),
        pytest.param(
            None,
            "weave",
            Namespace("team-a", default=" weave"),
            id="missing-where-it-is-the-default",
        ),
        pytest.param(None, None, DEFAULTED, id="created-without"),
    ],
)
def test_the_same_manifest_can_be_applied_again(
    new: str | None, old: str | None, namespace: Namespace
) -> None:
    """Whatever spelling comes, what is stored stays."""
    decision, stored = updated(new, old, namespace)
    assert decision.allowed
    assert stored["metadata"].get("annotations", {}).get("cni") == old


@pytest.mark.parametrize("new", [None, "bank/gold:000000", "shop/a:3f9c2a"])
@pytest.mark.parametrize("old", [None, "shop/a:3f9c2a", ""])
def test_a_pod_keeps_what_the_webhook_wrote_at_its_creation(
    new: str | None, old: str | None
) -> None:
    """In the mode ``off``, too, of a pod that another mode has admitted."""
    manifest, stored = (
        pod(metadata={"annotations": {"a": "b"} if each is None else {keys.ATTACHMENTS: each}})
        for each in (new, old)
    )
    after = patched(manifest, admit(manifest, old=stored))["metadata"]["annotations"]
    assert after.get(keys.ATTACHMENTS) == old


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        pytest.param(
            "canal",
            "weave",
            '"canal": field is immutable: the pod has "weave"',
            id="changed",
        ),
        pytest.param(
            None,
            "weave",
            'field is immutable: the pod has "weave"',
            id="removed",
        ),
        pytest.param(
            "weave",
            None,
            '"weave": field is immutable: the pod was created without it',
            id="added",
        ),
        pytest.param(
            "a/b",
            "weave",
            '"a/b": field is immutable: the pod has "weave"',
            id="changed-to-nonsense",
        ),
    ],
)
def test_a_pod_keeps_its_networks(new: str | None, old: str | None, expected: str) -> None:
    """Any other value is refused, with the value that the pod has."""
    decision, _ = updated(new, old)
    assert decision.code == 422
    assert messages(decision) == [
        f"{CNI}: Invalid value: {expected}; create a new pod to change it"
    ]


def test_affinity_that_the_manifest_lacks_is_put_back() -> None:
    """A bare pod with affinity of its own can be applied again."""
    own = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]
            }
        }
    }
    created = patched(
        pod("weave", spec={"affinity": own}),
        admit(pod("weave", spec={"affinity": own}), scheduling="required"),
    )
    again = pod("weave", spec={"affinity": own, "nodeName": "n1"})
    stored = {**created, "spec": {**created["spec"], "nodeName": "n1"}}
    decision = admit(again, PLAIN, NETWORKS, "required", old=stored)
    assert patched(again, decision) == stored
