"""Bindings: what is removed from them, and what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.keys import DEFAULT_NETWORK, NETWORKS
from tests.unit.webhook.builders import patched, review
from webhook.bindings import strip_binding
from webhook.decision import Decision
from webhook.review import MalformedReviewError

if TYPE_CHECKING:
    from webhook.settings import DefinitionsMode

ATTACHMENTS = "cni-genie.io/attachments"
MODES: tuple[DefinitionsMode, ...] = ("off", "observe")


def binding(annotations: Any = None) -> dict[str, Any]:
    metadata = {"name": "web", "namespace": "team-a"}
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": metadata if annotations is None else {**metadata, "annotations": annotations},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node1"},
    }


def test_where_definitions_are_enforced_their_keys_are_removed_too() -> None:
    """In the other modes they are not Genie's."""
    selecting = {NETWORKS: "a", DEFAULT_NETWORK: "b"}
    binding_object = binding({"cni": "x", **selecting, "a/b": "c"})
    decision = strip_binding(review(binding_object), "enforce")
    assert patched(binding_object, decision) == binding({"a/b": "c"})
    assert decision.audit == {"removed": f"cni,{NETWORKS},{DEFAULT_NETWORK}"}
    for mode in MODES:
        kept = patched(binding_object, strip_binding(review(binding_object), mode))
        assert kept == binding({**selecting, "a/b": "c"})


@pytest.mark.parametrize("subresource", ["binding", ""], ids=["pods/binding", "bindings"])
@pytest.mark.parametrize(
    ("annotations", "left", "removed"),
    [
        pytest.param({"cni": "weave"}, {}, "cni", id="networks"),
        pytest.param({"cni": "", "a/b": "c"}, {"a/b": "c"}, "cni", id="a-copy-of-all"),
        pytest.param({"cni": "x", ATTACHMENTS: "y"}, {}, f"cni,{ATTACHMENTS}", id="both-keys"),
        pytest.param(
            {ATTACHMENTS: "y", "CNI": "z"}, {"CNI": "z"}, ATTACHMENTS, id="a-prefixed-key"
        ),
    ],
)
def test_exactly_our_keys_are_removed(
    annotations: dict[str, str], left: dict[str, str], removed: str, subresource: str
) -> None:
    """A scheduler that copies a pod's annotations binds the pod, which keeps what it has."""
    binding_object = binding(annotations)
    decision = strip_binding(review(binding_object, subResource=subresource))
    assert decision.allowed
    assert (decision.outcome, decision.reason) == ("patched", "stripped")
    assert decision.audit == {"removed": removed}
    after = patched(binding_object, decision)
    assert after == binding(left)
    assert strip_binding(review(after)) == Decision()


@pytest.mark.parametrize("annotations", [None, {}, {"a": "b"}], ids=str)
def test_a_binding_without_our_keys_is_left_alone(annotations: dict[str, str] | None) -> None:
    """Nothing is patched that is not there: such a patch would fail the Binding."""
    assert strip_binding(review(binding(annotations))) == Decision()


@pytest.mark.parametrize("annotations", [5, {"cni": 5}, ["cni"]], ids=str)
def test_what_no_binding_can_hold_is_malformed(annotations: Any) -> None:
    """It comes from no API server."""
    with pytest.raises(MalformedReviewError):
        strip_binding(review(binding(annotations)))
