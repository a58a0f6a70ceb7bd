"""Of a review only the fields that the rules read are parsed: decisions are those on the whole."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import keys
from dispatcher.nad.tenant_templates import TenantRules
from tests.unit.webhook.builders import NETWORKS, admit_template, envelope, pod
from tests.unit.webhook.strategies import namespaces, pods
from webhook.affinity import REQUIRED
from webhook.bindings import strip_binding
from webhook.definitions import admit_definition
from webhook.limits import CLUSTER
from webhook.namespaces import admit_namespace
from webhook.objects import TEMPLATE_PATHS, parse_pod
from webhook.pods import PodRules, admit_pod
from webhook.review import MalformedReviewError, object_name
from webhook.review_parser import parse_review
from webhook.snapshot import Namespace
from webhook.templates import TemplateRules

if TYPE_CHECKING:
    from collections.abc import Callable

    from webhook.decision import Decision
    from webhook.review import Review

FIELDS = (
    *("metadata", "spec", "template", "jobTemplate", "annotations", "labels", "ownerReferences"),
    *("controller", "nodeSelector", "affinity", "nodeAffinity", "nodeName", "hostNetwork", "os"),
    *("name", "generateName", "namespace", "uid", "config", "deletionTimestamp", "cni", "other"),
    *(keys.MIRROR, keys.ALLOWED, keys.CHOOSE, "matchExpressions", "nodeSelectorTerms"),
)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.sampled_from(["weave", "canal@net1", "", "windows", "{}"]) | st.text(max_size=5)
values = st.recursive(
    scalars | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6)
    ),
    max_leaves=12,
)
any_objects = st.dictionaries(st.sampled_from(FIELDS[:4]), values, min_size=1, max_size=4)


@st.composite
def shaped_objects(draw: st.DrawFn) -> dict[str, Any]:
    """Return an object whose parts are where the rules look for them, some of a wrong type."""
    metadata = draw(values | st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, values)))
    spec = draw(values | st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, values)))
    template = {"metadata": metadata, "spec": spec}
    nested = {"template": template, "jobTemplate": {"spec": {"template": template}}}
    if isinstance(spec, dict):
        spec = {**spec, **draw(st.sampled_from([{}, nested]))}
    return {"metadata": metadata, "spec": spec, "status": {"other": 1}}


objects = any_objects | shaped_objects() | pods()


def decisions(review: Review, namespace: Namespace) -> dict[str, Any]:
    """Return what each rule decides on a review, or the message of its refusal."""

    def outcome(decide: Callable[..., Any], *args: Any) -> Any:
        try:
            return decide(*args)
        except MalformedReviewError as error:
            return str(error)

    def on_pod(mode: Any) -> Decision:
        rules = PodRules("required", CLUSTER, mode)
        return admit_pod(review, parse_pod(review.object), namespace, NETWORKS, rules)

    def on_workload(kind: str) -> Decision:
        workload = review._replace(kind=kind)
        return admit_template(workload, namespace, NETWORKS, TemplateRules())

    return {
        **{mode: outcome(on_pod, mode) for mode in ("off", "observe", "enforce")},
        **{kind: outcome(on_workload, kind) for kind in TEMPLATE_PATHS},
        "namespace": outcome(admit_namespace, review, NETWORKS, CLUSTER),
        "binding": outcome(strip_binding, review, "enforce"),
        "definition": outcome(admit_definition, review, TenantRules(), "enforce"),
        "name": outcome(object_name, review),
    }


def compare(new: dict[str, Any], old: dict[str, Any] | None, namespace: Namespace) -> Any:
    """Return the decisions on what is parsed, after comparing them with those on the whole."""
    body = envelope({"kind": "Pod"}, operation="UPDATE" if old else "CREATE", namespace="team-a")
    body["request"] |= {"object": {"kind": "Pod", **new}, "oldObject": old and {"kind": "", **old}}
    review = parse_review(json.dumps(body).encode())

    whole = review._replace(
        object=json.loads(json.dumps(body["request"]["object"])),
        old_object=json.loads(json.dumps(body["request"]["oldObject"])) or {},
    )
    parsed = decisions(review, namespace)
    assert parsed == decisions(whole, namespace)
    return parsed


@given(objects, st.none() | objects, namespaces)
def test_decisions_are_those_on_the_whole_objects(
    new: dict[str, Any], old: dict[str, Any] | None, namespace: Namespace
) -> None:
    """Whatever is in the place of a field."""
    compare(new, old, namespace)


DEFAULT = Namespace("team-a", default="weave")


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("metadata", "annotations", {"cni": "unknown"}),
        ("metadata", "deletionTimestamp", "2026-11-28T00:00:00Z"),
        ("metadata", "generateName", "web-"),
        ("metadata", "labels", {"cni": "weave"}),
        ("metadata", "name", "other"),
        ("metadata", "ownerReferences", [{"controller": True}]),
        ("spec", "affinity", {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{}]}}}),
        ("spec", "config", '{"cniVersion": "1.0.0", "type": "bridge", "name": "weave"}'),
        ("spec", "hostNetwork", True),
        ("spec", "nodeName", "node-1"),
        ("spec", "nodeSelector", {"kubernetes.io/os": "windows"}),
        ("spec", "os", {"name": "windows"}),
    ],
)
def test_each_field_that_is_read_changes_a_decision(part: str, field: str, value: Any) -> None:
    """The comparison would fail without it."""
    plain: dict[str, Any] = {"metadata": {"labels": {}}, "spec": {}}
    changed = {**plain, part: {**plain[part], field: value}}
    plain, changed = ({**one, "spec": _nested(one)} for one in (plain, changed))
    assert compare(changed, None, DEFAULT) != compare(plain, None, DEFAULT)


def _nested(template: dict[str, Any]) -> dict[str, Any]:
    """Return the spec of *template*, with a workload's template beside it."""
    return {
        **template["spec"],
        "template": template,
        "jobTemplate": {"spec": {"template": template}},
    }


MEMBERS = ("uid", "operation", "name", "namespace", "subResource")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, texts | values)))
def test_the_members_of_a_request_are_strings_or_the_review_is_refused(
    members: dict[str, Any],
) -> None:
    """A missing one or null is empty; the first one of another type is in the message."""
    body = envelope(pod("weave"))
    body["request"] = {"object": body["request"]["object"], **members}
    wrong = [key for key in MEMBERS if not isinstance(members.get(key), str | None)]
    expected = f"request.{wrong[0]} must be a string" if wrong else "request.uid is required"
    if not wrong and members.get("uid") and members.get("operation") != "UPDATE":
        review = parse_review(json.dumps(body).encode())
        assert review[:2] + review[4:7] == tuple(members.get(key) or "" for key in MEMBERS)
        return
    if not wrong and members.get("uid"):
        expected = "request.oldObject is required"
    with pytest.raises(MalformedReviewError, match=expected):
        parse_review(json.dumps(body).encode())


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b'"\xff"', id="not-utf8"),
        pytest.param(b'"\\ud800"', id="half-a-character"),
        pytest.param(b'"\n"', id="control-character"),
        pytest.param(b"[1,]", id="comma-at-the-end"),
        pytest.param(b"01", id="leading-zero"),
        pytest.param(b"NaN", id="not-a-number"),
        pytest.param(b"[" * 100_000, id="nested-without-end"),
    ],
)
def test_what_is_passed_over_must_be_json(broken: bytes) -> None:
    """So that a client's mistake does not depend on where it is."""
    body = json.dumps(envelope(pod("weave"), other="HERE")).encode()
    with pytest.raises(MalformedReviewError, match="not valid JSON"):
        parse_review(body.replace(b'"HERE"', broken))


@pytest.mark.parametrize("field", ["other", "object"])
def test_a_deep_value_is_read_or_refused(field: str) -> None:
    """How deep it may be depends on the interpreter; beyond that the body is no valid JSON."""
    parts: dict[str, Any] = {"object": {"metadata": {}}, "other": {}} | {
        field: {"spec": {"affinity": "DEEP"}}
    }
    body = envelope(None)
    body["request"] |= parts
    text = json.dumps(body).encode()
    shallow, deep = (b"[" * depth + b"]" * depth for depth in (200, 140_000))
    assert parse_review(text.replace(b'"DEEP"', shallow)).object
    with contextlib.suppress(MalformedReviewError):
        parse_review(text.replace(b'"DEEP"', deep))
