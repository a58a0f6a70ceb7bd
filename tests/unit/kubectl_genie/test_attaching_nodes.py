"""The line of ``status`` about NetworkAttachmentDefinitions."""

from __future__ import annotations

import pytest

from cli.attaching_nodes import definitions_checks
from cli.checks import Check, CheckState
from cli.facts import Workload, read_node
from dispatcher import keys
from tests.unit.kubectl_genie.builders import node


def agent(mode: str) -> Workload:
    """Return the agents' DaemonSet in *mode*; "": as of a version without modes."""
    environ = {"GENIE_ATTACHMENT_DEFINITIONS_MODE": mode} if mode else {}
    return Workload("genie-agent", 1, 1, 1, (), environ)


def checks(mode: str, **nodes: str) -> list[Check]:
    """Return the checks for *nodes*, each with the letters p (plugin) and l (label)."""
    read = []
    for name, has in nodes.items():
        item = node(
            name, plugin="0.2.0-x" if "p" in has else "", **{"canal": "true"} if has else {}
        )
        if "l" in has:
            item["metadata"]["labels"][keys.ATTACHMENTS_LABEL] = "true"
        read.append(read_node(item))
    return list(definitions_checks(agent(mode), read, "genie-system"))


@pytest.mark.parametrize("mode", ["", "off"])
def test_without_a_mode_there_is_no_line(mode: str) -> None:
    """Most clusters have no definitions."""
    assert checks(mode, n1="pl") == []
    assert list(definitions_checks(None, [], "genie-system")) == []


@pytest.mark.parametrize(
    ("mode", "nodes", "state", "message"),
    [
        ("observe", {"n1": "pl"}, "ok", 'observe: 1 of 1 nodes are ready for the mode "enforce"'),
        (
            "observe",
            {"n1": "pl", "n2": "p", "multus": "l", "without": ""},
            "warning",
            'observe: 1 of 4 nodes are ready for the mode "enforce"; not n2, multus, without',
        ),
        ("enforce", {"n1": "pl", "without": ""}, "ok", "enforce: 1 of 1 nodes attach pods"),
        (
            "enforce",
            {"n1": "pl", "n2": "p"},
            "warning",
            "enforce: 1 of 2 nodes attach pods; not n2",
        ),
        ("enforce", {"n1": "p"}, "failed", "enforce: 0 of 1 nodes attach pods; not n1"),
    ],
)
def test_the_nodes_that_are_not_ready_are_named(
    mode: str, nodes: dict[str, str], state: str, message: str
) -> None:
    """And how to see why."""
    [check] = checks(mode, **nodes)
    assert (check.subject, str(check.state), check.message) == ("definitions", state, message)
    assert ("kubectl describe node" in check.fix) == (state != "ok")


def test_without_the_right_to_list_nodes_the_line_says_so() -> None:
    """It is no failure."""
    [check] = definitions_checks(agent("enforce"), None, "genie-system")
    assert check.state is CheckState.UNKNOWN
    assert check.message == "enforce: you may not list nodes"
