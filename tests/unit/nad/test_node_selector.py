"""The annotation that says which nodes have the network of a definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.nad.definition import NODE_SELECTOR, Definition
from dispatcher.nad.node_selector import InvalidNodeSelectorError, parse
from dispatcher.nad.validation import check, scheduling_faults


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("disk=ssd", ("disk", "ssd")),
        (" a.b/c = d_1 ", ("a.b/c", "d_1")),
        ("kubernetes.io/hostname=node-1", ("kubernetes.io/hostname", "node-1")),
        ("gpu", ("gpu", "")),
        ("gpu=", ("gpu", "")),
    ],
)
def test_one_label_is_read(text: str, label: tuple[str, str]) -> None:
    """As other programs write it, with blanks around the parts."""
    assert parse(text) == label


@pytest.mark.parametrize(
    "text",
    ["", "=x", "a=b=c", "a=b,c=d", "/a=b", "A.b/c=d", "a/b/c=d", "a b=c", "a=b c", f"{'a' * 64}=b"],
)
def test_what_is_no_label_is_one_sentence(text: str) -> None:
    """No Kubernetes object could have it."""
    with pytest.raises(InvalidNodeSelectorError, match="must be one label of a node, KEY=VALUE"):
        parse(text)


def test_only_admission_reads_it() -> None:
    """A node attaches a pod that is there, whatever the annotation says."""
    definition = Definition("shop", "blue", config='{"type":"bridge"}', node_selector="a=b=c")
    assert check(definition).refused == ""
    [fault] = scheduling_faults(definition)
    assert fault.field == f"metadata.annotations[{NODE_SELECTOR}]"
    assert scheduling_faults(Definition("shop", "blue", node_selector="a=b")) == []
    assert scheduling_faults(Definition("shop", "blue")) == []


@given(st.text(max_size=80))
def test_any_text_gives_a_label_or_a_short_sentence(text: str) -> None:
    """The author is hostile."""
    faults = scheduling_faults(Definition("shop", "blue", node_selector=text))
    assert all(len(str(each)) < 500 for each in faults)
    if text and not faults:
        key, value = parse(text)
        assert len(key) <= 63 + 1 + 253
        assert len(value) <= 63
