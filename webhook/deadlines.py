"""Deadlines of many things that all have the same time: one timer, instead of one for each.

A request has three deadlines, and nearly always meets them. A timer of the event loop for each
would cost as much as to parse the request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Members, oldest first; *expire* is called with each that stays for *seconds*.

    A member may have left before that, and *expire* must make it leave.
    """

    def __init__(self, seconds: float, expire: Callable[[T], None]) -> None:
        self._seconds = seconds
        self._expire = expire
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, member: object) -> bool:
        return member in self._due

    @property
    def oldest(self) -> T:
        """The member that came first."""
        return next(iter(self._due))

    def add(self, member: T) -> None:
        """Start the time of *member*, which is not one yet."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._seconds
        self._due[member] = due
        if self._timer is None:
            self._timer = loop.call_at(due, self._expire_due)

    def discard(self, member: T) -> None:
        """Stop the time of *member*, if it is one."""
        self._due.pop(member, None)

    def _expire_due(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        for member, due in list(self._due.items()):
            if due > loop.time():
                self._timer = loop.call_at(due, self._expire_due)
                return
            self.discard(member)
            self._expire(member)
