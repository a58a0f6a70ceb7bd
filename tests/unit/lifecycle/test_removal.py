from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.kube.removal_report import RemovalReport
from lifecycle.removal import MAX_NAMES, obstacles, remaining
from tests.unit.lifecycle.builders import situation

if TYPE_CHECKING:
    from lifecycle.situation import NodeSituation

CANAL, BOTH, WEAVE = ("shop/a", "canal"), ("shop/b", "weave", "canal"), ("shop/c", "weave")


@pytest.mark.parametrize(
    ("node", "reason", "pods"),
    [
        pytest.param(situation(), "", (), id="a node without pods"),
        pytest.param(situation("n1", CANAL), "", (), id="a pod that the runtime releases"),
        pytest.param(
            situation("n1", CANAL, BOTH, WEAVE),
            'Genie is needed by shop/b, shop/c: without it, the node has only network "canal"',
            ("shop/b", "shop/c"),
            id="pods on two networks, and on another network",
        ),
        pytest.param(
            situation("n1", CANAL, report=RemovalReport("install")),
            "Genie is needed by shop/a: without it, the node has no network",
            ("shop/a",),
            id="a node that has no network without Genie",
        ),
        pytest.param(situation(is_ready=False), "the node is not ready", (), id="not ready"),
        pytest.param(situation(has_agent=False), "no agent runs", (), id="without an agent"),
        pytest.param(situation(report=None), "has not said", (), id="an agent that said nothing"),
        pytest.param(
            situation(is_marked=False, is_ready=False, has_agent=False, report=None),
            "",
            (),
            id="a node that never had Genie, or has it no more",
        ),
    ],
)
def test_what_keeps_a_node_from_losing_genie(
    node: NodeSituation, reason: str, pods: tuple[str, ...]
) -> None:
    """The first obstacle, with its node and what to do; an ignored node has none."""
    node_obstacles = obstacles([node], ())
    assert len(node_obstacles) == (1 if reason else 0)
    for each in node_obstacles:
        assert reason in each.reason
        assert (each.node, each.pods) == ("n1", pods)
        assert each.fix
    assert obstacles([node], ["n1"]) == []


def test_a_node_that_cannot_answer_says_how_to_go_on_without_it() -> None:
    """Other obstacles do not: their nodes can be mended."""
    nodes = (situation(is_ready=False), situation(has_agent=False))
    fixes = [obstacles([node], ())[0].fix for node in nodes]
    assert all("or ignore n1:" in fix for fix in fixes)
    assert "ignore" not in obstacles([situation("n1", WEAVE)], ())[0].fix


def test_a_message_names_some_pods_and_counts_the_others() -> None:
    """All are in the outcome, for programs."""
    count = MAX_NAMES + 5
    [actual] = obstacles([situation("n1", *((f"s/p{n}", "weave") for n in range(count)))], ())
    assert f"s/p{MAX_NAMES - 1} and 5 more:" in actual.reason
    assert len(actual.pods) == count


DISABLED, REMOVING = RemovalReport("disable", ("canal",)), RemovalReport("remove", ("canal",))


@pytest.mark.parametrize(
    ("changes", "mode", "expected"),
    [
        pytest.param({}, "disable", "not applied", id="still install"),
        pytest.param({"report": None}, "disable", "not applied", id="no report"),
        pytest.param({"report": DISABLED}, "disable", "", id="disabled"),
        pytest.param({"report": DISABLED}, "remove", "not applied", id="not removing yet"),
        pytest.param({"report": REMOVING}, "remove", "the plugin stays", id="the plugin is left"),
        pytest.param(
            {"report": REMOVING._replace(pods=("s/a", "s/b"), more_pods=2)},
            "remove",
            "needed by s/a, s/b and 2 more",
            id="pods need Genie",
        ),
        pytest.param(
            {"report": REMOVING._replace(ended_containers=3)},
            "remove",
            "release 3 containers",
            id="containers that ended",
        ),
        pytest.param({"is_marked": False, "report": None}, "remove", "", id="removed"),
        pytest.param({"is_marked": False, "is_ready": False}, "remove", "", id="removed, then off"),
        pytest.param(
            {"is_ready": False, "report": REMOVING}, "remove", "does not answer", id="went down"
        ),
        pytest.param(
            {"has_agent": False, "report": DISABLED}, "disable", "does not answer", id="no agent"
        ),
    ],
)
def test_what_a_node_still_has_to_do(changes: dict[str, Any], mode: str, expected: str) -> None:
    """Until nothing of Genie's is on the Node."""
    actual = remaining(situation(**changes), mode)
    assert expected in actual
    assert bool(actual) == bool(expected)
