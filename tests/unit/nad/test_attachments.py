"""The annotation that records what admission permitted, by table and by property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.nad.attachments import (
    MAX_BYTES,
    InvalidAttachmentsError,
    PermittedAttachment,
    format_attachments,
    parse_attachments,
)
from dispatcher.nad.grammar import MAX_ITEMS
from dispatcher.nad.names import MAX_LABEL, MAX_NAME


def test_an_example_has_its_parts() -> None:
    """The default network, a hash for each, and the permissions."""
    value = "=kube-system/blue:3f9c2a,shop/macvlan:b01d77+hostPort"
    default, second = parse_attachments(value)
    assert default == PermittedAttachment("kube-system", "blue", "3f9c2a", is_default=True)
    assert second == PermittedAttachment("shop", "macvlan", "b01d77", allows_host_port=True)
    assert (second.namespace, second.name, second.short_hash) == ("shop", "macvlan", "b01d77")
    assert format_attachments([default, second]) == value
    assert repr(second) == "PermittedAttachment(shop/macvlan:b01d77+hostPort)"
    assert len({default, second, *parse_attachments(value)}) == 2
    [both] = parse_attachments("shop/weave:000000+nodeNetwork+hostPort")
    assert (both.name, both.allows_node_network, both.allows_host_port) == ("weave", True, True)


REFUSED = {
    "a blank": "a/b:3f9c2a, a/c:3f9c2a",
    "an empty item": "a/b:3f9c2a,",
    "a default that is not first": "a/b:3f9c2a,=a/c:3f9c2a",
    "two marks": "==a/b:3f9c2a",
    "no namespace": "b:3f9c2a",
    "an empty namespace": "/b:3f9c2a",
    "a namespace with a dot": "a.a/b:3f9c2a",
    "two slashes": "a/b/c:3f9c2a",
    "no hash": "a/b",
    "a short hash": "a/b:3f9c2",
    "a hash in upper case": "a/b:3F9C2A",
    "a long hash": "a/b:3f9c2a0",
    "another permission": "a/b:3f9c2a+hostport",
    "one permission twice": "a/b:3f9c2a+hostPort+hostPort",
    "permissions in another order": "a/b:3f9c2a+hostPort+nodeNetwork",
    "an interface": "a/b@net1:3f9c2a",
    "a newline": "a/b:3f9c2a\n",
    "a blank alone": " ",
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_a_value_is_refused(value: str) -> None:
    """No other spelling means the same: what a policy reads is what the plugin reads."""
    with pytest.raises(InvalidAttachmentsError, match="must be NAMESPACE/NAME:HASH"):
        parse_attachments(value)


def test_the_largest_value_is_read_and_a_larger_one_is_not() -> None:
    """The limits leave room for the longest names."""
    longest, rest = (
        PermittedAttachment(
            "n" * MAX_LABEL,
            "a" * MAX_NAME,
            "000000",
            is_default=is_default,
            allows_node_network=True,
            allows_host_port=True,
        )
        for is_default in (True, False)
    )
    items = (longest, *[rest] * (MAX_ITEMS - 1))
    assert parse_attachments(format_attachments(items)) == items
    with pytest.raises(InvalidAttachmentsError, match=r"at most 32 items \(has 33\)"):
        parse_attachments(",".join(["a/b:000000"] * 33))
    with pytest.raises(InvalidAttachmentsError, match="bytes"):
        parse_attachments("a" * (MAX_BYTES + 1))


names = st.text("ab-0", max_size=3).map("n{}0".format)
permitted = st.builds(
    PermittedAttachment,
    names,
    st.lists(names, min_size=1, max_size=2).map(".".join),
    st.text("0123456789abcdef", min_size=6, max_size=6),
    allows_node_network=st.booleans(),
    allows_host_port=st.booleans(),
)
words = [*"=/:,+a ", "a/b:", "3f9c2a", "+nodeNetwork", "+hostPort"]
noise = st.lists(st.sampled_from(words), max_size=8)


@given(items=st.lists(permitted, max_size=4), has_default=st.booleans())
def test_what_is_written_is_read_as_the_same(
    items: list[PermittedAttachment], *, has_default: bool
) -> None:
    if items:
        items[0].is_default = has_default
    assert parse_attachments(format_attachments(items)) == tuple(items)


@given(noise.map("".join) | st.text())
def test_a_text_has_one_value_and_a_value_one_text(value: str) -> None:
    """What is read would be written with the very same characters."""
    try:
        items = parse_attachments(value)
    except InvalidAttachmentsError:
        return
    assert format_attachments(items) == value
