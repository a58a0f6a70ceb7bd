"""Of a pod's annotations and labels those are kept that a rule reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import keys
from tests.unit.webhook.builders import NETWORKS, patched, pod, review
from webhook import objects
from webhook.ignored_keys import IGNORED_ON_PODS
from webhook.limits import CLUSTER
from webhook.objects import parse_pod
from webhook.pods import PodRules, admit_pod
from webhook.snapshot import Namespace

if TYPE_CHECKING:
    from webhook.decision import Decision

NAMESPACE = Namespace("team-a", default="weave")
KEYS = sorted(
    {value for value in vars(keys).values() if isinstance(value, str) and not value.startswith("_")}
    | set(IGNORED_ON_PODS)
)


class Everything(frozenset[str]):
    """A set that contains every string."""

    def __contains__(self, key: object) -> bool:
        return True


def decisions(new: dict[str, Any], old: dict[str, Any]) -> list[Decision]:
    """Return the decisions on a creation and an update, in each mode of definitions."""
    modes: tuple[Any, ...] = ("off", "observe", "enforce")
    return [
        admit_pod(
            one, parse_pod(one.object), NAMESPACE, NETWORKS, PodRules("required", CLUSTER, mode)
        )
        for mode in modes
        for one in (review(new), review(new, old))
    ]


@pytest.mark.parametrize("part", ["annotations", "labels"])
@pytest.mark.parametrize("key", KEYS)
def test_no_decision_depends_on_what_is_left_out(
    monkeypatch: pytest.MonkeyPatch, key: str, part: str
) -> None:
    """Decisions are the same with all annotations and labels, for each key that Genie knows."""
    plain, other = pod(), pod(metadata={part: {key: "canal"}})
    narrowed = decisions(other, plain), decisions(plain, other)
    for kept in ("POD_ANNOTATIONS", "POD_LABELS"):
        monkeypatch.setattr(objects, kept, Everything())
    assert narrowed == (decisions(other, plain), decisions(plain, other))


def test_a_pod_with_foreign_annotations_alone_gets_another_one() -> None:
    """The patch adds to the map, which exists, and does not replace it."""
    foreign = pod(metadata={"annotations": {"revision": "7"}})
    one = review(foreign)
    decision = admit_pod(one, parse_pod(one.object), NAMESPACE, NETWORKS, PodRules())
    assert patched(foreign, decision)["metadata"]["annotations"] == {
        "revision": "7",
        "cni": "weave",
    }
