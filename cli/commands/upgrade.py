"""Before an installation or an upgrade: ``preflight``."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.formats import Format
from cli.lint import ERROR
from cli.lint import lint as lint_documents
from cli.options import (
    GENIE_NAMESPACE,
    Context,
    GenieNamespace,
    Kubeconfig,
    Output,
    command_group,
    notes,
)
from cli.output import print_checks, print_data, print_table
from cli.preflight import ClusterVersions, version_checks
from cli.session import Access, Session, own_version, rules_of
from cli.status import CheckState
from webhook.limits import Limits

commands = command_group()


@commands.command(
    epilog=notes(
        "kubectl genie preflight",
        "kubectl genie preflight --max-attachments 4 --max-per-network 2",
        codes=["nothing stands against it", "a check failed, or a workload would be refused"],
    )
)
def preflight(
    *,
    max_attachments: Annotated[
        int, typer.Option(help="limit that you will set; default: the present one")
    ] = 0,
    max_per_network: Annotated[
        int, typer.Option(help="limit that you will set; default: the present one")
    ] = 0,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Check versions, and list workloads that would be refused or warned of.

    The rules are those of this command's version: limits per pod, networks that no node has, and
    networks whose plugins cannot be combined. Namespaces keep limits of their own.
    """
    session = Session(Access(kubeconfig, context), genie)
    versions = ClusterVersions(
        (session.reader.one("/version", "get /version") or {}).get("gitVersion", ""),
        session.reader.list_all("nodes"),
        list(session.programs[0].values()),
    )
    checks = version_checks(versions, own_version())
    present = session.limits
    limits = Limits(max_attachments or present.attachments, max_per_network or present.per_network)
    findings = lint_documents(session.workloads(), rules_of(session)._replace(limits=limits))

    if output is Format.TABLE:
        print_checks(checks)
        typer.echo("")
        rows = [(each.severity, each.subject, each.message) for each in findings]
        print_table(("SEVERITY", "OBJECT", "WHY"), rows, "No workload would be refused.")
    else:
        print_data({"checks": checks, "workloads": findings}, output)
    session.finish()
    failed = any(each.state is CheckState.FAILED for each in checks)
    raise typer.Exit(1 if failed or any(each.severity == ERROR for each in findings) else 0)
