"""Informer cache: the objects of one kind at the API server, held in memory by list and watch.

The thread of a :class:`dispatcher.kube.reflector.Reflector` lists the collection page by page, then
watches it. Readers take the current mapping without a lock, because it is replaced, never changed.
``keep`` decides what is stored of an object, so that a cache of 5,000 namespaces stays small.

Rules:

- While the API server is down, the last good mapping is served; ``age`` is its age.
- An error in ``on_change`` never stops the cache.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import structlog

from dispatcher.kube.client import METADATA, METADATA_LIST, KubeClient
from dispatcher.kube.reflector import Reflector, object_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

log = structlog.get_logger("cache")

PAGE = 500
"""Objects of one list call."""


class CacheIndex(Protocol[T_contra]):
    """Something that is derived from all values of a cache, and follows each change."""

    def replace(self, values: Iterable[T_contra], /) -> None:
        """Take over the values of a complete list."""

    def change(self, old: T_contra | None, new: T_contra | None, /) -> None:
        """Take over one change. None stands for an object that does not exist."""


class WatchCache(Reflector, Generic[T]):
    """The objects at *path*, keyed by name (``namespace/name``).

    ``keep(object)`` returns the value to store. The cache's own thread calls
    ``on_change(key, value)`` after each change, with None for a deleted object. It brings *index*
    up to date before that.
    """

    def __init__(
        self,
        kube: KubeClient,
        path: str,
        *,
        keep: Callable[[dict[str, Any]], T],
        query: Mapping[str, str] | None = None,
        metadata_only: bool = True,
        on_change: Callable[[str, T | None], None] | None = None,
        index: CacheIndex[T] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        list_type, watch_type = (
            (METADATA_LIST, METADATA) if metadata_only else ("application/json",) * 2
        )
        super().__init__(kube, path, query=query, accept=watch_type, clock=clock)
        self._list_type = list_type
        self._keep = keep
        self._on_change = on_change
        self._index = index
        self._items: dict[str, T] = {}

    @property
    def items(self) -> Mapping[str, T]:
        """The current mapping. It is replaced, never changed: use one mapping for one decision."""
        return self._items

    def _list(self) -> None:
        items: dict[str, T] = {}
        query = {**self._query, "limit": str(PAGE)}
        while True:
            page = self._kube.get(self._path, query, accept=self._list_type)
            items.update((object_key(item), self._keep(item)) for item in page.get("items") or ())
            continue_token = page["metadata"].get("continue")
            if not continue_token:
                break
            query["continue"] = continue_token
        self._replace(items)
        self._version = page["metadata"]["resourceVersion"]
        self._contact = self._clock()
        self._synced.set()

    def _replace(self, items: dict[str, T]) -> None:
        before, self._items = self._items, items
        if self._index is not None:
            self._index.replace(items.values())
        for key in before.keys() - items.keys():
            self._notify(key, None)
        for key, value in items.items():
            if key not in before or before[key] != value:
                self._notify(key, value)

    def _apply(self, event_type: str, item: dict[str, Any]) -> None:
        self._version = item["metadata"]["resourceVersion"]
        if event_type == "BOOKMARK":
            return

        key = object_key(item)
        old = self._items.get(key)
        if event_type == "DELETED":
            self._items = {k: v for k, v in self._items.items() if k != key}
            self._follow(old, None)
            self._notify(key, None)
            return

        value = self._keep(item)
        if key in self._items and old == value:
            return
        self._items = {**self._items, key: value}
        self._follow(old, value)
        self._notify(key, value)

    def _follow(self, old: T | None, new: T | None) -> None:
        if self._index is not None:
            self._index.change(old, new)

    def _notify(self, key: str, value: T | None) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(key, value)
        except Exception:
            log.exception("on_change of the informer cache failed", path=self._path, key=key)
