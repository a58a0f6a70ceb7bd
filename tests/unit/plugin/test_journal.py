"""The journal: one line for each ADD and DEL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dispatcher import cni_errors, keys
from dispatcher.state import journal

if TYPE_CHECKING:
    import pytest

    from tests.unit.plugin.program import Node


def test_a_journal_at_its_limit_does_not_grow(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is added until the agent has read it."""
    monkeypatch.setattr(journal, "LIMIT", 1)
    node.call("ADD")
    node.call("DEL")
    assert len((node.folder / "state/journal").read_text().splitlines()) == 1


def test_a_journal_that_cannot_be_written_does_not_fail_the_call(node: Node) -> None:
    """The line is lost."""
    (node.folder / "state").mkdir()
    (node.folder / "state/journal").mkdir()
    assert node.call("ADD")[0] == 0


def test_a_line_of_the_journal_is_one_write_of_a_page(node: Node) -> None:
    """However long names and messages are."""
    args = "K8S_POD_NAME=" + "n" * 5000
    conf = node.conf(runtimeConfig={keys.POD_ANNOTATIONS: {"cni": "é" * 500 + ","}})
    node.call("ADD", conf, CNI_ARGS=args)
    node.call("ADD", conf)
    lines = (node.folder / "state/journal").read_bytes().splitlines()
    assert [json.loads(each)["code"] for each in lines] == [cni_errors.INVALID_ANNOTATION] * 2
    assert all(len(each) < 4096 for each in lines)
