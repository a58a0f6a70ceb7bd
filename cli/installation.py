"""Reads what the checks of ``status`` are about, with what the API server says to a dry-run.

The webhook's pods are asked for their metrics through the API server (``pods/proxy``).
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cli import probe
from cli.certificates import Replica, read_entries, read_replica
from cli.lint import EXCLUDED_NAMESPACES
from cli.on_node import SELECTOR
from cli.session import AGENT, WEBHOOK
from cli.status import Installation
from dispatcher.kube.lenient import as_list, get_dict

if TYPE_CHECKING:
    from cli.probe import Admission
    from cli.session import Session

PROBES = "probes"
"""The name of the webhook's port for probes and metrics, which is plain HTTP."""

CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/cni-genie"


def read_installation(session: Session, namespace: str) -> Installation:
    """Return what is installed, with what the API server says to pods in *namespace*."""
    programs, readable = session.programs
    configuration = session.reader.one(CONFIGURATION, "get mutatingwebhookconfigurations")
    installation = Installation(
        session.genie,
        programs.get(AGENT),
        programs.get(WEBHOOK),
        session.settings,
        session.networks,
        None if configuration is None else read_entries(configuration),
        readable,
        namespace,
        nodes=session.nodes,
        replicas=_replicas(session),
        now=time.time(),
    )
    with_agent = probe.nodes_with_agent(session.reader, session.genie, SELECTOR)
    read = cache(lambda name: session.reader.one(f"/api/v1/nodes/{name}", "get nodes"))
    nodes = {
        each.name: probe.find_node(each.ready, with_agent, read)
        for each in installation.networks or ()
    }
    hindrances = {name: reason for name, (node, reason) in nodes.items() if not node}
    installation = installation._replace(hindrances=hindrances)

    if namespace in {*EXCLUDED_NAMESPACES, session.genie}:
        return installation._replace(untried=f"Genie leaves pods in namespace {namespace} alone")
    if not probe.may_create_pods(session.reader.client, namespace):
        return installation._replace(untried=f"you may not create pods in namespace {namespace}")
    return installation._replace(admissions=_admissions(session, namespace))


def _replicas(session: Session) -> list[Replica]:
    """Return the running webhook pods, each with what its metrics say of its certificate."""
    pods = session.webhook_pods or ()
    running = [each for each in pods if get_dict(each, "status").get("phase") == "Running"]
    return [_replica(session, each) for each in running]


def _replica(session: Session, pod: dict[str, Any]) -> Replica:
    name = pod["metadata"]["name"]
    containers = as_list(get_dict(pod, "spec").get("containers"))
    ports = [port for each in containers for port in as_list(each.get("ports"))]
    number = next((each["containerPort"] for each in ports if each.get("name") == PROBES), None)
    if number is None:
        return Replica(name, None)
    path = f"/api/v1/namespaces/{session.genie}/pods/{quote(name)}:{number}/proxy/metrics"
    right = f"get pods/proxy in namespace {session.genie}"
    return read_replica(name, session.reader.text(path, right))


def _admissions(session: Session, namespace: str) -> list[Admission]:
    """Return the answer for each network that *namespace* allows, as far as the user sees them."""
    facts = session.namespaces.get(namespace)
    allowed = facts.allowed if facts else None
    names = [each.name for each in session.networks or ()]
    if session.networks is None:
        names = [session.default_network]  # empty if it is not known, either
    return [
        probe.ask(session.reader.client, namespace, name)
        for name in names
        if allowed is None or not name or name in allowed
    ]
