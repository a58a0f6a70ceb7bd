"""Live look-ups: limited in number and rate, and shared by reviews that wait.

Everyone who reaches the webhook's port can make it call the API server, by naming a namespace or a
definition that the cache does not have. So the number of running look-ups and their rate are
limited, a look-up without a result is not repeated for a while, and reviews that wait for the same
object share one. A look-up beyond a limit gives no decision (503), so that ``failurePolicy``
decides: no limit leads to a wrong decision. Definitions have limits of their own, so that they take
no look-up away from namespaces.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from dispatcher.annotation import quote
from webhook.decision import NoDecisionError
from webhook.definition_snapshot import KnownDefinition
from webhook.snapshot import Namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    Fetch = Callable[[str], Coroutine[Any, Any, Namespace | None]]

T = TypeVar("T")

REMEMBERED_SECONDS = 2.0
"""How long a namespace is not asked for again. A watch event usually comes sooner."""

MISSING_SECONDS = 1.0
"""How long a definition that was not found counts as missing, without another look-up."""

MAX_REMEMBERED = 1024
"""Limit of the look-ups without a result that are remembered; the oldest is forgotten first."""


class RateLimiter:
    """A token bucket: *per_second* events a second, and as many at once after a quiet second."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._clock = clock
        self._tokens = per_second
        self._refilled_at = clock()

    def try_acquire(self) -> bool:
        """Take a token; return False if there is none."""
        now = self._clock()
        refill = (now - self._refilled_at) * self._per_second
        self._tokens = min(self._per_second, self._tokens + refill)
        self._refilled_at = now

        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Lookups(Generic[T]):
    """The live look-ups of one replica. Not thread-safe: only its event loop uses them.

    ``fetch(name)`` asks the API server and returns None if there is no such object. It raises
    :class:`NoDecisionError` if the API server does not answer.
    """

    subject = "objects"
    """What is looked up, in the sentence about a limit."""

    def __init__(
        self,
        fetch: Callable[[str], Coroutine[Any, Any, T | None]],
        *,
        max_running: int,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._max_running = max_running
        self._rate_limiter = RateLimiter(per_second, clock)
        self._clock = clock
        self._running: dict[str, asyncio.Task[T | None]] = {}
        self._missing: dict[str, float] = {}

    async def _share(self, name: str) -> T | None:
        """Return the result of the look-up that runs, or of a new one.

        Raises :class:`NoDecisionError` without an answer, or if the look-up is over a limit.
        """
        task = self._running.get(name)
        if task is None:
            self._enforce_limits()
            task = asyncio.ensure_future(self._fetch(name))
            self._running[name] = task
            task.add_done_callback(lambda task: self._finish(name, task))
        # A client that disconnects must not cancel the look-up for the others that wait for it.
        return await asyncio.shield(task)

    def _enforce_limits(self) -> None:
        if len(self._running) >= self._max_running or not self._rate_limiter.try_acquire():
            raise NoDecisionError(
                f"too many look-ups of {self.subject}; retry later, or raise GENIE_MAX_LOOKUPS "
                "or GENIE_MAX_LOOKUPS_PER_SECOND"
            )

    def _finish(self, name: str, task: asyncio.Task[T | None]) -> None:
        del self._running[name]
        if not task.cancelled() and not task.exception():
            self._keep(name, task.result())

    def _keep(self, name: str, result: T | None) -> None:
        """Remember a look-up without a result."""
        if result is None:
            self._remember(name, self._missing)

    def _age(self, name: str, fruitless: dict[str, float]) -> float:
        """Return how many seconds ago the look-up of *name* was without a result."""
        return self._clock() - fruitless.get(name, float("-inf"))

    def _remember(self, name: str, fruitless: dict[str, float]) -> None:
        fruitless.pop(name, None)  # so that the oldest stay first
        fruitless[name] = self._clock()
        if len(fruitless) > MAX_REMEMBERED:
            del fruitless[next(iter(fruitless))]


class NamespaceLookups(Lookups[Namespace]):
    """The look-ups of namespaces."""

    subject = "namespaces"

    def __init__(
        self,
        fetch: Fetch,
        *,
        max_running: int,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(fetch, max_running=max_running, per_second=per_second, clock=clock)
        self._without_default: dict[str, float] = {}

    async def get(self, name: str) -> Namespace:
        """Return the namespace *name* as the API server has it; without keys if it is missing.

        Raises :class:`NoDecisionError` without an answer, or if the look-up is over a limit.
        """
        return await self._get(name, self._missing)

    async def get_default(self, name: str) -> Namespace:
        """Return a namespace that exists, for its default; raises :class:`NoDecisionError`, too."""
        return await self._get(name, self._without_default)

    async def _get(self, name: str, fruitless: dict[str, float]) -> Namespace:
        age = self._age(name, fruitless)
        if name not in self._running and age < REMEMBERED_SECONDS:
            problem = "was not found" if fruitless is self._missing else "had no default network"
            raise NoDecisionError(
                f"namespace {quote(name)} {problem} {age:.1f} s ago; "
                f"the webhook retries after {REMEMBERED_SECONDS:.0f} s"
            )
        return await self._share(name) or Namespace(name)

    def _keep(self, name: str, result: Namespace | None) -> None:
        super()._keep(name, result)
        if result is None or not result.fills_in:
            self._remember(name, self._without_default)


class DefinitionLookups(Lookups[KnownDefinition]):
    """The look-ups of NetworkAttachmentDefinitions, by ``namespace/name``."""

    subject = "NetworkAttachmentDefinitions"

    async def get(self, full_name: str) -> KnownDefinition | None:
        """Return the definition as the API server has it; None if it is missing.

        Raises :class:`NoDecisionError` without an answer, or if the look-up is over a limit.
        """
        if full_name not in self._running and self._age(full_name, self._missing) < MISSING_SECONDS:
            return None
        return await self._share(full_name)
