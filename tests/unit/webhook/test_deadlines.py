"""Deadlines: one timer for all members."""

from __future__ import annotations

import asyncio

from webhook.deadlines import Deadlines


def test_members_expire_in_their_order_unless_they_leave() -> None:
    """Each after its own time, also those that came while the timer ran."""

    async def scene() -> list[tuple[str, bool]]:
        now = asyncio.get_running_loop().time
        since: dict[str, float] = {}
        expired: list[tuple[str, bool]] = []

        def expire(name: str) -> None:
            expired.append((name, now() - since[name] > 0.099))

        deadlines = Deadlines(0.1, expire)
        since["a"] = now()
        deadlines.add("a")
        deadlines.add("b")
        assert deadlines.oldest == "a"
        deadlines.discard("b")
        deadlines.discard("nobody")
        assert len(deadlines) == 1
        await asyncio.sleep(0.05)
        since["c"] = now()
        deadlines.add("c")
        assert "c" in deadlines
        async with asyncio.timeout(30):
            while len(deadlines):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        return expired

    assert asyncio.run(scene()) == [("a", True), ("c", True)]


def test_a_new_member_starts_the_timer_again() -> None:
    """After all others have gone."""

    async def scene() -> list[str]:
        expired: list[str] = []
        deadlines = Deadlines(0.01, expired.append)
        for name in ("a", "b"):
            deadlines.add(name)
            await asyncio.sleep(0.05)
        return expired

    assert asyncio.run(scene()) == ["a", "b"]
