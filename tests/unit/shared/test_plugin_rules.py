"""What known plugins cannot do, and how it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher import plugin_rules
from dispatcher.plugin_rules import (
    ONCE_PER_POD,
    PRIMARY_ONLY,
    conflict_fault,
    conflict_summary,
    conflicts,
)

PAGE = (Path(__file__).parents[3] / "docs" / "networks.md").read_text()


@pytest.mark.parametrize(
    ("plan", "found"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([["calico", "portmap"]], [], id="one network"),
        pytest.param([["bridge"], ["bridge"]], [], id="a plugin without a limit, twice"),
        pytest.param(
            [["calico"], ["weave-net"], ["flannel"], ["cilium-cni"]], [], id="one of each"
        ),
        *(
            pytest.param([[each], ["bridge"], [each]], [(1, 3, each)], id=f"{each}, twice")
            for each in ONCE_PER_POD
        ),
        pytest.param(
            [["calico", "portmap"], ["tuning", "calico"]], [(1, 2, "calico")], id="inside chains"
        ),
        pytest.param(
            [["flannel"], ["flannel"], ["flannel"]],
            [(1, 2, "flannel"), (1, 3, "flannel")],
            id="each item after the first",
        ),
        pytest.param(
            [["cilium-cni", "calico"], ["calico", "cilium-cni"]],
            [(1, 2, "calico"), (1, 2, "cilium-cni")],
            id="two plugins of one chain",
        ),
        pytest.param([["calico", "calico"]], [], id="a chain that repeats itself is one network"),
    ],
)
def test_the_conflicts_of_a_plan_are(
    plan: list[list[str]], found: list[tuple[int, int, str]]
) -> None:
    """Counted by plugin type, whatever the networks are called."""
    assert conflicts(plan) == found


def test_a_conflict_names_both_items_the_plugin_the_reason_and_the_cure() -> None:
    """In the form of every other fault of a value."""
    assert str(conflict_fault((1, 2, "calico"), ["canal", "calico"])) == (
        'Invalid value: "calico": item 2: item 1 ("canal") uses the same plugin "calico", which '
        "can attach a pod only once: it names the host side of the link after the pod, so the "
        "second attachment deletes the first interface; choose one of the two networks"
    )
    assert str(conflict_fault((2, 3, "weave-net"), ["canal", "weave", "weave"])) == (
        'Invalid value: "weave": item 3: item 2 is the same network, and its plugin "weave-net" '
        "can attach a pod only once: it names the host side of the link after the container, so "
        "the second attachment fails; list the network once"
    )


def test_a_conflict_of_short_names_fits_into_a_warning() -> None:
    """A warning has 120 characters, and begins with what it means for the pod."""
    for names in (["canal", "calico"], ["cilium", "cilium"]):
        for plugin_type in ONCE_PER_POD:
            assert len(conflict_summary((1, 2, plugin_type), names)) < 120 - len(
                "some nodes will refuse the pod: "
            )
    for plugin_type in PRIMARY_ONLY:
        assert len(plugin_rules.primary_only_warning("k8s-pod-network", plugin_type)) <= 120


@pytest.mark.parametrize("plugin_type", ONCE_PER_POD)
def test_the_page_has_every_rule_with_its_source(plugin_type: str) -> None:
    """docs/networks.md is where an operator looks up a refusal."""
    rule = ONCE_PER_POD[plugin_type]
    assert f"| `{plugin_type}` | {rule.reason} | {rule.source} |" in PAGE


def test_the_page_says_which_networks_can_only_be_primary() -> None:
    """With the reason and the source."""
    for plugin_type, rule in PRIMARY_ONLY.items():
        assert f"| `{plugin_type}`, as a secondary | {rule.reason} | {rule.source} |" in PAGE
