from __future__ import annotations

from typing import Any

import pytest

from cli.certificates import DAY, Entry, Replica
from cli.checks import CheckState
from cli.facts import read_node, read_workload
from cli.networks import summarise
from cli.probe import Admission
from cli.status import Installation, checks, unmet
from tests.unit.kubectl_genie.builders import node, workload

NETWORKS = summarise([read_node(node("n1", canal="true"))], [], "canal")
HEALTHY = Installation(
    "genie-system",
    read_workload(workload("DaemonSet", "genie-agent", 1, 1)),
    read_workload(workload("Deployment", "genie-webhook", 2, 2)),
    {"mode": "install", "default-network": "canal"},
    NETWORKS,
    [Entry("pods", 1000 * DAY)],
    readable=True,
    replicas=[Replica("genie-webhook-a", 7 * DAY)],
    admissions=[Admission("canal", "", is_normalised=True)],
)


def test_a_healthy_installation_passes_every_check() -> None:
    """Each subject once."""
    done = checks(HEALTHY)
    assert {each.state for each in done} == {CheckState.OK}
    assert len({each.subject for each in done}) == len(done)
    assert unmet(done) == []


FAULTS = [
    pytest.param({"agent": None}, "agent", "failed", "install", id="no agent"),
    pytest.param(
        {"agent": read_workload(workload("DaemonSet", "genie-agent", 3, 2))},
        "agent",
        "failed",
        "kubectl -n genie-system get pods",
        id="an agent that is not ready",
    ),
    pytest.param({"webhook": None}, "webhook", "warning", "install the webhook", id="no webhook"),
    pytest.param(
        {
            "webhook": read_workload(
                workload("Deployment", "genie-webhook", 2, 2, "cni-genie:0.2.0")
            )
        },
        "version",
        "warning",
        "finish the upgrade",
        id="two versions",
    ),
    pytest.param({"settings": None}, "settings", "failed", "install", id="no settings"),
    pytest.param(
        {"settings": {"mode": "disable", "default-network": "canal"}},
        "mode",
        "failed",
        "install",
        id="a node that is given back",
    ),
    pytest.param(
        {"settings": {"mode": "install"}},
        "default network",
        "failed",
        "default-network",
        id="no default",
    ),
    pytest.param(
        {"settings": {"mode": "install", "default-network": "weave"}},
        "default network",
        "failed",
        "canal",
        id="a default that no node has",
    ),
    pytest.param(
        {"entries": [Entry("pods", 0)]},
        "certificates",
        "failed",
        "python -m certs status",
        id="no CA",
    ),
    pytest.param({"networks": []}, "networks", "failed", "kubectl get events", id="no network"),
    pytest.param({"networks": None}, "networks", "unknown", "", id="no right to list nodes"),
    pytest.param(
        {"networks": summarise([read_node(node("n1", canal="false"))], [], "")},
        "network canal",
        "failed",
        "kubectl describe node n1",
        id="a network that no node can attach",
    ),
    pytest.param(
        {
            "networks": summarise(
                [read_node(node("n1", canal="true")), read_node(node("n2", canal="false"))], [], ""
            )
        },
        "network canal",
        "warning",
        "kubectl describe node n2",
        id="a network that one node cannot attach",
    ),
    pytest.param({"readable": False}, "installation", "unknown", "", id="no right on workloads"),
]


@pytest.mark.parametrize(("change", "subject", "state", "fix"), FAULTS)
def test_a_fault_is_found_and_the_fix_named(
    change: dict[str, Any], subject: str, state: str, fix: str
) -> None:
    """Only FAILED makes the command fail."""
    done = checks(HEALTHY._replace(**change))
    [check] = [each for each in done if each.subject == subject]
    assert str(check.state) == state
    assert fix in check.fix
    failed = [each.subject for each in done if each.state is CheckState.FAILED]
    assert (subject in failed) is (state == "failed")
