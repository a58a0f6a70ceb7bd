"""The node annotation that tells the plugin types of networks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.plugin_types import MAX_BYTES, MAX_TYPES, decode, encode

NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
NETWORKS = st.dictionaries(NAMES, st.lists(NAMES, min_size=1, max_size=3, unique=True), max_size=6)


def test_the_text_is_compact_and_in_order() -> None:
    """Networks in lexical order, the types of each as in its chain."""
    networks = {"weave": ["weave-net"], "canal": ["calico", "portmap", "calico"]}
    assert encode(networks) == "canal=calico,portmap;weave=weave-net"
    assert encode({}) == ""


@given(NETWORKS)
def test_what_was_written_is_read(networks: dict[str, list[str]]) -> None:
    """Whatever networks and types a node has, as long as they fit."""
    assert decode(encode(networks)) == {name: tuple(types) for name, types in networks.items()}


def test_networks_that_do_not_fit_are_left_out() -> None:
    """The text never exceeds its limit, and what it has is whole."""
    many = {f"network-{number:04}": ["bridge", "portmap"] for number in range(1000)}
    text = encode(many)
    assert MAX_BYTES - 40 < len(text) <= MAX_BYTES
    actual = decode(text)
    assert list(actual) == sorted(many)[: len(actual)]


@pytest.mark.parametrize(
    ("networks", "text"),
    [
        pytest.param({"a": ["b;c=calico", "bridge"]}, "a=bridge", id="separators in a type"),
        pytest.param({"a": ["x" * 64]}, "", id="a type of more than 63 characters"),
        pytest.param({"a": ["caf\u00e9"], "b": ["ptp"]}, "b=ptp", id="a type of other letters"),
        pytest.param({"a=b": ["ptp"]}, "", id="what is no name of a network"),
        pytest.param(
            {"a": [f"t{number}" for number in range(99)]},
            "a=" + ",".join(f"t{number}" for number in range(MAX_TYPES)),
            id="a chain without end",
        ),
    ],
)
def test_only_plain_names_are_published(networks: dict[str, list[str]], text: str) -> None:
    """A type is the name of an executable, which may have any character."""
    assert encode(networks) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("", {}, id="empty"),
        pytest.param(";;=;a;a=;=b", {}, id="entries without a name or a type"),
        pytest.param("a=b,;c=d", {"c": ("d",)}, id="an empty type"),
        pytest.param("a b=c;-a=c;a/b=c;d=e", {"d": ("e",)}, id="bad names"),
        pytest.param('a=b"c;a=\x00;a=\u00e9;d=e', {"d": ("e",)}, id="bad types"),
        pytest.param("a=b;a=c", {"a": ("c",)}, id="a network twice"),
        pytest.param("a=b=c", {}, id="two equals signs"),
        pytest.param('{"a": ["b"]}', {}, id="JSON"),
        pytest.param("a=b;" * MAX_BYTES, {}, id="longer than the limit"),
    ],
)
def test_a_hostile_text_is_ignored_where_it_is_malformed(
    text: str, found: dict[str, tuple[str, ...]]
) -> None:
    """Nodes are not trusted to follow the form."""
    assert decode(text) == found


@given(st.text(st.sampled_from("ab=,;-.\n\u00e9"), max_size=60) | st.text())
def test_any_text_is_read_or_ignored(text: str) -> None:
    """No text raises an error, and what was read can be written."""
    actual = decode(text)
    assert decode(encode(actual)) == {name: tuple(dict.fromkeys(t)) for name, t in actual.items()}
