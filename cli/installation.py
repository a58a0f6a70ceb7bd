"""Reads what the checks of ``status`` are about, with what the API server says to a dry-run."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from cli import probe
from cli.lint import EXCLUDED_NAMESPACES
from cli.on_node import SELECTOR
from cli.session import WEBHOOK
from cli.status import AGENT, Installation

if TYPE_CHECKING:
    from cli.probe import Admission
    from cli.session import Session

CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/cni-genie"


def read_installation(session: Session, namespace: str) -> Installation:
    """Return what is installed, with what the API server says to pods in *namespace*."""
    programs, readable = session.programs
    installation = Installation(
        session.genie,
        programs.get(AGENT),
        programs.get(WEBHOOK),
        session.settings,
        session.networks,
        session.reader.one(CONFIGURATION, "get mutatingwebhookconfigurations"),
        readable,
        namespace,
        nodes=session.nodes,
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
