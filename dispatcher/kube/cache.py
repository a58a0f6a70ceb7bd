"""Informer cache: the objects of one kind at the API server, held in memory by list and watch.

A thread lists the collection page by page, then watches it. Readers take the current mapping
without a lock, because it is replaced, never changed. ``keep`` decides what is stored of an object,
so that a cache of 5,000 namespaces stays small.

Rules:

- While the API server is down, the last good mapping is served; ``age`` is its age.
- A watch that ends or breaks is resumed from the last resourceVersion. Only an error that the
  server reports ("410 Gone", mostly) or an unexpected one leads to a new list.
- The delay between retries grows and has jitter, so that replicas do not return all at once.
- An error in ``on_change`` never stops the cache.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog

from dispatcher.kube.backoff import Backoff
from dispatcher.kube.client import METADATA, METADATA_LIST, KubeClient, KubeError
from dispatcher.kube.errors import FORBIDDEN, NOT_FOUND

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

PAGE = 500
"""Objects of one list call."""

WATCH_SECONDS = 300
"""How long one watch lasts before the next. The client notices a silent connection 10 s later."""

FIRST_DELAY, LONGEST_DELAY = 1.0, 15.0
"""Upper bounds of the delay in seconds: before the first retry, and before any later one."""

REFUSED = frozenset({FORBIDDEN, NOT_FOUND})
"""Statuses of a cluster without the kind or the right, which may last: logged once."""

log = structlog.get_logger("cache")


class WatchCache(Generic[T]):
    """The objects at *path*, keyed by name (``namespace/name``).

    ``keep(object)`` returns the value to store. The cache's own thread calls
    ``on_change(key, value)`` after each change, with None for a deleted object.
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
        self._error: KubeError | None = None
        self._version = ""
        self._thread = threading.Thread(target=self._run, name=f"cache {path}", daemon=True)

    def start(self) -> None:
        """Start to fill the cache, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end. It is a daemon: a silent watch does not delay the exit."""
        self._stopping.set()

    def wait(self, timeout: float) -> bool:
        """Wait up to *timeout* seconds for the first complete list; return whether it has come."""
        return self._synced.wait(timeout)

    @property
    def synced(self) -> bool:
        """Whether the collection has been listed completely at least once."""
        return self._synced.is_set()

    @property
    def age(self) -> float | None:
        """Seconds since the API server last answered; None: never.

        While a watch is open and quiet, bookmarks (about one a minute) keep this small.
        """
        return None if self._contact is None else self._clock() - self._contact

    @property
    def error(self) -> KubeError | None:
        """The error because of which the mapping may be stale; None: list or watch succeed."""
        return self._error

    @property
    def items(self) -> Mapping[str, T]:
        """The current mapping. It is replaced, never changed: use one mapping for one decision."""
        return self._items

    def _run(self) -> None:
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY, random.uniform)
        while not self._stopping.is_set():
            try:
                if not self._version:
                    self._list()
                self._watch()
                backoff.reset()
                # A server may close every watch at once: do not retry in a tight loop.
                self._stopping.wait(random.uniform(0.1, 0.5))  # noqa: S311 - jitter
            except KubeError as error:
                self._report(error)
                backoff.fail()
                self._stopping.wait(backoff.delay())
            except Exception:
                # If the thread ended here, the cache would become stale unnoticed.
                log.exception("informer cache failed", path=self._path)
                self._version = ""
                backoff.fail()
                self._stopping.wait(backoff.delay())

    def _report(self, error: KubeError) -> None:
        if error.status:
            # The server answered: our resourceVersion is too old (410), or the request was refused.
            # The next attempt starts with a new list.
            self._version = ""
        if error.status in REFUSED and str(error) == str(self._error):
            return
        self._error = error
        log.warning("informer cache cannot list or watch", path=self._path, error=str(error))

    def _list(self) -> None:
        items: dict[str, T] = {}
        query = {**self._query, "limit": str(PAGE)}
        while True:
            page = self._kube.get(self._path, query, accept=self._accept[0])
            items.update((_key(item), self._keep(item)) for item in page.get("items") or ())
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
        for key in before.keys() - items.keys():
            self._notify(key, None)
        for key, value in items.items():
            if key not in before or before[key] != value:
                self._notify(key, value)

    def _watch(self) -> None:
        query = {**self._query, "resourceVersion": self._version}
        watch = self._kube.watch(self._path, query, seconds=WATCH_SECONDS, accept=self._accept[1])
        with watch as events:
            self._contact = self._clock()
            self._error = None
            for event in events:
                self._contact = self._clock()
                self._apply(event["type"], event["object"])
                if self._stopping.is_set():
                    return

    def _apply(self, event_type: str, item: dict[str, Any]) -> None:
        self._version = item["metadata"]["resourceVersion"]
        if event_type == "BOOKMARK":
            return

        key = _key(item)
        if event_type == "DELETED":
            self._items = {k: v for k, v in self._items.items() if k != key}
            self._notify(key, None)
            return

        value = self._keep(item)
        if key in self._items and self._items[key] == value:
            return
        self._items = {**self._items, key: value}
        self._notify(key, value)

    def _notify(self, key: str, value: T | None) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(key, value)
        except Exception:
            log.exception("on_change of the informer cache failed", path=self._path, key=key)


def _key(item: Mapping[str, Any]) -> str:
    metadata = item["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])
