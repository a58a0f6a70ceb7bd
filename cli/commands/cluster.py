"""What there is in the cluster: ``networks``, ``pods``, ``status`` and ``version``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli import cluster_names
from cli.formats import Format
from cli.options import (
    GENIE_NAMESPACE,
    Context,
    GenieNamespace,
    Kubeconfig,
    Namespace,
    Output,
    command_group,
    notes,
)

if TYPE_CHECKING:
    from cli.checks import Check

commands = command_group()

WAIT_SECONDS = 2
"""Seconds between two attempts of ``status --wait``."""


@commands.command(
    epilog=notes(
        "kubectl genie networks",
        "kubectl genie networks -o json | jq '.[].name'",
        codes=["the networks are listed, with a note where rights are missing"],
    )
)
def networks(
    *,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """List the networks that pods may name, and on how many nodes each is ready."""
    from cli.output import print_data, print_table
    from cli.rows import NETWORK_COLUMNS, network_row, published_row
    from cli.session import Access, Session

    session = Session(Access(kubeconfig, context), genie)
    summaries = session.networks
    published = session.published_networks if summaries is None else None
    if output is Format.TABLE:
        empty = "Unknown: networks are labels of nodes, which you may not list."
        if summaries is not None:
            empty = "No node has a network that Genie knows."
        rows = [*map(network_row, summaries or ()), *map(published_row, published or ())]
        print_table(NETWORK_COLUMNS, rows, empty)
    else:
        print_data(summaries if published is None else published, output)
    session.finish()


@commands.command(
    epilog=notes(
        "kubectl genie pods -n shop",
        "kubectl genie pods -A --network weave -o yaml",
        codes=["the pods are listed, also those with a problem"],
    )
)
def pods(
    *,
    namespace: Namespace = "",
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="pods of the whole cluster")
    ] = False,
    network: Annotated[
        str,
        typer.Option(
            help="only pods that asked for this network, or have it",
            autocompletion=cluster_names.networks,
        ),
    ] = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
) -> None:
    """Show what pods asked for, what they got, and why not."""
    from cli.facts import read_pod
    from cli.output import print_data, print_table
    from cli.pods import concerns, describe
    from cli.rows import POD_COLUMNS, pod_row
    from cli.session import Access, Session

    session = Session(Access(kubeconfig, context), GENIE_NAMESPACE)
    where = "" if all_namespaces else namespace or session.current_namespace
    items = session.list_or_own("pods") if all_namespaces else None
    if items is None:
        items = session.reader.list_all("pods", namespace=where)
    rows = [describe(read_pod(item)) for item in items or ()]
    rows = [row for row in rows if not network or concerns(row, network)]
    if output is Format.TABLE:
        first = 0 if all_namespaces else 1
        empty = "No pods in the cluster." if all_namespaces else f"No pods in namespace {where}."
        print_table(POD_COLUMNS[first:], [pod_row(row)[first:] for row in rows], empty)
    else:
        print_data(rows, output)
    session.finish()


@commands.command(
    epilog=notes(
        "kubectl genie status",
        "kubectl genie status --wait --timeout 120 -n shop",
        codes=["no check failed", "a check failed, or --timeout is over"],
    )
)
def status(
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="wait until pods that name networks would be attached")
    ] = False,
    timeout: Annotated[float, typer.Option(help="seconds to wait at most")] = 300,
    namespace: Namespace = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Check that Genie is installed, ready and called, and that pods would be attached.

    A dry-run in --namespace asks the API server whether it admits a pod that names a network; a
    label and the conditions of the nodes show whether it can run. Nothing is changed.
    """
    from cli.checks import CheckState
    from cli.installation import read_installation
    from cli.output import print_checks, print_data
    from cli.session import Access, Session
    from cli.status import checks, unmet
    from dispatcher.kube.errors import KubeError

    deadline = time.monotonic() + timeout
    while True:
        session = Session(Access(kubeconfig, context), genie)
        is_over = not wait or time.monotonic() >= deadline
        done: list[Check] = []
        try:
            done = checks(read_installation(session, namespace or session.current_namespace))
            if is_over or not unmet(done):
                break
            waiting_for = f"{unmet(done)[0].subject}: {unmet(done)[0].message}"
        except KubeError as error:
            if is_over:
                raise
            waiting_for = str(error)
        typer.echo(f"waiting: {waiting_for}", err=True)
        time.sleep(WAIT_SECONDS)

    if output is Format.TABLE:
        print_checks(done)
    else:
        print_data(done, output)
    session.finish()
    failed = unmet(done) if wait else [each for each in done if each.state is CheckState.FAILED]
    raise typer.Exit(1 if failed else 0)


@commands.command(
    epilog=notes(
        "kubectl genie version",
        "kubectl genie version -o json",
        codes=["the versions are printed, with a note where rights are missing"],
    )
)
def version(
    *,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Print the versions of this command, the webhook, the agents, and the nodes' plugins.

    A node's agent reports the version of its plugin in an annotation of the Node.
    """
    from cli.output import print_data, print_table
    from cli.rows import VERSION_COLUMNS, version_rows
    from cli.session import Access, Session

    session = Session(Access(kubeconfig, context), genie)
    parts = session.versions
    if output is Format.TABLE:
        print_table(VERSION_COLUMNS, version_rows(parts), "")
    else:
        print_data(parts, output)
    session.finish()
