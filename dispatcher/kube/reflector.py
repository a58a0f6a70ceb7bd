"""Reflector: follows a collection at the API server by list and watch, in a thread of its own.

The subclass decides what happens to the objects: :class:`dispatcher.kube.cache.WatchCache` keeps
a part of each in memory.

Rules:

- A watch that ends or breaks is resumed from the last resourceVersion. Only an error that the
  server reports ("410 Gone", mostly) or an unexpected one leads to a new list.
- After the server could not be reached, the collection is listed again: etcd may have been restored
  from a backup, and the numbers of its versions may count other changes since. A watch that only
  breaks is resumed, so one of several servers may restart.
- The delay between retries grows and has jitter, so that replicas do not return all at once. It is
  short again after a watch that had begun, so that a server which is away is noticed.
- A collection that does not exist, or may not be read, is logged once.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

import structlog

from dispatcher.kube.backoff import Backoff
from dispatcher.kube.errors import FORBIDDEN, NOT_FOUND, KubeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dispatcher.kube.client import KubeClient

WATCH_SECONDS = 300
"""How long one watch lasts before the next. The client notices a silent connection 10 s later."""

FIRST_DELAY, LONGEST_DELAY = 1.0, 15.0
"""Upper bounds of the delay in seconds: before the first retry, and before any later one."""

REFUSED = frozenset({FORBIDDEN, NOT_FOUND})
"""Statuses of a cluster without the kind or the right, which may last: logged once."""

log = structlog.get_logger("cache")


class Reflector:
    """Lists and watches the collection at *path*.

    *accept* is the media type of a watch. The thread starts to ask after *start_delay* seconds.
    While the collection does not exist it asks again after *missing_delay* seconds at most.
    """

    def __init__(
        self,
        kube: KubeClient,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        start_delay: float = 0.0,
        missing_delay: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._path = path
        self._query = dict(query or {})
        self._accept = accept
        self._start_delay = start_delay
        self._missing_delay = missing_delay
        self._clock = clock
        self._synced = threading.Event()
        self._stopping = threading.Event()
        self._contact: float | None = None
        self._error: KubeError | None = None
        self._version = ""
        self._is_watching = False
        self._thread = threading.Thread(target=self._run, name=f"cache {path}", daemon=True)

    def start(self) -> None:
        """Start to follow the collection, in a thread of its own."""
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
        """The error because of which the objects may be stale; None: list or watch succeed."""
        return self._error

    def _list(self) -> None:
        """List the collection: called without a resourceVersion, and sets it."""
        raise NotImplementedError

    def _apply(self, event_type: str, item: dict[str, Any]) -> None:
        """Take over one event of a watch, and its resourceVersion."""
        raise NotImplementedError

    def _watch_query(self) -> dict[str, str]:
        return {"resourceVersion": self._version}

    def _run(self) -> None:
        self._stopping.wait(self._start_delay)
        unanswered = Backoff(FIRST_DELAY, LONGEST_DELAY, random.uniform)
        missing = Backoff(FIRST_DELAY, self._missing_delay or LONGEST_DELAY, random.uniform)
        while not self._stopping.is_set():
            try:
                self._is_watching = False
                if not self._version:
                    self._list()
                self._watch()
                unanswered.reset()
                missing.reset()
                # A server may close every watch at once: do not retry in a tight loop.
                self._stopping.wait(random.uniform(0.1, 0.5))  # noqa: S311 - jitter
            except KubeError as error:
                self._report(error)
                if self._is_watching:
                    unanswered.reset()
                backoff = missing if error.status in REFUSED else unanswered
                backoff.fail()
                self._stopping.wait(backoff.delay())
            except Exception:
                # If the thread ended here, the objects would become stale unnoticed.
                log.exception("informer cache failed", path=self._path)
                self._version = ""
                unanswered.fail()
                self._stopping.wait(unanswered.delay())

    def _report(self, error: KubeError) -> None:
        if error.status or not self._is_watching:
            # The server answered: our resourceVersion is too old (410), or the request was refused.
            # Or it did not, and may be another one when it does. The next attempt lists anew.
            self._version = ""
        if error.status in REFUSED and str(error) == str(self._error):
            return
        self._error = error
        log.warning("informer cache cannot list or watch", path=self._path, error=str(error))

    def _watch(self) -> None:
        query = {**self._query, **self._watch_query()}
        watch = self._kube.watch(self._path, query, seconds=WATCH_SECONDS, accept=self._accept)
        with watch as events:
            self._is_watching = True
            self._contact = self._clock()
            self._error = None
            for event in events:
                self._contact = self._clock()
                self._apply(event["type"], event["object"])
                if self._stopping.is_set():
                    return


def object_key(item: Mapping[str, Any]) -> str:
    """Return the key of an object: ``name``, or ``namespace/name``."""
    metadata = item["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])
