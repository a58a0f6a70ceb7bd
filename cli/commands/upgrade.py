"""Before an installation or an upgrade: ``migrate`` and ``preflight``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.checks import CheckState
from cli.formats import Format
from cli.lint import ERROR, LintContext
from cli.lint import lint as lint_documents
from cli.logical_networks import parse_confs
from cli.manifest_input import read_manifests
from cli.migrate import MigrationContext, Verdict
from cli.migrate import migrate as plan_migration
from cli.options import (
    GENIE_NAMESPACE,
    Context,
    GenieNamespace,
    Kubeconfig,
    Output,
    command_group,
    notes,
)
from cli.output import print_checks, print_data, print_findings
from cli.preflight import ClusterVersions, version_checks
from cli.session import Access, Session, own_version, rules_of
from webhook.limits import Limits

if TYPE_CHECKING:
    from cli.migrate import Migration, MigrationFinding

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
        str, typer.Option(help="network on eth0 of pods that name none; default: Genie's own")
    ] = "",
    cni_conf: Annotated[
        str, typer.Option(help="folder with a copy of a node's /etc/cni/net.d")
    ] = "",
    write: Annotated[
        str, typer.Option(help="folder for converted networks: files for nodes, definitions")
    ] = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Show what pods, workloads and objects of CNI-Genie and Multus need.

    What stays the same is counted. What does not is listed, with a command that patches it. The
    cluster is not changed. Limits per pod and combinations of plugins count after the patch.
    """
    if files:
        documents, rules = read_manifests(files), LintContext()
    else:
        session = Session(Access(kubeconfig, context), genie)
        documents, rules = [*session.workloads(), *session.foreign_objects()], rules_of(session)
        if not (rules.networks and rules.networks.known):  # Genie is not installed yet
            rules = rules._replace(networks=None)
        default_network = default_network or session.default_network
        session.finish()

    confs = parse_confs(
        (each.name, each.read_text(errors="replace"))
        for each in (Path(cni_conf).iterdir() if cni_conf else ())
        if each.suffix in CNI_SUFFIXES
    )
    migration = plan_migration(documents, MigrationContext(rules, default_network, confs))
    if output is Format.TABLE:
        _print_migration(migration)
    else:
        print_data(migration, output)
    if write:
        _write(Path(write), migration)
    needs_change = any(each.verdict in {Verdict.CHECK, Verdict.GONE} for each in migration.findings)
    raise typer.Exit(1 if needs_change else 0)


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
        rows = [(each.severity, each.subject, each.message, "") for each in findings]
        print_findings(rows, "No workload would be refused.")
    else:
        print_data({"checks": checks, "workloads": findings}, output)
    session.finish()
    failed = any(each.state is CheckState.FAILED for each in checks)
    raise typer.Exit(1 if failed or any(each.severity == ERROR for each in findings) else 0)


def _print_migration(migration: Migration) -> None:
    differing = [each for each in migration.findings if each.verdict is not Verdict.SAME]
    rows = [(each.verdict, _named(each), each.message, each.command) for each in differing]
    print_findings(rows, "Nothing needs a change.")
    typer.echo(
        f"\nObjects with networks that stay the same: {len(migration.findings) - len(differing)}"
    )
    if any(each.command for each in differing):
        typer.echo("A patch of a template replaces the workload's pods.")
    if any(each.patch and each.subject.startswith("Pod ") for each in differing):
        typer.echo("Pods must be created anew: their networks are fixed.")
    if migration.files:
        typer.echo(f"Converted networks: {len(migration.files)}; --write FOLDER writes them")


def _named(finding: MigrationFinding) -> str:
    place = finding.place
    return finding.subject + (f"  ({place.file}:{place.line})" if place.line else "")


def _write(folder: Path, migration: Migration) -> None:
    """Write the configurations for nodes, and the definitions as one list."""
    nodes = folder / "genie.d"
    nodes.mkdir(parents=True, exist_ok=True)
    for each in migration.files:
        path = nodes / Path(each.path).name
        path.write_text(json.dumps(each.conflist, indent=2) + "\n")
    listed = {"apiVersion": "v1", "kind": "List", "items": migration.definitions}
    path = folder / "network-attachment-definitions.json"
    path.write_text(json.dumps(listed, indent=2) + "\n")
    typer.echo(f"written: {nodes}, {path}", err=True)
