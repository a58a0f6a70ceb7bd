"""What the chart renders for definitions that are attached: policies, and what a Binding loses.

tests/cluster/test_admission_attachments.py shows what the policies refuse, and test_chart.py the
settings of agent and webhook.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import pytest

from dispatcher import keys
from tests.devcluster.helm import PLAIN, render
from tests.unit.manifests import attached
from tests.unit.webhook.manifests import conditions

POLICY = "ValidatingAdmissionPolicy"


@functools.cache
def policies(mode: str, *shared: str) -> dict[str, dict[str, Any]]:
    """Return the specs of the policies for a mode of definitions, by name."""
    return {
        each["metadata"]["name"]: each["spec"]
        for each in objects(mode, *shared)
        if each["kind"] == POLICY
    }


def objects(mode: str, *shared: str) -> list[dict[str, Any]]:
    definitions = {"mode": mode, "sharedNamespaces": list(shared)}
    return render({**PLAIN, "attachmentDefinitions": definitions})


def test_only_where_they_are_attached_do_policies_read_selections() -> None:
    """One policy more, and parts of four; the rules for a forged annotation move into the first."""
    assert policies("off") == policies("observe")
    before, after = policies("observe"), policies("enforce")
    assert after.keys() - before.keys() == {"cni-genie-pod-attachments"}
    assert {name for name in before if before[name] != after[name]} == {
        "cni-genie-binding",
        "cni-genie-pod-defaults",
        "cni-genie-pod-networks",
        "cni-genie-pod-networks-immutable",
    }
    for key in keys.SELECTION_KEYS:
        assert [name for name, spec in before.items() if key in json.dumps(spec)] == [
            "cni-genie-pod-limits"  # which names in its message what was counted
        ]


def test_the_exclusion_is_that_of_the_other_policies() -> None:
    """What the one does not see, the other does not refuse."""
    every = policies("enforce")
    attachments, networks = every["cni-genie-pod-attachments"], every["cni-genie-pod-networks"]
    assert attachments["matchConstraints"] == networks["matchConstraints"]
    end = " && " + " ".join(attached("object").split())
    for each in (attachments, networks):
        [condition] = conditions(each).values()
        assert condition.endswith(end)
    assert attachments["failurePolicy"] == "Fail"
    assert all(each["message"] for each in attachments["validations"])
    bindings = [
        each["spec"]["validationActions"]
        for each in objects("enforce")
        if (each["kind"], each["metadata"]["name"])
        == (f"{POLICY}Binding", "cni-genie-pod-attachments")
    ]
    assert bindings == [["Deny"]]


def test_no_pod_pays_for_a_message_that_it_does_not_get() -> None:
    """As in the other modes (tests/unit/webhook/test_policies.py)."""
    for name, spec in policies("enforce").items():
        for each in spec["validations"] if "-pod-" in name else ():
            text = " ".join(each.get("messageExpression", "").split())
            assert not text or text.startswith(f"{each['expression']} ? '' : ")


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_every_annotation_that_is_immutable_is_compared_by_the_condition(mode: str) -> None:
    """One that is missing there could be changed."""
    fixed = keys.POD_KEYS + (keys.SELECTION_KEYS if mode == "enforce" else ())
    spec = policies(mode)["cni-genie-pod-networks-immutable"]
    [changed] = conditions(spec).values()
    compared = [
        f"object.metadata.?annotations[?'{key}'] != oldObject.metadata.?annotations[?'{key}']"
        for key in fixed
    ]
    assert changed.startswith(f"({' || '.join(compared)}) && ")
    if mode == "enforce":
        [rules] = [each for each in spec["variables"] if each["name"] == "changed"]
    else:
        [_, rules] = spec["validations"]
    assert all(f"'{key}'" in rules["expression"] for key in fixed[1:])


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_bindings_lose_the_keys_that_the_policy_refuses(mode: str) -> None:
    """A key that is not removed would keep a scheduler that sends it from binding any pod."""
    fixed = keys.POD_KEYS + (keys.SELECTION_KEYS if mode == "enforce" else ())
    refused = [each["expression"] for each in policies(mode)["cni-genie-binding"]["validations"]]
    assert refused == [f"!object.metadata.?annotations[?'{key}'].hasValue()" for key in fixed]
    searched = conditions(policies(mode)["cni-genie-binding"])["has-our-keys"]
    assert re.findall(r"'([^']+)' in object\.metadata\.annotations", searched) == list(fixed)
    [entry] = [
        entry
        for each in objects(mode)
        for entry in each.get("webhooks", ())
        if entry["name"] == "bindings.cni-genie.io"
    ]
    sent = re.findall(r"\['([^\]]*)'\]\.exists", conditions(entry)["has-our-keys"])
    assert [key for keys_ in sent for key in keys_.split("', '")] == list(fixed)


@pytest.mark.parametrize("mode", ["off", "observe", "enforce"])
def test_shared_namespaces_are_literals_of_the_policy(mode: str) -> None:
    """No parameter that could be missing."""
    name = "cni-genie-pod-attachments" if mode == "enforce" else "cni-genie-pod-networks"
    spec = policies(mode, "common", "infra-42")[name]
    assert "[request.namespace, 'common', 'infra-42']" in json.dumps(spec)
