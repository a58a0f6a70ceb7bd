"""The annotations that select NetworkAttachmentDefinitions, by property."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.annotation import BLANKS
from dispatcher.nad.faults import InvalidSelectionsError
from dispatcher.nad.grammar import parse
from dispatcher.nad.selection import (
    Bandwidth,
    NetworkSelection,
    PortMapping,
    as_element,
    as_json,
    format_selections,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dispatcher.nad.faults import SelectionFault

LOWER = string.ascii_lowercase + string.digits
labels = st.builds("{}{}a".format, st.sampled_from(LOWER), st.text(LOWER + "-", max_size=5))
names = st.lists(labels, min_size=1, max_size=3).map(".".join)
interfaces = st.text(LOWER + "A._-", max_size=14).map("e{}".format)
v4 = st.ip_addresses(v=4).map(str)
v6 = st.ip_addresses(v=6).map(str)
hexes = st.binary(min_size=8, max_size=8).map(lambda b: b.hex(":"))
macs = st.binary(min_size=5, max_size=5).map(lambda b: "02:" + b.hex(":"))
positive = st.integers(1, 10**18 - 1)
bandwidths = st.builds(Bandwidth, positive, st.integers(0, 9), positive, st.integers(0, 9))
ports = st.integers(1, 65535)
mappings = st.builds(PortMapping, ports, ports, st.sampled_from(["tcp", "udp", "sctp"]), v4 | v6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**17) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
selections = st.builds(
    NetworkSelection,
    names,
    st.just("") | labels,
    st.just("") | interfaces,
    ips=st.lists(st.builds("{}/{}".format, v4, st.integers(0, 32)) | v6, max_size=2).map(tuple),
    mac=st.just("") | macs,
    infiniband_guid=st.just("") | hexes,
    cni_args=st.none() | st.dictionaries(st.text(max_size=3), json_values, max_size=2),
    port_mappings=st.lists(mappings, max_size=2).map(tuple),
    bandwidth=st.none() | bandwidths,
)
plain = st.builds(NetworkSelection, names, st.just("") | labels, st.just("") | interfaces)


@settings(max_examples=40)
@given(st.lists(selections | plain, max_size=5), st.none() | st.lists(v4 | v6, max_size=2))
def test_what_is_written_is_read_as_the_same(
    items: list[NetworkSelection], route: list[str] | None
) -> None:
    """In either form; a default route may be on one item only."""
    if items and route is not None:
        items[-1].default_route = tuple(route)
    assert list(parse(format_selections(items))) == items
    assert list(parse(as_json(items))) == items
    assert format_selections(parse(format_selections(items))) == format_selections(items)


@given(st.lists(plain, max_size=5), st.text(BLANKS, max_size=2))
def test_blanks_around_the_parts_of_the_short_form_change_nothing(
    items: list[NetworkSelection], blanks: str
) -> None:
    spread = format_selections(items)
    for mark in ",/@":
        spread = spread.replace(mark, f"{blanks}{mark}{blanks}")
    assert list(parse(blanks + spread + blanks)) == items


tokens = st.lists(
    st.sampled_from(
        [
            *'[]{},:@/" \n',
            "null",
            "1",
            "-0",
            "1e5",
            "a",
            '"name"',
            '"ips"',
            '"x.y"',
            '"\\ud800"',
            "\x00",
        ]
    ),
    max_size=14,
).map("".join)


def outcome(value: str) -> tuple[Sequence[NetworkSelection] | None, Sequence[SelectionFault]]:
    try:
        return parse(value), ()
    except InvalidSelectionsError as error:
        return None, error.faults


@given(st.text() | tokens | st.binary().map(lambda b: b.decode("utf-8", "surrogateescape")))
def test_any_text_is_parsed_or_refused_with_faults_in_it(value: str) -> None:
    """Nothing else is raised, and each fault stands at a place of the text."""
    items, faults = outcome(value)
    assert items is None or list(parse(format_selections(items))) == list(items)
    for fault in faults:
        assert 0 <= fault.offset <= len(value)
        assert fault.line - 1 == value.count("\n", 0, fault.offset)


odd_texts = st.text(st.sampled_from('a.\ud800\udfff"\\\n\x1bé😀'), max_size=3)
odd_keys = odd_texts | st.sampled_from(["name", "ips", "bandwidth", "portMappings", "deviceID"])
odd_values = st.recursive(
    st.none() | st.integers() | odd_texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(odd_keys, inner, max_size=2),
    max_leaves=4,
)
odd_members = st.lists(st.tuples(odd_keys, odd_values), max_size=4)


@given(st.lists(odd_members, max_size=2))
def test_every_fault_can_be_encoded(elements: list[list[tuple[str, object]]]) -> None:
    """In UTF-8, whatever the keys, also one that stands twice: the webhook answers in JSON."""
    objects = (
        ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in members)
        for members in elements
    )
    _, faults = outcome(f"[{','.join(f'{{{each}}}' for each in objects)}]")
    for fault in faults:
        str(fault).encode()


def test_equality_and_text_of_a_selection() -> None:
    """Two are equal if they ask for the same; the text is for failures of tests."""
    one = NetworkSelection("a", mac="02:00:00:00:00:01")
    assert one == NetworkSelection("a", mac="02:00:00:00:00:01")
    assert one != NetworkSelection("a")
    assert one != "a"
    assert repr(one) == f"NetworkSelection({json.dumps(as_element(one), separators=(',', ':'))})"
