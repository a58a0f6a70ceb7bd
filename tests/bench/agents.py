"""``python -m tests.bench.agents``: measure what agents cost the API server.

A real control plane and one real node run Genie. Beside it there are simulated nodes
(:mod:`tests.devcluster.kwok`), each with a real agent (:mod:`tests.bench.agent_process`), 20
networks and the copies of all NetworkAttachmentDefinitions. These are measured:

- the requests of the real node's agent and of the others, at rest: from the API server's audit log,
  which has every request of an agent;
- the events that the API server sends to their watches after a definition has changed: from its
  metrics;
- what happens when all agents are killed and started at one moment: their requests, the time until
  the last is ready, the processor time of the API server, and what other requests take meanwhile.

Everything shares the machine's processors, the agents too: times belong to the machine. Numbers of
requests do not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dispatcher import keys
from dispatcher.nad.definition import COLLECTION
from tests.bench import page
from tests.bench.agent_process import AgentProcess, NodeFolders
from tests.bench.api_observer import ApiObserver, Period
from tests.bench.startup import installed
from tests.cluster.support.admission import api
from tests.cluster.support.definitions import CRD, OBSERVE, definition
from tests.devcluster.build import gobuild
from tests.devcluster.cluster import ONE_NODE, Cluster
from tests.devcluster.commands import ClusterError, step
from tests.devcluster.genie import NAMESPACE, install_genie
from tests.devcluster.interrupts import as_interrupts
from tests.devcluster.kwok import maintained_nodes, simulated_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dispatcher.kube.client import Kube

NETWORKS = [f"net{number}" for number in range(1, 21)]
MANY = 5000
"""The number of agents that the measured ones stand for."""

FIRST_PORT = 29471
WAIT = 600.0
"""Seconds for all agents to be ready."""

DELAY = 30.0
"""Seconds in which an agent begins to list the definitions after its start, as in the chart."""

SETTLE = 75.0
"""Seconds between a start and a measurement at rest: an agent reads its Node once a minute."""

_SPACE = "bench"
_REAL = "node1"


class AgentFigures(NamedTuple):
    """What was measured with so many agents and definitions."""

    agents: int
    definitions: int
    rest: Period
    change: Period
    restart: Period
    seconds_to_ready: list[float]


def main() -> int:
    """Measure on a cluster of its own, and write the part of docs/performance.md."""
    parser = argparse.ArgumentParser(description="Measure what agents cost the API server.")
    parser.add_argument("--agents", type=int, default=50, help="processes (default: 50)")
    parser.add_argument("--definitions", type=int, default=1000, help="default: 1000")
    parser.add_argument("--seconds", type=float, default=300, help="of rest (default: 300)")
    parser.add_argument("--name", default="genie-agents", help="cluster (default: %(default)s)")
    chosen = parser.parse_args()

    cluster = None
    try:
        with as_interrupts():  # SIGTERM, too, ends the agents
            cluster = Cluster.up(chosen.name, ONE_NODE)
            figures = _measure(cluster, chosen.agents, chosen.definitions, chosen.seconds)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if cluster is not None:
            cluster.down()

    text = table(figures)
    page.show("agents", text)
    print(text)
    return 0


def _measure(cluster: Cluster, count: int, definitions: int, seconds: float) -> AgentFigures:
    cluster.apply(CRD)
    cluster.kubectl("label", "node", _REAL, "bench=real")
    only_real = {"agent": {"nodeSelector": {"bench": "real"}}}
    install_genie(cluster, values={"attachmentDefinitions": {"mode": OBSERVE}, **only_real})
    kube = api(cluster)

    with maintained_nodes(cluster), _agents(cluster, kube, count, definitions) as agents:
        observer = ApiObserver(cluster, kube, _SPACE)
        with step(f"{count} agents, first start"):
            _start_all(cluster, agents)
            _wait_for_copies(cluster, kube, agents)
            time.sleep(SETTLE)
        with step("at rest"):
            rest = observer.during(lambda: time.sleep(seconds))
        with step("one definition changes"):
            change = observer.during(lambda: _change_definition(kube))
        with step("all agents start again at one moment"):
            times: list[float] = []
            restart = observer.during(lambda: times.extend(_restart(cluster, agents)))
    return AgentFigures(count, definitions, rest, change, restart, times)


# ---- agents


@contextmanager
def _agents(
    cluster: Cluster, kube: Kube, count: int, definitions: int
) -> Iterator[list[AgentProcess]]:
    """Yield the agents, not yet started; kill them, and remove their folders, at the end."""
    # In memory: 50 nodes would share one disk here.
    with ExitStack() as cleanup:
        root = Path(tempfile.mkdtemp(prefix="genie-agents-", dir="/dev/shm"))
        cleanup.callback(shutil.rmtree, root)
        with step(f"{definitions} definitions"):
            kube.create("/api/v1/namespaces", {"metadata": {"name": _SPACE}})
            _each(lambda number: _put_definition(kube, number), definitions)
        environ = _environment(cluster, root)
        agents = [_create(cluster, kube, root, number, environ) for number in range(count)]
        for agent in agents:
            cleanup.callback(agent.kill)
        yield agents


def _each(action: Callable[[int], object], count: int) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(action, range(count)))


def _put_definition(kube: Kube, number: int) -> None:
    config = {"cniVersion": "1.0.0", "type": "bridge", "bridge": "br0", "ipam": {"type": "dhcp"}}
    path = COLLECTION.replace("/v1/", f"/v1/namespaces/{_SPACE}/")
    kube.create(path, definition(_SPACE, f"lan{number}", config))


def _environment(cluster: Cluster, root: Path) -> dict[str, str]:
    """Return the settings that all agents share: those of the chart."""
    (root / "built").mkdir()
    installed(root / "built")
    host, _, port = cluster.layout.api_url.removeprefix("https://").partition(":")
    return {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": port,
        "GENIE_DEFAULT_NETWORK": NETWORKS[0],
        "GENIE_ATTACHMENT_DEFINITIONS_MODE": OBSERVE,
        "GENIE_ATTACHMENT_DEFINITIONS_DELAY_SECONDS": f"{DELAY:.0f}",
        "GENIE_PLUGIN_SOURCE": str(root / "built/payload"),
    }


def _create(
    cluster: Cluster, kube: Kube, root: Path, number: int, environ: dict[str, str]
) -> AgentProcess:
    """Create a simulated node, its folders, and a Pod there to which the agent's token is bound."""
    node = f"agent-{number}"
    kube.create("/api/v1/nodes", simulated_node(node))
    value = {
        "metadata": {"name": node},
        "spec": {
            "nodeName": node,
            "serviceAccountName": "genie-agent",
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "agent", "image": "none"}],
        },
    }
    stored = kube.create(f"/api/v1/namespaces/{NAMESPACE}/pods", value)
    bound = {"apiVersion": "v1", "kind": "Pod", "name": node, "uid": stored["metadata"]["uid"]}
    request = {"spec": {"boundObjectRef": bound, "expirationSeconds": 7200}}
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/genie-agent/token"

    folders = NodeFolders(root / str(number))
    folders.fill(NETWORKS, gobuild.build(gobuild.CNI_PLUGINS), cluster.control_plane.credentials.ca)
    token = kube.create(path, request)["status"]["token"]
    (folders.account / "token").write_text(token)
    return AgentProcess(node, folders, FIRST_PORT + number, environ)


def _start_all(cluster: Cluster, agents: list[AgentProcess]) -> list[float]:
    """Start all agents; return after how many seconds each was ready."""
    begun = time.monotonic()
    for agent in agents:
        agent.start()
    waiting = dict.fromkeys(agents, 0.0)

    def are_ready() -> bool:
        for agent in [each for each, seconds in waiting.items() if not seconds]:
            if agent.is_ready():
                waiting[agent] = time.monotonic() - begun
        return all(waiting.values())

    try:
        cluster.wait_for(are_ready, WAIT, "the agents to be ready")
    except ClusterError as error:
        late = next(agent for agent, seconds in waiting.items() if not seconds)
        raise ClusterError(f"{error}; {late.node} printed last:\n{late.log()}") from error
    return list(waiting.values())


def _wait_for_copies(cluster: Cluster, kube: Kube, agents: list[AgentProcess]) -> None:
    """Return when each agent has published that it has copies of all definitions."""

    def are_complete() -> bool:
        query = {"labelSelector": f"{keys.ATTACHMENTS_LABEL}=true"}
        complete = {each["metadata"]["name"] for each in kube.get("/api/v1/nodes", query)["items"]}
        return complete >= {agent.node for agent in agents}

    cluster.wait_for(are_complete, WAIT, "the copies of all definitions")


def _restart(cluster: Cluster, agents: list[AgentProcess]) -> list[float]:
    for agent in agents:
        agent.kill()
    times = _start_all(cluster, agents)
    time.sleep(SETTLE)  # they list the definitions in up to 30 s
    return times


def _change_definition(kube: Kube) -> None:
    path = COLLECTION.replace("/v1/", f"/v1/namespaces/{_SPACE}/") + "/lan0"
    kube.patch(path, {"metadata": {"labels": {"bench": "changed"}}}, "application/merge-patch+json")
    time.sleep(5)


# ---- the page


def table(figures: AgentFigures) -> str:
    """Return the figures as Markdown."""
    simulated = [f"agent-{number}" for number in range(figures.agents)]
    one, many = figures.rest.of([_REAL]), figures.rest.of(simulated)
    restart = figures.restart.of(simulated)
    minutes = figures.rest.seconds / 60
    rows = [
        f"| `{request}` | {one[request] / minutes:.2f} "
        f"| {many[request] / minutes / figures.agents:.2f} "
        f"| {MANY * many[request] / minutes / 60 / figures.agents:.1f} "
        f"| {restart[request] / figures.agents:.1f} |"
        for request in sorted(one | many | restart)
    ]
    head = (
        f"| request | one agent in its pod, a minute | each of {figures.agents}, a minute "
        f"| {MANY:,} agents, a second "
        f"| at a start, each in {figures.restart.seconds:.0f} s |"
    )
    return "\n".join([head, "|---|---|---|---|---|", *rows, "", *_remarks(figures)])


def _remarks(figures: AgentFigures) -> list[str]:
    rest, restart, count = figures.rest, figures.restart, figures.agents
    times = sorted(figures.seconds_to_ready)
    at_rest, at_start = (100 * each.processor / each.seconds for each in (rest, restart))
    load = os.getloadavg()[0]
    return [
        f"- One changed definition: {figures.change.watch_events} events to all watches, of which",
        f"  {count + 1} are agents'.",
        f"- All {count} killed and started at one moment: half ready after",
        f"  {statistics.median(times):.1f} s, the last after {times[-1]:.1f} s;",
        f"  {restart.watch_events:,} events of definitions to their watches.",
        f"- The API server took {at_rest:.1f} % of one core at rest, and {at_start:.1f} % in the",
        f"  {restart.seconds:.0f} s from the start, with the creations of pods below in both. The",
        f"  agents list the definitions in the first {DELAY:.0f} s.",
        "- A pod creation (dry run, two networks) meanwhile, p50 / p99 in ms: at rest",
        f"  {rest.others}; during the start {restart.others}.",
        f"- {len(NETWORKS)} networks, {figures.definitions:,} definitions (mode `{OBSERVE}`);",
        f"  {rest.seconds:.0f} s at rest; {os.cpu_count()} processors, which the agents share with",
        f"  the API server; load average {load:.1f}.",
    ]


if __name__ == "__main__":
    sys.exit(main())
