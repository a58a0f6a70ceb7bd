"""What developers see of NetworkAttachmentDefinitions in the mode enforce: a transcript.

Replayed against the webhook of a real cluster, as the other transcripts
(:mod:`tests.cluster.test_admission_texts`) are; GENIE_REWRITE=1 writes what was printed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.nad.definition import NODE_SELECTOR, RESOURCE_NAME
from tests.cluster.support.admission import spaces
from tests.cluster.support.definitions import CRD, define, definition, selecting, webhook_in_mode
from tests.cluster.support.transcript import Section, replay, rewrite, sections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

TRANSCRIPT = Path(__file__).parent / "transcripts" / "definitions.md"
REWRITE = bool(os.environ.get("GENIE_REWRITE"))

SPACES = {
    "shop": {},
    "bank": {},
    "guarded": {"cni-genie.io/allowed": "canal,bank/*"},
    "ports": {"cni-genie.io/host-ports": "allow"},
}
BRIDGE = {"type": "bridge", "capabilities": {"ips": True}}
PORTS = {"plugins": [BRIDGE, {"type": "portmap", "capabilities": {"portMappings": True}}]}


def definitions() -> list[dict[str, Any]]:
    """Return the definitions of the transcript."""
    nameless = [definition(space, "weave", {}) for space in ("shop", "guarded")]
    for each in nameless:
        del each["spec"]["config"]
    device, ssd = definition("shop", "vf", {"type": "sriov"}), definition("shop", "ssd", BRIDGE)
    device["metadata"]["annotations"] = {RESOURCE_NAME: "intel.com/sriov"}
    ssd["metadata"]["annotations"] = {NODE_SELECTOR: "disk=ssd"}
    own = [definition("shop", "blue", BRIDGE), definition("shop", "red", {"type": "bridge"})]
    ports = [definition(space, "web", PORTS) for space in ("shop", "ports")]
    return [*nameless, device, ssd, *own, *ports, definition("bank", "gold", BRIDGE)]


def refusal(cluster: Cluster) -> str:
    """Return why a pod is refused whose definition has almost the name of one that exists."""
    pod = selecting("web", "bleu")
    return cluster.apply(pod, "-n", "shop", "--dry-run=server", check=False).stderr


@pytest.fixture(scope="module")
def enforcing(cluster: Cluster) -> Iterator[Cluster]:
    """Give the cluster with a webhook that enforces, the namespaces and the definitions."""
    name = CRD["metadata"]["name"]
    define(cluster)
    try:
        with webhook_in_mode(cluster, "enforce"), spaces(cluster, SPACES):
            every = {"apiVersion": "v1", "kind": "List", "items": definitions()}
            cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(every))
            # The webhook names the nearest one of those that its watch has brought.
            cluster.wait_for(lambda: "(did you mean" in refusal(cluster), 120, "the definitions")
            yield cluster
    finally:
        cluster.kubectl("delete", "crd", name)


@pytest.mark.parametrize(
    "section", [pytest.param(each, id=each.title) for each in sections(TRANSCRIPT)]
)
def test_a_developer_sees(enforcing: Cluster, section: Section) -> None:
    """Each section is what a person typed and saw."""
    environment = {
        **enforcing.environment,
        "PATH": f"{enforcing.layout.bin}:{os.environ['PATH']}",
    }
    printed = replay(section, environment)
    if REWRITE:
        rewrite(TRANSCRIPT, section, printed)
        return
    assert printed == section.commands
