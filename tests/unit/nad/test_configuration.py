"""The validator of definitions: what is refused, where; the node reads what is accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.nad import configuration
from dispatcher.nad.configuration import DELEGATING, MAX_CONFIG, MAX_FAULTS, MAX_NESTING, decode
from dispatcher.nad.definition import COLLECTION, Definition, DefinitionFault, is_path_safe, read
from dispatcher.nad.validation import MAX_SENTENCE, check

BRIDGE = {
    "type": "bridge",
    "bridge": "br0",
    "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"},
}


def definition(config: Any = BRIDGE, **annotations: str) -> dict[str, Any]:
    """Return an object whose config is *config*, as JSON unless it is a text."""
    text = config if isinstance(config, str) else json.dumps(config)
    return {
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"namespace": "shop", "name": "blue", "uid": "u1", "annotations": annotations},
        "spec": {"config": text},
    }


def chain(*plugins: Any, **more: Any) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "name": "n", "plugins": list(plugins), **more}


def sentences(value: Any) -> list[str]:
    return [str(each) for each in check(read(value)).faults]


@pytest.mark.parametrize(
    ("config", "name", "types", "capabilities"),
    [
        pytest.param(
            BRIDGE, "blue", ["bridge"], set(), id="a single plugin gets the object's name"
        ),
        pytest.param({**BRIDGE, "name": ""}, "blue", ["bridge"], set(), id="so does an empty name"),
        pytest.param({**BRIDGE, "name": "x"}, "x", ["bridge"], set(), id="a name of its own stays"),
        pytest.param(
            chain(
                {**BRIDGE, "capabilities": {"mac": True, "ips": False}},
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ),
            "n",
            ["bridge", "portmap"],
            {"mac", "portMappings"},
            id="a list, with the capabilities that are on",
        ),
        pytest.param(
            {"plugins": [{"type": "thick"}]}, "blue", ["thick"], set(), id="a list without a name"
        ),
        pytest.param(
            {"type": "flannel", "delegate": {"isDefaultGateway": True}},
            "blue",
            ["flannel"],
            set(),
            id="a plugin that delegates to its default",
        ),
        pytest.param({"type": "bridge", "ipam": {}}, "blue", ["bridge"], set(), id="an empty ipam"),
    ],
)
def test_a_configuration_is_accepted(
    config: Any, name: str, types: list[str], capabilities: set[str]
) -> None:
    """With the facts that admission needs."""
    result = check(read(definition(config)))
    assert (result.faults, result.refused) == ((), "")
    assert result.configuration is not None
    assert (result.configuration.name, result.configuration.types) == (name, types)
    assert result.configuration.capabilities == capabilities
    assert decode(read(definition(config))).name == name


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param("{", ["spec.config: not valid JSON"], id="broken JSON"),
        pytest.param("  ", ["spec.config: not valid JSON"], id="blanks"),
        pytest.param("[null]", ["spec.config: must be a JSON object, not a list"], id="[null]"),
        pytest.param("null", ["spec.config: must be a JSON object, not null"], id="null"),
        pytest.param("true", ["spec.config: must be a JSON object, not true"], id="true"),
        pytest.param(
            '"x"', ['spec.config: must be a JSON object, not the string "x"'], id="a text"
        ),
        pytest.param("7", ["spec.config: must be a JSON object, not a number"], id="a number"),
        pytest.param('{"type":"a","type":"b"}', ["stands twice"], id="a key twice"),
        pytest.param("[" * 60_000, ["nested deeper than 32 levels"], id="60,000 levels, open"),
        pytest.param(
            '{"type":"a","x":' + "[" * MAX_NESTING + "]" * MAX_NESTING + "}",
            ["nested deeper than 32 levels"],
            id="one level too many",
        ),
        pytest.param(
            " " * MAX_CONFIG + "{}", [f"64 KiB (has {MAX_CONFIG + 2} bytes)"], id="too long"
        ),
        pytest.param("\ud800", ["spec.config: not valid JSON: byte 0 is not UTF-8"], id="no UTF-8"),
        pytest.param({}, ["plugins: must be a list of at least one plugin"], id="an empty object"),
        pytest.param(chain(), ["plugins: must be a list of at least"], id="no plugins"),
        pytest.param({"plugins": {}}, ["plugins: must be a list of at least"], id="no list"),
        pytest.param(
            chain(None), ["plugins[0]: a plugin must be a JSON object"], id="[null] inside"
        ),
        pytest.param({"type": 7}, ['type: a plugin has no "type"'], id="a type that is no text"),
        pytest.param({**BRIDGE, "name": "../x"}, ['name: "name" must consist'], id="name: a path"),
        pytest.param({**BRIDGE, "name": None}, ['name: "name" must consist'], id="name: null"),
        pytest.param(chain(BRIDGE, disableGC=3), ["disableGC:"], id="a flag that is none"),
        pytest.param(
            chain(BRIDGE, {"type": "../bin/sh"}),
            ['spec.config: plugins[1].type: "type" must be the name of an executable'],
            id="a path as type",
        ),
        pytest.param(
            chain({"type": "a", "ipam": {"type": "/bin/sh"}}),
            ['plugins[0].ipam.type: "ipam.type" of "a" must be the name'],
            id="a path as ipam.type",
        ),
        pytest.param(
            {"type": "a", "ipam": {"type": ["x"]}}, ["ipam.type: "], id="a list as ipam.type"
        ),
        pytest.param(
            {"type": "flannel", "delegate": {"type": "../sh", "ipam": {"type": "a/b"}}},
            ["delegate.type: must be the name", "delegate.ipam.type: must be the name"],
            id="paths in what a plugin delegates to",
        ),
        pytest.param(
            {"type": "x", "delegates": [{"type": "ok"}, {"type": "multus"}]},
            ['delegates[1].type: the plugin "multus" cannot be attached: it reads'],
            id="a meta plugin in a list of delegates",
        ),
        *[
            pytest.param(
                chain({"type": name}),
                [f'plugins[0].type: the plugin "{name}" cannot be attached: {reason}'],
                id=f"the meta plugin {name}",
            )
            for name, reason in DELEGATING.items()
        ],
        pytest.param(
            {"type": "a", "ipam": {"type": "genie"}},
            ['ipam.type: the plugin "genie" cannot be attached'],
            id="a meta plugin as ipam",
        ),
        pytest.param(
            {"type": "a", "Ipam": {"type": "../x"}},
            ['Ipam: write "ipam": letter case counts'],
            id="a key that Go reads as another",
        ),
        pytest.param(
            {"type": "a", "ipam": {"TYPE": "b"}}, ['ipam.TYPE: write "type"'], id="inside the ipam"
        ),
        pytest.param(
            {**chain(BRIDGE), "plugin\u017f": []}, ['write "plugins"'], id="by Unicode's long s"
        ),
        pytest.param(
            chain({"type": "a/b", "ipam": {"type": ".."}}, {"type": "x", "capabilities": 1}),
            ["plugins[0].type", "plugins[0].ipam.type", "plugins[1].capabilities"],
            id="all faults at once",
        ),
        pytest.param(
            {"type": "a/b", "name": "/", "cniVersion": "7"},
            ["name:", "cniVersion:", "type:"],
            id="of all parts",
        ),
    ],
)
def test_a_configuration_is_refused(config: Any, expected: list[str]) -> None:
    """Each fault with its position, all at once."""
    messages = sentences(definition(config))
    assert len(messages) == len(expected), messages
    for sentence, part in zip(messages, expected, strict=True):
        assert part in sentence
        assert sentence.startswith("spec.config: ")


def test_faults_are_bounded() -> None:
    """A text of 64 KiB cannot make an error of a megabyte."""
    result = check(read(definition(chain(*[{"type": "a/" + "b" * 99}] * 400))))
    assert len(result.faults) == MAX_FAULTS
    assert len(result.refused) == MAX_SENTENCE
    assert result.refused.endswith("…")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, [], id="null"),
        pytest.param([], [": must be an object, not a list"], id="a list"),
        pytest.param({"metadata": 3}, ["metadata: must be an object"], id="metadata"),
        pytest.param({"spec": "x"}, ["spec: must be an object"], id="spec"),
        pytest.param({"spec": {"config": {"type": "a"}}}, ['after "config: |"'], id="config"),
        pytest.param({"spec": {"config": 3}}, ["spec.config: must be a string"], id="a number"),
        pytest.param(
            {"metadata": {"namespace": 1, "name": [], "uid": {}, "annotations": []}},
            ["metadata.annotations", "metadata.namespace", "metadata.name", "metadata.uid"],
            id="every field",
        ),
        pytest.param(
            {"metadata": {"annotations": {"k8s.v1.cni.cncf.io/nodeSelector": {}}}},
            ["metadata.annotations[k8s.v1.cni.cncf.io/nodeSelector]: must be a string"],
            id="an annotation",
        ),
    ],
)
def test_a_field_of_another_type_is_a_fault(value: Any, expected: list[str]) -> None:
    """Its value counts as empty."""
    actual = [str(each) for each in read(value).faults]
    assert len(actual) == len(expected)
    assert all(part.lstrip(": ") in each for part, each in zip(expected, actual, strict=True))


def test_a_device_is_refused() -> None:
    """With the fix; an empty annotation asks for none."""
    key = "k8s.v1.cni.cncf.io/resourceName"
    [sentence] = sentences(definition(**{key: "intel.com/sriov"}))
    assert sentence.startswith(
        f'metadata.annotations[{key}]: asks for the device "intel.com/sriov"'
    )
    assert sentences(definition(**{key: " "})) == []


def test_a_definition_without_config_refers_to_a_network_of_the_node() -> None:
    """Which needs a name that a network can have."""
    value = definition("")
    assert read(value).refers_to_node_network
    assert check(read(value)).configuration is None
    assert sentences(value) == []
    value["metadata"]["name"] = "a" * 64
    assert "at most 63" in sentences(value)[0]
    del value["spec"]
    assert len(sentences(value)) == 1


def test_a_name_that_is_missing_everywhere_is_a_fault() -> None:
    """Only a manifest can have that."""
    value = definition()
    del value["metadata"]
    assert sentences(value) == [
        'spec.config: "name" must consist of letters, digits, "_", "." and "-"'
    ]


def test_the_hash_follows_uid_and_config() -> None:
    """It says when a copy on a node is stale."""
    before = Definition("a", "b", uid="1", config="{}")
    assert before.short_hash == Definition("x", "y", uid="1", config="{}").short_hash
    others = [
        Definition("a", "b", uid="2", config="{}"),
        Definition("a", "b", uid="1", config="[]"),
    ]
    assert len({each.short_hash for each in [before, *others]}) == 3
    assert len(before.short_hash) == 6
    assert (repr(before), before.full_name) == ("Definition(a/b)", "a/b")


@pytest.mark.parametrize(
    ("namespace", "name", "is_safe"),
    [
        ("shop", "blue", True),
        ("shop", "blue.v2", True),
        ("shop", "..", False),
        ("shop", "a..b", False),
        ("shop", "a/b", False),
        ("shop", "", False),
        ("", "blue", False),
        ("..", "blue", False),
        ("a.b", "blue", False),
        ("shop", ".synced", False),
        ("shop", "a\0", False),
        ("shop", "Blue", False),
        ("shop", "a" * 254, False),
        ("s" * 64, "blue", False),
    ],
)
def test_only_names_of_kubernetes_are_names_of_files(
    namespace: str, name: str, *, is_safe: bool
) -> None:
    """Whatever an API server sends."""
    assert is_path_safe(Definition(namespace, name)) is is_safe


def test_faults_are_compared_by_their_text() -> None:
    """For sets and tests."""
    fault = DefinitionFault("spec.config", "m", "p")
    assert fault == DefinitionFault("spec.config", "m", "p")
    assert fault != 3
    assert len({fault, DefinitionFault("spec.config", "m", "p")}) == 1
    assert repr(fault) == "DefinitionFault(spec.config: p: m)"
    assert COLLECTION.endswith("/network-attachment-definitions")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["bridge", "a/b", "multus", ""]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "ipam",
                    "plugins",
                    "name",
                    "cniVersion",
                    "delegate",
                    "delegates",
                    "Type",
                    "capabilities",
                    "disableGC",
                    "cniVersions",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON | st.text(max_size=30))
def test_any_config_is_accepted_or_has_faults(config: Any) -> None:
    """And what is accepted, the node reads."""
    value = read(definition(config))
    result = check(value)
    if value.config and not result.faults:
        assert result.configuration is not None
        assert decode(value).types == result.configuration.types
        assert all("/" not in each for each in result.configuration.types)
    else:
        assert result.configuration is None
    assert configuration.validate(value)[1] == list(result.faults)


@given(JSON)
def test_any_object_is_read(value: Any) -> None:
    """No value of the API or of a manifest raises."""
    check(read({"metadata": value, "spec": value}))
    check(read(value))
