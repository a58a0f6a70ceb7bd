"""Names of the cluster that completion offers: nodes, networks, namespaces and pods.

An error gives no name: the prompt is no place for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer  # noqa: TC002 - typer reads the annotations

from dispatcher.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cli.session import Session


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the nodes whose names begin with *incomplete*."""
    return _matching(ctx, incomplete, lambda session: (each.name for each in session.nodes or ()))


def networks(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the networks whose names begin with *incomplete*."""
    return _matching(ctx, incomplete, lambda session: session.network_names or ())


def namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the namespaces whose names begin with *incomplete*."""
    return _matching(ctx, incomplete, lambda session: session.namespaces)


def pods(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the pods of the chosen namespace whose names begin with *incomplete*."""

    def names(session: Session) -> Iterable[str]:
        where = ctx.params.get("namespace") or session.current_namespace
        items = session.reader.list_all("pods", namespace=where, metadata_only=True)
        return (each["metadata"]["name"] for each in items or ())

    return _matching(ctx, incomplete, names)


def _matching(ctx: typer.Context, incomplete: str, names: Any) -> list[str]:
    from cli.session import Access, Session  # noqa: PLC0415 - --help does without the cluster

    chosen = ctx.params
    access = Access(chosen.get("kubeconfig") or "", chosen.get("context") or "")
    try:
        offered = list(names(Session(access, chosen.get("genie") or "")))
    except KubeError:
        return []
    return sorted(each for each in offered if each.startswith(incomplete))
