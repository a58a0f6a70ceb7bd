"""The checks that tell whether Genie works, and what to do about each that fails.

A check for which the user lacks a right is UNKNOWN, and does not fail the command. However,
``status --wait`` does not succeed while it is unknown whether pods are admitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cli.attaching_nodes import definitions_checks
from cli.certificates import certificate_check
from cli.checks import Check, CheckState
from cli.networks import reason
from cli.session import AGENT, WEBHOOK
from cli.versions import NO_PLUGIN, versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cli.certificates import Entry, Replica
    from cli.facts import NodeFacts, Workload
    from cli.networks import NetworkSummary
    from cli.probe import Admission


class Installation(NamedTuple):
    """What is installed, as read; None where reading it is forbidden, or it does not exist."""

    namespace: str
    agent: Workload | None
    webhook: Workload | None
    settings: Mapping[str, str] | None
    networks: Sequence[NetworkSummary] | None
    entries: Sequence[Entry] | None
    """The entries of the webhook configuration."""
    readable: bool
    """Whether the user may read workloads in the namespace at all."""
    namespace_of_pods: str = "default"
    """Where pods were tried."""
    admissions: Sequence[Admission] = ()
    """Whether a pod that names each network is admitted; one without a network stands for all."""
    untried: str = ""
    """Why no pod could be tried."""
    nodes: Sequence[NodeFacts] | None = None
    replicas: Sequence[Replica] = ()
    """The webhook's pods, as far as they may be listed."""
    now: float = 0.0
    """Unix seconds."""
    hindrances: Mapping[str, str] = {}
    """Why no node can run a pod of a network; without the networks for which one can."""


def checks(installation: Installation) -> list[Check]:
    """Return all checks of *installation*, in the order in which they depend on each other."""
    if not installation.readable:
        message = f"you may not list workloads in namespace {installation.namespace}"
        unread = Check("installation", CheckState.UNKNOWN, message)
        return [unread, *_network_checks(installation), *_admission_checks(installation)]
    return [
        _workload("agent", installation.agent, AGENT, installation.namespace, required=True),
        _workload("webhook", installation.webhook, WEBHOOK, installation.namespace, required=False),
        *_version_check(installation),
        *_settings_checks(installation),
        *_certificate_check(installation),
        *_network_checks(installation),
        *definitions_checks(installation.agent, installation.nodes, installation.namespace),
        *_admission_checks(installation),
    ]


def unmet(done: Sequence[Check]) -> list[Check]:
    """Return the checks for which ``status --wait`` waits."""
    return [
        each
        for each in done
        if each.state is CheckState.FAILED
        or (each.subject == ADMISSION and each.state is not CheckState.OK)
    ]


def _workload(
    subject: str, workload: Workload | None, name: str, namespace: str, *, required: bool
) -> Check:
    if workload is None:
        if required:
            fix = "install Genie with its chart or its manifest"
            return Check(subject, CheckState.FAILED, f"{namespace}/{name} does not exist", fix)
        message = "not installed: unknown networks are not refused at kubectl apply"
        return Check(subject, CheckState.WARNING, message, "install the webhook, if you want it")

    message = f"{workload.ready} of {workload.wanted} pods ready"
    if workload.updated < workload.wanted:
        message += f", {workload.updated} of the current version"
    complete = workload.wanted == workload.ready == workload.updated
    fix = f"kubectl -n {namespace} get pods -l app.kubernetes.io/component={subject}"
    if complete and workload.wanted:
        return Check(subject, CheckState.OK, message)
    return Check(subject, CheckState.FAILED, message, f"see which pods are not ready: {fix}")


def _version_check(installation: Installation) -> Iterator[Check]:
    parts = versions("", installation.agent, installation.webhook, installation.nodes)
    known = [each for each in parts if each.version not in {"", NO_PLUGIN}]
    shown = dict.fromkeys(
        f"plugin {each.version} on {_nodes(len(each.nodes))}" if each.nodes else each.version
        for each in known
    )
    problem = next((each.problem for each in known if each.problem), "")
    if known:
        state = CheckState.WARNING if problem else CheckState.OK
        yield Check("version", state, ", ".join(shown), problem)


def _nodes(number: int) -> str:
    return f"{number} node" if number == 1 else f"{number} nodes"


def _settings_checks(installation: Installation) -> Iterator[Check]:
    if installation.settings is None:
        fix = "install Genie with its chart or its manifest"
        message = f"the ConfigMap {installation.namespace}/genie does not exist"
        yield Check("settings", CheckState.FAILED, message, fix)
        return
    mode = installation.settings.get("mode", "")
    if mode == "install":
        yield Check("mode", CheckState.OK, mode)
    else:
        fix = 'set mode to "install" to use Genie again'
        yield Check("mode", CheckState.FAILED, f"{mode}: pods cannot choose networks", fix)

    default = installation.settings.get("default-network", "")
    known = {each.name: each for each in installation.networks or ()}
    if not default:
        fix = f"set default-network in the ConfigMap {installation.namespace}/genie"
        yield Check("default network", CheckState.FAILED, "none: the agents install nothing", fix)
    elif installation.networks is not None and default not in known:
        fix = f"set default-network to one of: {', '.join(known) or 'none is ready'}"
        yield Check("default network", CheckState.FAILED, f"no node has {default}", fix)
    else:
        yield Check("default network", CheckState.OK, default)


def _certificate_check(installation: Installation) -> Iterator[Check]:
    if installation.webhook is None or installation.entries is None:
        return
    fix = f"kubectl -n {installation.namespace} exec deploy/{WEBHOOK} -- python -m certs status"
    yield certificate_check(installation.entries, installation.replicas, installation.now, fix)


def _network_checks(installation: Installation) -> Iterator[Check]:
    if installation.networks is None:
        yield Check("networks", CheckState.UNKNOWN, "you may not list nodes")
        return
    if not installation.networks:
        fix = "kubectl get events -A --field-selector involvedObject.kind=Node"
        yield Check(
            "networks", CheckState.FAILED, "no node has any", f"see what agents wait for: {fix}"
        )
    for network in installation.networks:
        subject = f"network {network.name}"
        nodes = len(network.ready) + len(network.not_ready) + len(network.absent)
        message = f"ready on {len(network.ready)} of {nodes} nodes"
        hindrance = installation.hindrances.get(network.name, "")
        if network.ready and hindrance:
            fix = "uncordon a node that has it, or add one"
            message = f"{message}, but no pod can run there: {hindrance}"
            yield Check(subject, CheckState.FAILED, message, fix)
        elif not network.ready:
            fix = f"kubectl describe node {(network.not_ready or network.absent)[0]} shows Events"
            yield Check(subject, CheckState.FAILED, f"{message}; {reason(network)}", fix)
        elif network.not_ready:
            fix = f"kubectl describe node {network.not_ready[0]} shows Events"
            yield Check(subject, CheckState.WARNING, f"{message}; {reason(network)}", fix)
        else:
            yield Check(subject, CheckState.OK, message)


ADMISSION = "admission"


def _admission_checks(installation: Installation) -> Iterator[Check]:
    """Yield whether pods that name a network are admitted: one check, about the first fault."""
    where = installation.namespace_of_pods
    if installation.untried or not installation.admissions:
        fix = "name a namespace in which pods can be tried: --namespace"
        message = installation.untried or f"namespace {where} allows no network of the cluster"
        yield Check(ADMISSION, CheckState.UNKNOWN, message, fix)
        return
    refused = [each for each in installation.admissions if each.refusal]
    silent = [each for each in installation.admissions if not each.is_normalised]
    names = ", ".join(each.network for each in installation.admissions if each.network)
    if refused:
        named = f"that names {refused[0].network}" if refused[0].network else "with an annotation"
        message = f"a pod {named} is refused in namespace {where}"
        yield Check(ADMISSION, CheckState.FAILED, message, refused[0].refusal)
    elif silent and (installation.webhook or not installation.readable):
        message = "the API server does not call the webhook: faults and defaults are ignored"
        fix = f"kubectl -n {installation.namespace} exec deploy/{WEBHOOK} -- python -m certs status"
        state = CheckState.FAILED if installation.webhook else CheckState.WARNING
        yield Check(ADMISSION, state, message, f"see its certificates and pods: {fix}")
    else:
        message = f"pods in namespace {where} may name {names or 'networks'}"
        yield Check(ADMISSION, CheckState.OK, message)
