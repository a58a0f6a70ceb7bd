"""Live look-ups of namespaces: one for each namespace at a time, and few for all together.

Whoever reaches the webhook's port can make it ask the API server, by naming a namespace that the
cache lacks. So look-ups are limited, in number and in rate; one that brought nothing is not
repeated for some seconds; reviews that wait for the same namespace share one. What a limit refuses
is not decided (503), and ``failurePolicy`` decides: no limit turns into a wrong answer.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from dispatcher.annotation import quote
from webhook.decision import NoDecisionError
from webhook.snapshot import Namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    LookUp = Callable[[str], Coroutine[Any, Any, Namespace | None]]

REMEMBERED_SECONDS = 2.0
"""How long a look-up that brought nothing is not repeated. What is new is in the cache sooner."""

MAX_REMEMBERED = 1024
"""Look-ups that are remembered for that, the oldest given up first."""


class RateLimiter:
    """So many events a second, and as many at once after a quiet second."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._clock = clock
        self._left = per_second
        self._counted_at = clock()

    def take(self) -> bool:
        """Tell whether one more event is within the rate, and count it if so."""
        now = self._clock()
        earned = (now - self._counted_at) * self._per_second
        self._left = min(self._per_second, self._left + earned)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class NamespaceLookups:
    """The live look-ups of one replica; used by its event loop alone.

    ``look_up(name)`` asks the API server: None means that there is no such namespace. It raises
    :class:`NoDecisionError` without an answer.
    """

    def __init__(
        self,
        look_up: LookUp,
        *,
        at_once: int,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_up = look_up
        self._at_once = at_once
        self._rate = RateLimiter(per_second, clock)
        self._clock = clock
        self._running: dict[str, asyncio.Task[Namespace | None]] = {}
        self._missing: dict[str, float] = {}
        self._without_default: dict[str, float] = {}

    async def get(self, name: str) -> Namespace:
        """Return the namespace *name* as the API server has it; one that is gone has no wishes.

        Raises :class:`NoDecisionError` without an answer, or when one more look-up is too many.
        """
        return await self._get(name, self._missing)

    async def get_default(self, name: str) -> Namespace:
        """Return a namespace that exists, for its default; raises :class:`NoDecisionError`, too."""
        return await self._get(name, self._without_default)

    async def _get(self, name: str, fruitless: dict[str, float]) -> Namespace:
        running = self._running.get(name)
        if running is None:
            self._permit(name, fruitless)
            running = asyncio.ensure_future(self._look_up(name))
            self._running[name] = running
            running.add_done_callback(lambda task: self._ended(name, task))
        # A client that goes away must not end the look-up for those who share it.
        return await asyncio.shield(running) or Namespace(name)

    def _permit(self, name: str, fruitless: dict[str, float]) -> None:
        if self._clock() - fruitless.get(name, float("-inf")) < REMEMBERED_SECONDS:
            raise NoDecisionError(f"namespace {quote(name)} was looked up a moment ago")
        if len(self._running) >= self._at_once or not self._rate.take():
            raise NoDecisionError("too many namespaces are being looked up")

    def _ended(self, name: str, task: asyncio.Task[Namespace | None]) -> None:
        del self._running[name]
        if task.cancelled() or task.exception():
            return
        namespace = task.result()
        if namespace is None:
            self._remember(name, self._missing)
        if namespace is None or not namespace.default:
            self._remember(name, self._without_default)

    def _remember(self, name: str, fruitless: dict[str, float]) -> None:
        fruitless.pop(name, None)  # so that the oldest stay first
        fruitless[name] = self._clock()
        if len(fruitless) > MAX_REMEMBERED:
            del fruitless[next(iter(fruitless))]
