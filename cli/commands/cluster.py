"""What there is in the cluster: ``networks``, ``pods``, ``status`` and ``version``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli.facts import read_pod
from cli.networks import reason, shorten
from cli.options import GENIE_NAMESPACE, GenieNamespace, Kubeconfig, Namespace, Output, examples
from cli.output import Format, print_checks, print_data, print_table
from cli.pods import concerns, describe
from cli.session import Session, current_namespace, own_version
from cli.status import AGENT, WEBHOOK, CheckState, checks, worst

if TYPE_CHECKING:
    from cli.networks import NetworkSummary
    from cli.output import Cell
    from cli.pods import PodRow

commands = typer.Typer()

WAIT_SECONDS = 2
"""Seconds between two attempts of ``status --wait``."""


@commands.command(
    epilog=examples("kubectl genie networks", "kubectl genie networks -o json | jq '.[].name'")
)
def networks(
    *,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """List the networks that pods may name, and on how many nodes each is ready."""
    session = Session(kubeconfig, genie)
    found = session.networks or []
    if output is Format.TABLE:
        head = ("NETWORK", "READY", "DEFAULT OF", "PLUGINS", "PROBLEM")
        print_table(head, map(_network_row, found), "No node has a network that Genie knows.")
    else:
        print_data(found, output)
    session.finish()


@commands.command(
    epilog=examples("kubectl genie pods -n shop", "kubectl genie pods -A --network weave -o yaml")
)
def pods(
    *,
    namespace: Namespace = "",
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="pods of the whole cluster")
    ] = False,
    network: Annotated[
        str, typer.Option(help="only pods that asked for this network, or have it")
    ] = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show what pods asked for, what they got, and why not."""
    session = Session(kubeconfig, GENIE_NAMESPACE)
    where = "" if all_namespaces else namespace or current_namespace(kubeconfig)
    items = session.reader.list_all("pods", namespace=where) or []
    rows = [describe(read_pod(item)) for item in items]
    rows = [row for row in rows if not network or concerns(row, network)]
    if output is Format.TABLE:
        head = ("NAMESPACE", "POD", "ASKED FOR", "ATTACHED", "NODE", "PROBLEM")
        first = 0 if all_namespaces else 1
        empty = "No pods in the cluster." if all_namespaces else f"No pods in namespace {where}."
        print_table(head[first:], [_pod_row(row)[first:] for row in rows], empty)
    else:
        print_data(rows, output)
    session.finish()


@commands.command(
    epilog=examples("kubectl genie status", "kubectl genie status --wait --timeout 120")
)
def status(
    *,
    wait: Annotated[bool, typer.Option("--wait", help="wait until no check fails")] = False,
    timeout: Annotated[float, typer.Option(help="seconds to wait at most")] = 300,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Check that Genie is installed, ready, of one version, and called by the API server."""
    deadline = time.monotonic() + timeout
    while True:
        session = Session(kubeconfig, genie)
        done = checks(session.installation())
        failed = [each for each in done if each.state is CheckState.FAILED]
        if not (wait and failed) or time.monotonic() >= deadline:
            break
        typer.echo(f"waiting: {failed[0].subject}: {failed[0].seen}", err=True)
        time.sleep(WAIT_SECONDS)

    if output is Format.TABLE:
        print_checks(done)
    else:
        print_data(done, output)
    session.finish()
    raise typer.Exit(1 if worst(done) is CheckState.FAILED else 0)


@commands.command(epilog=examples("kubectl genie version", "kubectl genie version -o json"))
def version(
    *,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Print the versions of this command, the webhook and the agents."""
    session = Session(kubeconfig, genie)
    programs, _ = session.programs()
    installed = [programs[name] for name in (WEBHOOK, AGENT) if name in programs]
    rows = [("client", own_version())]
    rows += [(each.name, ", ".join(each.images)) for each in installed]
    if output is Format.TABLE:
        print_table(("PART", "VERSION"), rows, "")
    else:
        print_data(dict(rows), output)
    session.finish()


def _network_row(network: NetworkSummary) -> tuple[str, ...]:
    total = len(network.ready) + len(network.not_ready) + len(network.absent)
    cluster = ["the cluster"] if network.is_default else []
    namespaces = [shorten(network.default_of)] if network.default_of else []
    return (
        network.name,
        f"{len(network.ready)}/{total}",
        ", ".join([*cluster, *namespaces]),
        ",".join(network.types),
        reason(network),
    )


def _pod_row(row: PodRow) -> tuple[Cell, ...]:
    attached = (f"{a.network}@{a.interface}={','.join(a.addresses)}" for a in row.attached)
    return (row.namespace, row.name, row.asked, tuple(attached), row.node, row.problem)
