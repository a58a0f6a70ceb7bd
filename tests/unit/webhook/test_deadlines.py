"""Deadlines: one timer for all members."""

from __future__ import annotations

import asyncio

from webhook.deadlines import Deadlines


def test_members_expire_in_their_order_unless_they_leave() -> None:
    """Each after its own time, also those that came while the timer ran."""

    async def scene() -> list[str]:
        expired: list[str] = []
        deadlines = Deadlines(0.1, expired.append)
        deadlines.add("a")
        deadlines.add("b")
        assert deadlines.oldest == "a"
        await asyncio.sleep(0.05)
        deadlines.add("c")
        deadlines.discard("b")
        deadlines.discard("nobody")
        assert len(deadlines) == 2
        await asyncio.sleep(0.08)
        assert expired == ["a"]
        assert "c" in deadlines
        await asyncio.sleep(0.1)
        assert not len(deadlines)
        return expired

    assert asyncio.run(scene()) == ["a", "c"]


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
