"""Live look-ups: how many, how often, and what is said beyond that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from webhook.decision import NoDecisionError
from webhook.lookups import MAX_REMEMBERED, REMEMBERED_SECONDS, NamespaceLookups
from webhook.snapshot import Namespace

if TYPE_CHECKING:
    from collections.abc import Coroutine

AGAIN = "; the webhook retries after 2 s"
TOO_MANY = (
    "too many look-ups of namespaces; retry later, or raise GENIE_MAX_LOOKUPS "
    "or GENIE_MAX_LOOKUPS_PER_SECOND"
)


class World:
    """Look-ups over namespaces that a test chooses, and a clock that it moves."""

    def __init__(self, *, max_running: int = 16, per_second: float = 1e9) -> None:
        self.now = 100.0
        self.namespaces: dict[str, Namespace] = {}
        self.error: Exception | None = None
        self.requests: list[str] = []
        self.go = asyncio.Event()
        self.go.set()
        self.lookups = NamespaceLookups(
            self._ask, max_running=max_running, per_second=per_second, clock=lambda: self.now
        )

    async def _ask(self, name: str) -> Namespace | None:
        self.requests.append(name)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return self.namespaces.get(name)

    def get(self, name: str) -> Namespace:
        """Look one up."""
        return asyncio.run(self.lookups.get(name))

    def outcomes(self, *coroutines: Coroutine[Any, Any, Namespace]) -> list[str]:
        """Run look-ups at one time; returns the names, or what was said instead."""

        async def run() -> list[Any]:
            self.go.clear()
            tasks = [asyncio.ensure_future(one) for one in coroutines]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.go.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

        result = asyncio.run(run())
        return [one.name if isinstance(one, Namespace) else str(one) for one in result]


def test_a_namespace_that_was_not_found_is_not_asked_for_again_for_some_seconds() -> None:
    """And not decided meanwhile: it may have been created since, with a default."""
    world = World()
    assert world.get("gone") == Namespace("gone")
    world.namespaces["gone"] = Namespace("gone", default="weave")
    world.now += REMEMBERED_SECONDS - 0.01
    with pytest.raises(NoDecisionError, match=f'namespace "gone" was not found 2.0 s ago{AGAIN}'):
        world.get("gone")
    world.now += 0.02
    assert world.get("gone").default == "weave"
    assert world.requests == ["gone", "gone"]


def test_a_namespace_that_is_younger_than_the_cache_is_asked_for_again() -> None:
    """Its pods come one after the other, and each is decided by what is true then."""
    world = World()
    world.namespaces["new"] = Namespace("new")
    assert world.get("new") == Namespace("new")
    world.namespaces["new"] = Namespace("new", default="weave")
    assert world.get("new").default == "weave"


def test_a_default_that_is_not_there_is_not_asked_for_again_for_some_seconds() -> None:
    """A label that is wrong would cost the API server a request for each pod."""
    world = World()
    world.namespaces["stale"] = Namespace("stale")
    asyncio.run(world.lookups.get_default("stale"))
    with pytest.raises(NoDecisionError, match=f'"stale" had no default network 0.0 s ago{AGAIN}'):
        asyncio.run(world.lookups.get_default("stale"))
    world.now += REMEMBERED_SECONDS
    world.namespaces["stale"] = Namespace("stale", default="weave")
    for _ in range(2):
        assert asyncio.run(world.lookups.get_default("stale")).default == "weave"


def test_reviews_of_one_namespace_share_a_look_up() -> None:
    """A hundred pods of a young namespace are one question."""
    world = World(max_running=1, per_second=1)
    world.namespaces["new"] = Namespace("new")
    coroutines = [world.lookups.get("new") for _ in range(100)]
    assert world.outcomes(*coroutines) == ["new"] * 100
    assert world.requests == ["new"]


def test_look_ups_at_one_time_are_limited() -> None:
    """A slow API server is not asked by hundreds of threads."""
    world = World(max_running=2)
    coroutines = [world.lookups.get(name) for name in "abc"]
    assert world.outcomes(*coroutines) == ["a", "b", TOO_MANY]


def test_look_ups_in_a_second_are_limited_for_all_together() -> None:
    """Whoever invents names without end costs the API server no more than this."""
    world = World(per_second=20)
    refused = 0
    for number in range(8000):
        world.now += 0.001
        try:
            world.get(f"n{number}")
        except NoDecisionError as error:
            assert str(error) == TOO_MANY  # noqa: PT017 - most are refused, and some are not
            refused += 1
    assert len(world.requests) == 8000 - refused
    assert 8 * 20 <= len(world.requests) <= 9 * 20


def test_a_look_up_without_an_answer_is_tried_again() -> None:
    """That the API server was away for a moment says nothing of the namespace."""
    world = World()
    world.error = NoDecisionError("no answer")
    with pytest.raises(NoDecisionError, match="no answer"):
        world.get("new")
    world.error = None
    world.namespaces["new"] = Namespace("new")
    assert world.get("new") == Namespace("new")


def test_names_without_end_fill_no_memory() -> None:
    """The oldest is forgotten first."""
    world = World()
    for number in range(MAX_REMEMBERED + 10):
        world.get(f"n{number}")
    assert len(world.lookups._missing) == MAX_REMEMBERED
    assert len(world.lookups._without_default) == MAX_REMEMBERED
    assert world.get("n0") == Namespace("n0")
    with pytest.raises(NoDecisionError):
        world.get(f"n{MAX_REMEMBERED}")


def test_who_goes_away_takes_no_look_up_from_the_others() -> None:
    """An API server gives up after five seconds; its other reviews still wait."""
    world = World()
    world.namespaces["new"] = Namespace("new")

    async def run() -> Namespace:
        world.go.clear()
        first = asyncio.ensure_future(world.lookups.get("new"))
        second = asyncio.ensure_future(world.lookups.get("new"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        world.go.set()
        return await second

    assert asyncio.run(run()) == Namespace("new")
