"""Which pods are read from a manifest, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.plugin.cli.manifest import PodManifestError, read
from tests.unit.cli.builders import manifest, workload

POD = manifest("weave", namespace="shop")
JOB = ("spec", "jobTemplate", "spec", "template")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(POD, ("Pod", "shop", "web", "weave"), id="a pod"),
        pytest.param(manifest(), ("Pod", "default", "web", None), id="no annotation"),
        pytest.param(manifest(""), ("Pod", "default", "web", ""), id="an empty annotation"),
        pytest.param(
            {"kind": "Pod", "metadata": {"generateName": "g-", "annotations": {"cni": None}}},
            ("Pod", "default", "g-", None),
            id="null, and a generated name",
        ),
        pytest.param(
            workload("Deployment", POD, "spec", "template", name="d"),
            ("Deployment", "default", "d", "weave"),
            id="a workload",
        ),
        pytest.param(
            workload("CronJob", POD, *JOB), ("CronJob", "default", "", "weave"), id="a cron job"
        ),
        pytest.param(
            workload("PodTemplate", POD, "template"),
            ("PodTemplate", "default", "", "weave"),
            id="a pod template",
        ),
        pytest.param(
            {"kind": "List", "items": [POD]}, ("Pod", "shop", "web", "weave"), id="a list"
        ),
        pytest.param(
            {"kind": "PodList", "items": [{"metadata": {"annotations": {"cni": "a"}}}]},
            ("Pod", "default", "", "a"),
            id="a list of one kind, whose items have none",
        ),
    ],
)
def test_a_manifest_has_a_pod(value: dict[str, Any], expected: tuple[str, str, str, Any]) -> None:
    """Kind, namespace, name and annotation; metadata of a workload, annotation of its template."""
    [pod] = read(json.dumps(value).encode())
    assert (pod.kind, pod.namespace, pod.name, pod.annotation) == expected
    assert pod.skip_reason == ""


@pytest.mark.parametrize("indent", [None, 4])
def test_several_objects_follow_one_another(indent: int | None) -> None:
    """As kubectl prints the objects of one file."""
    first, second = manifest("a}\n{b", name="one"), manifest(name="two")
    text = "\n".join(json.dumps(each, indent=indent) for each in (first, second)) + "\n"
    pods = read(text.encode())
    assert [(pod.name, pod.annotation) for pod in pods] == [("one", "a}\n{b"), ("two", None)]


@pytest.mark.parametrize("value", [False, None, "true", 1])
def test_a_pod_with_a_network_of_its_own(value: Any) -> None:
    """It says so, or nothing, or what the API server refuses."""
    [pod] = read(json.dumps(manifest(spec={"hostNetwork": value})).encode())
    assert pod.skip_reason == ""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "not valid JSON", id="nothing"),
        pytest.param(b"{", "not valid JSON", id="half of an object"),
        pytest.param(b"\xff", "not valid JSON", id="bytes that are no text"),
        pytest.param(yaml.safe_dump(POD).encode(), "-o json", id="YAML"),
        pytest.param(b"[]", "not a Kubernetes object", id="a list of JSON"),
        pytest.param(b'{"kind":"List","items":[1]}', "an item of the list", id="numbers"),
        pytest.param(b'{"kind":"List","items":[]}', "no items", id="an empty list"),
        pytest.param(b'{"metadata":{"name":"x"}}', '"kind" is missing', id="no kind"),
        pytest.param(b'{"kind":7}', '"kind" is missing', id="a kind of a wrong type"),
        pytest.param(
            b'{"kind":"Pod","metadata":{"annotations":{"cni":"a","cni":"b"}}}',
            "stands twice",
            id="two annotations of one key",
        ),
    ],
)
def test_anything_else_is_refused(data: bytes, reason: str) -> None:
    """With the reason; nothing is guessed."""
    with pytest.raises(PodManifestError, match=reason):
        read(data)


KEYS = st.sampled_from(["cni", "a", "x/y", "b-c"])
VALUES = st.text(max_size=12) | st.none()


@given(st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, VALUES), st.sampled_from([None, 4]))
def test_any_annotation_is_read_as_it_is(
    annotations: dict[str, str | None], labels: dict[str, str | None], indent: int | None
) -> None:
    """Whatever characters it has, and beside whatever labels."""
    value = manifest(labels=labels)
    value["metadata"]["annotations"] = annotations
    [pod] = read(json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8", "replace"))
    assert pod.annotation == annotations.get("cni")
