"""Reads from the API server, lists page by page, and remembers what it may not read.

A namespaced developer may list neither nodes nor other people's pods. A command goes on with what
it has, and says at its end which right would show more (:attr:`Reader.missing`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from dispatcher.kube.errors import FORBIDDEN, NOT_FOUND, KubeError

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = 500
"""Objects of one answer: 500 pods of 10 kB are 5 MB."""


class Client(Protocol):
    """The calls of :class:`dispatcher.kube.client.Kube` that the commands need."""

    def get(
        self, path: str, query: Mapping[str, str] | None = None, *, accept: str = ...
    ) -> dict[str, Any]:
        """Return the object or list at *path*."""
        ...

    def get_text(self, path: str) -> str:
        """Return what is at *path* as text."""
        ...

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST *body*; return the object."""
        ...


class Reader:
    """Lists of objects; None where the user may not list them."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.missing: list[str] = []
        """The rights that would have shown more, as ``list nodes``."""

    def list_all(
        self,
        resource: str,
        group: str = "",
        *,
        version: str = "v1",
        namespace: str = "",
        selector: str = "",
        metadata_only: bool = False,
        is_optional: bool = False,
    ) -> list[dict[str, Any]] | None:
        """Return all objects of *resource*, or None if listing them is forbidden.

        An empty *namespace* lists the whole cluster. A cluster that does not have an optional
        resource has no such objects. Raises KubeError for every other failure.
        """
        from dispatcher.kube.client import METADATA_LIST  # noqa: PLC0415 - --help does without TLS

        root = f"/apis/{group}/{version}" if group else "/api/v1"
        path = f"{root}/namespaces/{quote(namespace)}/{resource}" if namespace else None
        query = {"limit": str(PAGE), **({"labelSelector": selector} if selector else {})}
        accept = METADATA_LIST if metadata_only else "application/json"

        items: list[dict[str, Any]] = []
        while True:
            try:
                page = self.client.get(path or f"{root}/{resource}", query, accept=accept)
            except KubeError as error:
                if is_optional and error.status == NOT_FOUND:
                    return items
                if error.status != FORBIDDEN:
                    raise
                self._record_missing(f"list {resource}", namespace)
                return None
            items += page.get("items") or []
            rest = (page.get("metadata") or {}).get("continue")
            if not rest:
                return items
            query["continue"] = rest

    def one(self, path: str, right: str) -> dict[str, Any] | None:
        """Return the object at *path*; None if there is none, or reading it is forbidden.

        *right* is what is missing then, as ``get namespaces``.
        """
        try:
            return self.client.get(path)
        except KubeError as error:
            if error.status == FORBIDDEN:
                self._record_missing(right, "")
            elif error.status != NOT_FOUND:
                raise
            return None

    def text(self, path: str, right: str) -> str | None:
        """Return the text at *path*; None if reading it is forbidden, or nothing answers there.

        *right* is what is missing if it is forbidden.
        """
        try:
            return self.client.get_text(path)
        except KubeError as error:
            if error.status == FORBIDDEN:
                self._record_missing(right, "")
            return None

    def _record_missing(self, right: str, namespace: str) -> None:
        named = right + (f" in namespace {namespace}" if namespace else "")
        if named not in self.missing:
            self.missing.append(named)
