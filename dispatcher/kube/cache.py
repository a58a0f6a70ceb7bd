"""A watch cache: what the API server says of one kind of object, held in memory.

A thread lists the collection page by page, then watches it; readers take the current
mapping without a lock, because it is replaced, never changed. ``keep`` decides what is
remembered of an object, so that a cache of 5,000 namespaces stays small.

Rules: the last good mapping is served while the API server is away, and ``age`` says how
long that has been; a watch that ends or breaks is resumed from the last resourceVersion, and
only an error that the server itself reports ("410 Gone", mostly) or that nobody thought of leads
to a new list; waiting between attempts grows and has jitter, so that replicas do not come back
all at once. A change that could not be handed to ``on_change`` never stops the cache.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog

from dispatcher.kube.backoff import Backoff
from dispatcher.kube.client import METADATA, METADATA_LIST, KubeClient, KubeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

PAGE = 500
"""Objects of one list call."""

WATCH_SECONDS = 300
"""How long one watch lasts before it is asked for again. A silent connection is noticed by
the client 10 s after that."""

FIRST_DELAY, LONGEST_DELAY = 1.0, 15.0
"""Seconds before the first retry and between later ones, at most; random down to half of it."""

log = structlog.get_logger("cache")


class WatchCache(Generic[T]):
    """The objects at *path*, as ``keep`` sees them, keyed by name (``namespace/name``).

    ``keep(object)`` returns what to remember. ``on_change(key, value)`` is called from the
    cache's own thread after each change, with None for an object that is gone.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._path = path
        self._keep = keep
        self._query = dict(query or {})
        self._accept = (METADATA_LIST, METADATA) if metadata_only else ("application/json",) * 2
        self._on_change = on_change
        self._clock = clock
        self._items: dict[str, T] = {}
        self._synced = threading.Event()
        self._stopping = threading.Event()
        self._contact: float | None = None
        self._version = ""
        self._thread = threading.Thread(target=self._run, name=f"cache {path}", daemon=True)

    def start(self) -> None:
        """Begin to fill the cache, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end. It is a daemon: a watch that is silent holds up no exit."""
        self._stopping.set()

    def wait(self, timeout: float) -> bool:
        """Wait for the first complete list; tells whether it has come."""
        return self._synced.wait(timeout)

    @property
    def synced(self) -> bool:
        """Whether the collection has been listed completely at least once."""
        return self._synced.is_set()

    @property
    def age(self) -> float | None:
        """Seconds since the API server was last heard of; None: never.

        While a watch is open and quiet, bookmarks (about one a minute) keep this small.
        """
        return None if self._contact is None else self._clock() - self._contact

    @property
    def items(self) -> Mapping[str, T]:
        """The current mapping. It is never changed, only replaced: keep it for one decision."""
        return self._items

    def _run(self) -> None:
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY, random.uniform)
        while not self._stopping.is_set():
            try:
                if not self._version:
                    self._list()
                self._watch()
                backoff.reset()
                # A server that closes every watch at once must not be asked in a tight loop.
                self._stopping.wait(random.uniform(0.1, 0.5))  # noqa: S311 - jitter
            except KubeError as error:
                self._report(error)
                backoff.fail()
                self._stopping.wait(backoff.delay())
            except Exception:
                # Whatever it was, a cache that nobody fills any more would grow old in silence.
                log.exception("watch cache failed", path=self._path)
                self._version = ""
                backoff.fail()
                self._stopping.wait(backoff.delay())

    def _report(self, error: KubeError) -> None:
        if error.status:
            # The server answered, and what we watch from is not good any more (410), or it
            # refuses us: the next attempt starts with a new list.
            self._version = ""
        log.warning("watch cache cannot follow", path=self._path, error=str(error))

    def _list(self) -> None:
        items: dict[str, T] = {}
        query = {**self._query, "limit": str(PAGE)}
        while True:
            page = self._kube.get(self._path, query, accept=self._accept[0])
            items.update((_key(found), self._keep(found)) for found in page.get("items") or ())
            following = page["metadata"].get("continue")
            if not following:
                break
            query["continue"] = following
        self._replace(items)
        self._version = page["metadata"]["resourceVersion"]
        self._contact = self._clock()
        self._synced.set()

    def _replace(self, items: dict[str, T]) -> None:
        before, self._items = self._items, items
        for key in before.keys() - items.keys():
            self._tell(key, None)
        for key, value in items.items():
            if key not in before or before[key] != value:
                self._tell(key, value)

    def _watch(self) -> None:
        query = {**self._query, "resourceVersion": self._version}
        watch = self._kube.watch(self._path, query, seconds=WATCH_SECONDS, accept=self._accept[1])
        with watch as events:
            self._contact = self._clock()
            for event in events:
                self._contact = self._clock()
                self._apply(event["type"], event["object"])
                if self._stopping.is_set():
                    return

    def _apply(self, kind: str, found: dict[str, Any]) -> None:
        self._version = found["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return
        key = _key(found)
        if kind == "DELETED":
            self._items = {k: v for k, v in self._items.items() if k != key}
            self._tell(key, None)
            return
        value = self._keep(found)
        if key in self._items and self._items[key] == value:
            return
        self._items = {**self._items, key: value}
        self._tell(key, value)

    def _tell(self, key: str, value: T | None) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(key, value)
        except Exception:
            log.exception("a watcher of the cache failed", path=self._path, key=key)


def _key(found: Mapping[str, Any]) -> str:
    metadata = found["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])
