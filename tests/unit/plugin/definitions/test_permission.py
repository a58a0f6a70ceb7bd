"""Forged annotations: the author's and the webhook's must name the same definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import cni_errors, keys
from dispatcher.cni_errors import CNIError
from dispatcher.nad.attachments import PermittedAttachment, format_attachments
from dispatcher.plugin.definitions.permission import SelectedDefinition, permitted_items

if TYPE_CHECKING:
    from tests.unit.plugin.definitions.rig import DefinitionRig

PORTS = [{"name": "blue", "portMappings": [{"hostPort": 80, "containerPort": 80}]}]
ESCAPED = r'[{"name": "blue", "port\u004dappings": [{"hostPort": 80, "containerPort": 80}]}]'

FORGED: dict[str, tuple[Any, str | None, dict[str, Any], str]] = {
    "missing": ("blue", None, {}, "was not validated"),
    "empty": ("blue", "", {}, "was not validated"),
    "another definition": ("blue", "ns/red:000000", {}, 'item 1 is "ns/red"'),
    "another namespace": ("other/blue", "ns/blue:000000", {}, 'the pod selects "other/blue"'),
    "the own namespace for another": ("blue", "other/blue:000000", {}, '"other/blue"'),
    "reordered": ("blue,red", "ns/red:000000,ns/blue:000000", {}, "item 1"),
    "one less": ("blue,red", "ns/blue:000000", {}, "the value has 1 items"),
    "one more": ("blue", "ns/blue:000000,ns/red:000000", {}, "the value has 2 items"),
    "for no networks": (" ", "ns/blue:000000", {}, "the value has 1 items"),
    "a default network as a secondary": ("blue", "=ns/blue:000000", {}, 'item 1 is "=ns/blue"'),
    "a secondary as default network": (None, "ns/blue:000000", {"default": "ns/blue"}, "=ns/blue"),
    "port mappings": (PORTS, "ns/blue:000000", {}, 'does not permit the "portMappings"'),
    "port mappings in escapes": (ESCAPED, "ns/blue:000000", {}, 'not permit the "portMappings"'),
    "a path": ("blue", "ns/../blue:000000", {}, "item 1 is"),
    "blanks": ("blue", " ns/blue:000000", {}, "item 1 is"),
}  # fmt: skip


@pytest.mark.parametrize(("networks", "value", "more", "part"), FORGED.values(), ids=FORGED)
def test_a_pod_whose_annotations_differ_is_refused(
    rig: DefinitionRig, networks: Any, value: str | None, more: dict[str, Any], part: str
) -> None:
    """Before anything is attached, though all definitions exist on the node."""
    rig.define("ns/blue", {"type": "b1", "capabilities": {"portMappings": True}})
    rig.define("other/blue", {"type": "b1"})
    with pytest.raises(CNIError) as caught:
        rig.ask("ADD", networks, value, **more)
    assert caught.value.code == cni_errors.INVALID_ANNOTATION
    assert part in caught.value.msg
    assert (rig.delegates.calls, rig.records) == ([], [])


def test_port_mappings_are_attached_with_the_permission(rig: DefinitionRig) -> None:
    """However their key is written."""
    rig.define("ns/blue", {"type": "b1", "capabilities": {"portMappings": True}})
    for value in (PORTS, ESCAPED):
        rig.attach(value, "ns/blue+hostPort")
        assert rig.delegates.confs[-1]["runtimeConfig"]["portMappings"][0]["hostPort"] == 80
        rig.run("DEL")


def test_an_emptied_definition_is_not_the_network_of_the_node(rig: DefinitionRig) -> None:
    """Its author took the config away after admission, or forged the permission of another."""
    rig.define("ns/weave", "")
    for mark in ("ns/weave", "ns/weave+hostPort"):
        with pytest.raises(
            CNIError, match='node\'s network "weave", which admission has'
        ) as caught:
            rig.attach("weave", mark)
        assert caught.value.code == cni_errors.INVALID_ANNOTATION
        assert rig.delegates.calls == []
    rig.define("ns/blue", {"type": "b1"})  # the permission for a network requires none
    rig.attach("blue", "ns/blue+nodeNetwork")


@pytest.mark.parametrize("more", [{"source": "file"}, {"source": "http"}], ids=str)
def test_a_static_pod_needs_no_permission(rig: DefinitionRig, more: dict[str, Any]) -> None:
    """Admission has not seen it: who writes its manifest is root on the node."""
    rig.define("ns/blue", {"type": "b1", "capabilities": {"portMappings": True}})
    rig.ask("ADD", PORTS, **more)
    assert len(rig.record()["attachments"]) == 2
    rig.run("DEL")
    with pytest.raises(CNIError):
        rig.ask("ADD", "blue", "ns/red:000000", **more)


def test_a_pod_of_an_excluded_namespace_needs_no_permission(rig: DefinitionRig) -> None:
    """The webhook and the policies leave these out."""
    args = {keys.CONF_ARGS: {"attachmentDefinitions": "enforce", "excludedNamespaces": ["ns"]}}
    rig.ask("ADD", "blue", args=args)
    assert len(rig.record()["attachments"]) == 2


@pytest.mark.parametrize("key", [keys.NETWORKS, keys.ATTACHMENTS, "another"])
def test_an_annotation_that_is_no_text_is_refused(rig: DefinitionRig, key: str) -> None:
    """A runtime passes texts alone."""
    annotations = {keys.NETWORKS: "blue", key: 1}
    with pytest.raises(CNIError, match="must be a string"):
        rig.run("ADD", runtimeConfig={keys.POD_ANNOTATIONS: annotations})


def test_a_runtime_that_passes_no_namespace(rig: DefinitionRig) -> None:
    """The pod's own namespace would become a part of a path."""
    selected = "the container runtime did not pass it"
    for namespace in ("", "..", "a/b", "A"):
        with pytest.raises(CNIError, match=selected):
            rig.attach("blue", "ns/blue", args_of_call=f"K8S_POD_NAMESPACE={namespace}")
    rig.attach("ns/blue", "ns/blue", args_of_call="")


def test_a_runtime_that_passes_no_annotations(rig: DefinitionRig) -> None:
    """The agent sends them, and they are compared as ever."""
    rig.agent_annotations = {keys.NETWORKS: "blue", keys.ATTACHMENTS: rig.permit("ns/blue")}
    old: dict[str, Any] = {"runtimeConfig": {}, "agentSocket": "/run/x.sock"}
    rig.run("ADD", **old)
    assert len(rig.record()["attachments"]) == 2
    rig.run("DEL", **old)
    del rig.agent_annotations[keys.ATTACHMENTS]
    with pytest.raises(CNIError, match="was not validated"):
        rig.run("ADD", **old)
    rig.agent_annotations[keys.CONFIG_SOURCE] = "file"
    rig.run("ADD", **old)
    assert len(rig.record()["attachments"]) == 2


names = st.sampled_from(["a", "b"])
definitions = st.lists(st.tuples(names, names, st.booleans()), max_size=3)


@given(definitions, definitions)
def test_exactly_the_permitted_definitions_are_attached(
    selected: list[tuple[str, str, bool]], permitted: list[tuple[str, str, bool]]
) -> None:
    """In order, and port mappings only where they are permitted."""
    expected = [
        SelectedDefinition(namespace, name, is_default=False, has_port_mappings=flag)
        for namespace, name, flag in selected
    ]
    value = format_attachments(
        PermittedAttachment(namespace, name, f"00000{number}", allows_host_port=flag)
        for number, (namespace, name, flag) in enumerate(permitted)
    )
    is_permitted = [each[:2] for each in selected] == [each[:2] for each in permitted] and all(
        may_have_port or not has_port
        for (_, _, has_port), (_, _, may_have_port) in zip(selected, permitted, strict=True)
    )
    try:
        items = permitted_items(expected, {keys.ATTACHMENTS: value}, is_validated=True)
    except CNIError:
        assert not is_permitted
    else:
        assert is_permitted
        assert format_attachments(items) == value
