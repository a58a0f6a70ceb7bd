"""Prints what ``migrate`` found, and writes the converted networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.output import print_findings
from cli.pod_migration import Verdict

if TYPE_CHECKING:
    from cli.migrate import Migration, MigrationFinding


def print_migration(migration: Migration) -> None:
    """Print what does not stay the same, and count the rest."""
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


def write_migration(folder: Path, migration: Migration) -> None:
    """Write the configurations for nodes, and the definitions as a file for ``kubectl apply``."""
    import yaml  # noqa: PLC0415 - tables do without

    nodes = folder / "genie.d"
    nodes.mkdir(parents=True, exist_ok=True)
    for each in migration.files:
        path = nodes / Path(each.path).name
        path.write_text(json.dumps(each.conflist, indent=2) + "\n")
    path = folder / "network-attachment-definitions.yaml"
    path.write_text(yaml.safe_dump_all(migration.definitions, sort_keys=False))
    typer.echo(f"written: {nodes}, {path}", err=True)
