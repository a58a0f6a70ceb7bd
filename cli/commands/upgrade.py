"""Before an installation or an upgrade: ``migrate`` and ``preflight``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.formats import Format
from cli.options import (
    GENIE_NAMESPACE,
    Context,
    GenieNamespace,
    Kubeconfig,
    Output,
    command_group,
    notes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

commands = command_group()

CNI_SUFFIXES = {".conf", ".conflist", ".json"}


@commands.command(
    epilog=notes(
        "kubectl genie migrate --default-network canal",
        "kubectl genie migrate -f deploy/ --default-network canal -o json",
        "kubectl genie migrate --cni-conf net.d/ --write converted/",
        codes=["nothing needs a change", "some object needs a change"],
    )
)
def migrate(
    *,
    files: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", help="manifests to read instead of the cluster; - for stdin"),
    ] = None,
    default_network: Annotated[
        str, typer.Option(help="network on eth0 of pods that name none; default: Genie's setting")
    ] = "",
    cni_conf: Annotated[
        str, typer.Option(help="directory with a copy of a node's /etc/cni/net.d")
    ] = "",
    write: Annotated[
        str, typer.Option(help="directory for the converted networks, as files and as definitions")
    ] = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Show which pods, workloads and objects of CNI-Genie and Multus need a change.

    Objects that stay the same are counted. The others are listed, each with a command that patches
    it. The cluster is not changed. Patched pods are checked as the webhook would: limits per pod,
    and plugins that cannot be combined.
    """
    from cli.lint import LintContext
    from cli.logical_networks import parse_confs
    from cli.manifest_input import read_manifests
    from cli.migrate import migrate as plan_migration
    from cli.migration_output import print_migration, write_migration
    from cli.output import print_data
    from cli.pod_migration import MigrationContext
    from cli.session import Access, Session, rules_of

    if files:
        documents, rules = read_manifests(files), LintContext()
    else:
        session = Session(Access(kubeconfig, context), genie)
        documents, rules = [*session.workloads(), *session.foreign_objects()], rules_of(session)
        if not (rules.networks and rules.networks.known):  # Genie is not installed yet
            rules = rules._replace(networks=None)
        default_network = default_network or session.default_network
        session.finish()

    confs = parse_confs(_cni_files(Path(cni_conf)) if cni_conf else ())
    migration = plan_migration(documents, MigrationContext(rules, default_network, confs))
    if output is Format.TABLE:
        print_migration(migration)
    else:
        print_data(migration, output)
    if write:
        write_migration(Path(write), migration)
    raise typer.Exit(1 if migration.needs_change else 0)


def _cni_files(directory: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of each CNI configuration in *directory*."""
    for each in directory.iterdir():
        if each.suffix in CNI_SUFFIXES:
            yield each.name, each.read_text(errors="replace")


@commands.command(
    epilog=notes(
        "kubectl genie preflight",
        "kubectl genie preflight --max-attachments 4 --max-per-network 2",
        codes=["nothing prevents an upgrade", "a check failed, or a workload would be refused"],
    )
)
def preflight(
    *,
    max_attachments: Annotated[
        int, typer.Option(help="limit that you will set; 0: the present one")
    ] = 0,
    max_per_network: Annotated[
        int, typer.Option(help="limit that you will set; 0: the present one")
    ] = 0,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Check versions, and list workloads that would be refused or warned of.

    The rules are those of this command's version: limits per pod, networks that no node has, and
    networks whose plugins cannot be combined. Limits that a namespace sets itself still apply.
    """
    from cli.checks import CheckState
    from cli.lint import ERROR
    from cli.lint import lint as lint_documents
    from cli.output import print_checks, print_data, print_findings
    from cli.preflight import ClusterVersions, version_checks
    from cli.session import Access, Session, own_version, rules_of

    session = Session(Access(kubeconfig, context), genie)
    versions = ClusterVersions(
        (session.reader.one("/version", "get /version") or {}).get("gitVersion", ""),
        session.reader.list_all("nodes"),
        list(session.programs[0].values()),
    )
    checks = version_checks(versions, own_version())
    present = session.limits
    limits = present._replace(
        attachments=max_attachments or present.attachments,
        per_network=max_per_network or present.per_network,
    )
    findings = lint_documents(session.workloads(), rules_of(session)._replace(limits=limits))

    if output is Format.TABLE:
        print_checks(checks)
        typer.echo("")
        rows = [(each.severity, each.subject, each.message, "") for each in findings]
        print_findings(rows, "No workload would be refused.")
    else:
        print_data({"checks": checks, "workloads": findings}, output)
    session.finish()
    failed = any(each.state is CheckState.FAILED for each in checks)
    raise typer.Exit(1 if failed or any(each.severity == ERROR for each in findings) else 0)
