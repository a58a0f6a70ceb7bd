"""Reads the manifests that an option ``--file`` names, or ends the command with their place."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.documents import ManifestError, manifest_files, read_documents

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cli.documents import Document


def read_manifests(names: Iterable[str]) -> list[Document]:
    """Read all manifests; the first that cannot be read ends the command with its place."""
    documents: list[Document] = []
    name = ""
    try:
        for name in names:
            if name == "-":
                documents += read_documents(sys.stdin.read(), "<stdin>")
                continue
            for path in manifest_files(Path(name)):
                documents += read_documents(path.read_text(), str(path))
    except ManifestError as error:
        place = error.place
        typer.echo(f"{place.file}:{place.line}:{place.column}: {error}", err=True)
        raise typer.Exit(2) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        typer.echo(f"kubectl genie: cannot read {name}: {reason}", err=True)
        raise typer.Exit(2) from None
    return documents
