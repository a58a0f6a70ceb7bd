"""Properties that hold for every value, not only for those someone thought of."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from hypothesis import given

from dispatcher.annotation import BLANKS, MAX_BYTES, InvalidAnnotationError, normalise, parse
from tests.unit.webhook.builders import admit, patched, pod
from tests.unit.webhook.strategies import NAMES, WORLD, modes, namespaces, pods, values
from webhook.affinity import PREFERRED, REQUIRED
from webhook.limits import CLUSTER, excesses
from webhook.network_choice import resolve_choice
from webhook.snapshot import Namespace

if TYPE_CHECKING:
    from webhook.decision import Decision


def decide(manifest: dict[str, Any], namespace: Namespace, mode: str) -> Decision:
    return admit(manifest, resolved(namespace, manifest), WORLD, mode)


def resolved(namespace: Namespace, manifest: dict[str, Any]) -> Namespace:
    """Return *namespace* with the network that is chosen for a new pod, as the handlers do."""
    return resolve_choice(namespace, manifest["metadata"].get("annotations", {}), WORLD)


def value_of(manifest: dict[str, Any]) -> str | None:
    written = manifest["metadata"].get("annotations", {}).get("cni")
    return None if written is None else str(written)


@given(pods(), namespaces, modes)
def test_a_pod_that_passed_passes_again_unchanged(
    manifest: dict[str, Any], namespace: Namespace, mode: str
) -> None:
    """The API server may call twice (reinvocation); the second call changes nothing."""
    first = decide(manifest, namespace, mode)
    if first.allowed:
        second = decide(patched(manifest, first), namespace, mode)
        assert second.allowed
        assert not second.patch


@given(pods(), namespaces, modes)
def test_the_patch_touches_only_the_annotation_and_the_affinity(
    manifest: dict[str, Any], namespace: Namespace, mode: str
) -> None:
    """Every other part of the pod is the author's, to the last byte."""
    decision = decide(manifest, namespace, mode)
    stored = patched(manifest, decision)
    for one in (manifest, stored):
        one["metadata"].setdefault("annotations", {}).pop("cni", None)
        one["spec"].pop("affinity", None)
    assert stored == manifest


def expected(manifest: dict[str, Any], namespace: Namespace, mode: str) -> dict[str, Any]:
    """Return what *manifest*, which is valid, is to become; no patch, only the object."""
    written = value_of(manifest)
    namespace = resolved(namespace, manifest)
    value = written if written and written.strip(BLANKS) else namespace.default or written
    wanted: dict[str, Any] = copy.deepcopy(manifest)
    if value is None:
        return wanted
    value = normalise(value) if value.strip(BLANKS) else ""
    wanted["metadata"].setdefault("annotations", {})["cni"] = value
    ours = [
        {"key": f"network.cni-genie.io/{name}", "operator": "In", "values": ["true"]}
        for name in dict.fromkeys(item.partition("@")[0] for item in value.split(",") if item)
    ]
    mode = namespace.scheduling or mode
    if ours and mode != "off" and "nodeName" not in wanted["spec"]:
        node = wanted["spec"].setdefault("affinity", {}).setdefault("nodeAffinity", {})
        if mode == "preferred":
            preference = {"weight": 100, "preference": {"matchExpressions": ours}}
            node.setdefault(PREFERRED, []).append(preference)
        elif REQUIRED not in node:
            node[REQUIRED] = {"nodeSelectorTerms": [{"matchExpressions": ours}]}
        else:
            for term in filter(any_requirement, node[REQUIRED]["nodeSelectorTerms"]):
                there = term.get("matchExpressions", [])
                term["matchExpressions"] = [*there, *(one for one in ours if one not in there)]
    return wanted


def any_requirement(term: dict[str, Any]) -> bool:
    return bool(term.get("matchExpressions") or term.get("matchFields"))


@given(pods(), namespaces, modes)
def test_the_patch_gives_exactly_the_object_that_was_meant(
    manifest: dict[str, Any], namespace: Namespace, mode: str
) -> None:
    """Applied by a library that is not ours: value, default and affinity, and nothing else."""
    decision = decide(manifest, namespace, mode)
    if decision.allowed:
        assert patched(manifest, decision) == expected(manifest, namespace, mode)
    else:
        assert not decision.patch


@given(pods(), namespaces, modes)
def test_what_passes_is_what_the_plugin_reads(
    manifest: dict[str, Any], namespace: Namespace, mode: str
) -> None:
    """A stored value is in normal form, of known and allowed networks; a refused one is not."""
    decision = decide(manifest, namespace, mode)
    if not decision.allowed:
        assert decision.causes
        return
    stored = value_of(patched(manifest, decision))
    if stored is None:
        assert not namespace.fills_in
        return
    assert normalise(stored) == stored
    named = {selection.network for selection in parse(stored)}
    assert named <= (set(NAMES) if namespace.allowed is None else set(namespace.allowed))


@given(values)
def test_a_value_is_refused_exactly_if_the_plugin_would_not_know_what_to_do(value: str) -> None:
    """Webhook and plugin have one grammar; the webhook adds which names exist, and the limits."""
    decision = decide(pod(value), Namespace("team-a"), "off")
    try:
        unknown = {selection.network for selection in parse(value)} - set(NAMES)
    except InvalidAnnotationError:
        assert decision.code == 422
        return
    assert decision.allowed is not (bool(unknown) or any(excesses(normalise(value), CLUSTER)))
    assert len(value.encode()) <= MAX_BYTES


@given(pods(), pods(), namespaces)
def test_an_update_never_changes_what_is_stored(
    new: dict[str, Any], old: dict[str, Any], namespace: Namespace
) -> None:
    """Whatever is applied, the pod keeps the value it has, or the request is refused."""
    decision = admit(new, namespace, WORLD, "required", old=old)
    if decision.allowed:
        assert value_of(patched(new, decision)) == value_of(old)
