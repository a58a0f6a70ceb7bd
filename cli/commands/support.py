"""The command for a support case: ``bundle``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from cli.options import (
    GENIE_NAMESPACE,
    Context,
    GenieNamespace,
    Kubeconfig,
    command_group,
    notes,
)

commands = command_group()


@commands.command(
    epilog=notes(
        "kubectl genie bundle",
        "kubectl genie bundle --file /tmp/genie.tar.gz",
        codes=["the archive is written; errors.txt says what is missing in it"],
    )
)
def bundle(
    *,
    file: Annotated[
        str, typer.Option("--file", "-f", help="archive to write; default: a name that has a time")
    ] = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Write an archive for a bug report: settings, checks, Events, node reports and logs."""
    from cli import kubectl
    from cli.bundle import archive
    from cli.bundle_parts import read_parts
    from cli.session import Access, Session

    folder = time.strftime("genie-bundle-%Y%m%d-%H%M%S")
    path = Path(file or f"{folder}.tar.gz")
    session = Session(Access(kubeconfig, context), genie)
    # An archive with nothing but errors is useless, so an API server that does not answer ends the
    # command.
    api_server = session.reader.one("/version", "get /version")
    parts = read_parts(session, kubectl.core(session.access), api_server)
    data = archive(parts, folder, lambda name: typer.echo(f"collecting {name}", err=True))
    path.touch()
    path.chmod(0o600)  # before the content, also where the file exists
    path.write_bytes(data)
    session.finish()
    typer.echo(str(path))
