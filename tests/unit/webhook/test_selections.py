"""Warnings for annotations that select NetworkAttachmentDefinitions, in the mode ``observe``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.keys import DEFAULT_NETWORK, NETWORKS
from tests.unit.webhook.builders import NETWORKS as KNOWN
from tests.unit.webhook.builders import admit_template, pod, review
from tests.unit.webhook.definition_cases import decide
from webhook.definition_snapshot import Definitions, KnownDefinition
from webhook.pods import PodRules
from webhook.selections import read_selections
from webhook.snapshot import Namespace
from webhook.templates import TemplateRules

if TYPE_CHECKING:
    from webhook.settings import DefinitionsMode

SHOP = Namespace("shop")


def warned(
    annotations: dict[str, str], mode: DefinitionsMode = "observe", namespace: Namespace = SHOP
) -> list[str]:
    """Return the warnings of a pod and of a template with it, which must be the same."""
    manifest = pod(metadata={"annotations": annotations})
    definitions = Definitions({f"shop/{name}": KnownDefinition("0") for name in "abcdefgh"})
    rules = PodRules("off", definitions=mode)
    decision = decide(manifest, rules, namespace, definitions=definitions)
    assert decision.allowed
    workload = {"kind": "Deployment", "spec": {"template": manifest}}
    template = admit_template(
        review(workload),
        namespace,
        KNOWN,
        TemplateRules(pods=rules),
        selections=read_selections(annotations, namespace, KNOWN),
        definitions=definitions,
    )
    assert template.allowed
    # The longer path of a template leaves less room for the end.
    texts = [each.removeprefix("spec.template.")[:200] for each in template.warnings]
    assert texts == [each[:200] for each in decision.warnings]
    return list(decision.warnings)


FIELD = f"metadata.annotations[{NETWORKS}]"
CASES: dict[str, tuple[dict[str, str], list[str]]] = {
    "a valid value": ({NETWORKS: "a,b@data"}, []),
    "a fault": ({NETWORKS: "a,\nb@lo"}, [f'{FIELD}: Invalid value: "lo": item 2: an interface']),
    "a fault beside cni": ({"cni": "weave", NETWORKS: "a@eth0"}, [f"{FIELD}: Duplicate value"]),
    "two annotations": (
        {NETWORKS: "A", DEFAULT_NETWORK: "B"},
        [f"metadata.annotations[{DEFAULT_NETWORK}]: Invalid value", f"{FIELD}: Invalid value"],
    ),
    "what other programs refuse": ({NETWORKS: "a@x_1"}, [f'{FIELD}: other programs may refuse "x']),
}


@pytest.mark.parametrize(("annotations", "expected"), CASES.values(), ids=CASES)
def test_faults_are_warnings_while_genie_observes(
    annotations: dict[str, str], expected: list[str]
) -> None:
    """After the one that the annotation is ignored; the pod is admitted as it is."""
    ignored, *faults = warned(annotations)
    assert "Genie ignores this annotation" in ignored
    assert len(faults) == len(expected)
    assert [fault[: len(words)] for fault, words in zip(faults, expected, strict=True)] == expected
    assert warned(annotations, mode="off") == [ignored]


def test_a_value_with_many_faults_gives_few_warnings() -> None:
    """API servers truncate all warnings of an object together."""
    _, *faults = warned({NETWORKS: ",".join("ABCDEFGH")})
    assert len(faults) == 6
    expected = "metadata.annotations: more faults: 3; to list all: kubectl genie lint -f FILE"
    assert faults[-1] == expected


def test_the_default_of_the_namespace_has_interfaces_too() -> None:
    """An item of the annotation may not have one of these."""
    namespace = Namespace("shop", default="canal,weave@data")
    _, fault = warned({NETWORKS: "a@data"}, namespace=namespace)
    assert 'already used by "cni"' in fault


def test_hostile_values_cost_little_and_give_short_warnings() -> None:
    """Whatever the value is, the API server gets its answer."""
    values: list[Any] = [
        "[" * 60_000,
        "[null]",
        '[{"name":1' + ',"x":1' * 9000 + "}]",
        "," * 60_000,
    ]
    for value in values:
        start = time.process_time()
        actual = warned({NETWORKS: value})
        assert time.process_time() - start < 2  # at most some 200 ms, for a pod and a template
        assert 2 <= len(actual) <= 7
        assert all(len(each) <= 256 for each in actual)
