"""Divide the time of one call: for locks, for work, for a roll-back."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_RESERVE = 20 / 90
"""The part of the whole time that is kept for a roll-back, and the longest wait for a lock."""


class Deadline:
    """The deadlines of one call, as times of the monotonic *clock*.

    ``for_lock`` is the end of waiting for a lock, ``for_work`` the end of everything but a
    roll-back, and ``for_call`` the end of the call.
    """

    __slots__ = ("clock", "for_call", "for_lock", "for_work")

    def __init__(self, seconds: float, start: float, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.for_call = start + seconds
        self.for_lock = start + seconds * _RESERVE
        self.for_work = start + seconds * (1 - _RESERVE)

    def within(self, seconds: float) -> float:
        """Return the time *seconds* from now, but no later than the end of the call."""
        return min(self.clock() + seconds, self.for_call)

    def share(self, parts: int, end: float) -> float:
        """Divide the time left until *end* into *parts*; return when the first part ends."""
        now = self.clock()
        return now + (end - now) / parts
