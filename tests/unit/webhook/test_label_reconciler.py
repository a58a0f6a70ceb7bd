"""The repair loop for the namespaces' label."""

from __future__ import annotations

import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from dispatcher import keys
from dispatcher.kube.client import KubeError
from tests.unit.apiserver import Api, fail, namespace_object
from webhook import label_reconciler
from webhook.label_reconciler import LabelReconciler, has_wrong_label, label_patch
from webhook.snapshot import Namespace

RIGHT = {
    "with": Namespace("with", default="weave", labelled=True),
    "without": Namespace("without"),
    "choosing": Namespace("choosing", choose="weave", labelled=True),
    "dying": Namespace("dying", default="weave", terminating=True),
}
WRONG = {
    "unlabelled": Namespace("unlabelled", default=" weave"),
    "labelled": Namespace("labelled", labelled=True),
}
PATH = "/metadata/labels/cni-genie.io~1defaulted"


def stored(facts: Namespace) -> dict[str, Any]:
    """Return the Namespace that *facts* describe."""
    annotations = {keys.ANNOTATION: facts.default} if facts.default else {}
    labels = {keys.DEFAULTED: "true"} if facts.labelled else {}
    return namespace_object(facts.name, annotations, labels)


class Kept:
    """A keeper over a stand-in for the API server, and what it counted."""

    def __init__(self, namespaces: dict[str, Namespace]) -> None:
        self.api = Api(*(stored(each) for each in {**namespaces, **WRONG}.values()))
        self.results: list[str] = []
        self.reconciler = LabelReconciler(
            self.api.client(), lambda: namespaces, self.results.append
        )

    def patches(self) -> dict[str, Any]:
        """Return what was patched, by name."""
        return {path.rpartition("/")[2]: body for _, path, body in self.api.calls_of("PATCH")}


def test_only_what_is_wrong_is_mended() -> None:
    """A namespace in order costs no request; one that is being deleted is left alone."""
    rig = Kept({**RIGHT, **WRONG})
    rig.reconciler.reconcile_all()
    assert set(rig.patches()) == set(WRONG)
    assert rig.results == ["done", "done"]


@pytest.mark.parametrize(
    ("facts", "patch"),
    [
        pytest.param(
            WRONG["unlabelled"],
            [
                {"op": "test", "path": "/metadata/annotations/cni", "value": " weave"},
                {"op": "add", "path": PATH, "value": "true"},
            ],
            id="added-if-the-default-is-still-so",
        ),
        pytest.param(
            Namespace("choosing", choose="weave, canal"),
            [
                {
                    "op": "test",
                    "path": "/metadata/annotations/cni-genie.io~1choose",
                    "value": "weave, canal",
                },
                {"op": "add", "path": PATH, "value": "true"},
            ],
            id="added-if-the-list-is-still-so",
        ),
        pytest.param(WRONG["labelled"], [{"op": "remove", "path": PATH}], id="removed"),
    ],
)
def test_the_patch(facts: Namespace, patch: list[dict[str, Any]]) -> None:
    """It changes the one label, and nothing if the namespace has changed meanwhile."""
    assert label_patch(facts) == patch


@pytest.mark.parametrize(
    ("status", "result"),
    [(404, "stale"), (409, "stale"), (422, "stale"), (403, "failed"), (0, "failed")],
)
def test_a_patch_that_fails_is_counted(status: int, result: str) -> None:
    """Lost races are expected; what an administrator must know of is told apart."""
    rig = Kept(WRONG)
    rig.api.before = fail(KubeError(status, "Reason", "message"))
    rig.reconciler.reconcile_all()
    assert rig.results == [result, result]


def until(holds: Any) -> None:
    limit = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < limit, "waited 5 s in vain"
        time.sleep(0.01)


def test_a_change_wakes_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it makes a label wrong; every other one would cost a look at all namespaces."""
    monkeypatch.setattr(label_reconciler, "MAX_DELAY", 0.01)
    looks = []

    def namespaces() -> dict[str, Namespace]:
        looks.append(WRONG)
        return WRONG

    rig = Kept({})
    rig.reconciler = LabelReconciler(rig.api.client(), namespaces, rig.results.append)
    rig.reconciler.on_change("with", RIGHT["with"])
    rig.reconciler.on_change("gone", None)
    rig.reconciler.start()
    time.sleep(0.1)
    assert looks == [], "the loop had been told of a change before it began"
    rig.reconciler.on_change("unlabelled", WRONG["unlabelled"])
    until(lambda: len(rig.results) == 2)
    rig.reconciler.stop()


def test_an_error_that_nobody_thought_of_does_not_end_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is logged, and the next look comes."""
    monkeypatch.setattr(label_reconciler, "INTERVAL", 0.01)
    looks = iter([WRONG])
    faults = iter([RuntimeError("dictionary changed size")])

    def namespaces() -> dict[str, Namespace]:
        for fault in faults:
            raise fault
        return next(looks, {})

    rig = Kept({})
    rig.reconciler = LabelReconciler(rig.api.client(), namespaces, rig.results.append)
    with capture_logs() as logged:
        rig.reconciler.start()
        until(lambda: len(rig.results) == 2)
        rig.reconciler.stop()
    assert [line["event"] for line in logged if line["log_level"] == "error"] == [
        "reconciliation failed"
    ]


def test_the_loop_looks_without_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost event costs a minute, not the label."""
    monkeypatch.setattr(label_reconciler, "INTERVAL", 0.01)
    rig = Kept(WRONG)
    rig.reconciler.start()
    until(lambda: rig.results)
    rig.reconciler.stop()
    rig.reconciler.reconcile_all()
    assert has_wrong_label(WRONG["labelled"])
