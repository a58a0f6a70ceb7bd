"""Collect the problems of a JSON value, each with its path in the value."""

from __future__ import annotations

from dispatcher.annotation import DUPLICATE, INVALID, REQUIRED, UNSUPPORTED, closest_name, quote
from dispatcher.jsontext import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from dispatcher.nad.json_places import Path

MAX_FAULTS = 64
"""Limit of the faults that are reported of one value."""

_LONGEST_KEY = 32  # that is compared with the known keys
_SHOWN = 65  # characters of a value; a message quotes 64 of them


class Problem:
    """One fault at ``path`` of the JSON value; ``is_key`` if the key itself is at fault.

    ``offset`` is None unless the path does not tell the place.
    """

    __slots__ = ("expected", "is_key", "offset", "path", "reason", "value")

    def __init__(
        self,
        path: Path,
        reason: str,
        value: str | None,
        expected: str,
        *,
        is_key: bool = False,
        offset: int | None = None,
    ) -> None:
        self.path = path
        self.reason = reason
        self.value = value
        self.expected = expected
        self.is_key = is_key
        self.offset = offset


class Report:
    """The problems of one value, at most :data:`MAX_FAULTS`; ``has_more`` tells whether more."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.has_more = False

    def invalid(self, path: Path, value: Any, expected: str, reason: str = INVALID) -> None:
        """Report that *value*, at *path*, is not as *expected*."""
        if self._drop():
            return
        text = value if isinstance(value, str) else dump(value).decode()
        self._add(Problem(path, reason, text[:_SHOWN], expected))

    def missing(self, path: Path, expected: str) -> None:
        """Report that the object at *path* lacks a key."""
        self._add(Problem(path, REQUIRED, None, expected))

    def key(self, path: Path, expected: str, reason: str = INVALID) -> None:
        """Report the key at the end of *path*."""
        self._add(Problem(path, reason, str(path[-1])[:_SHOWN], expected, is_key=True))

    def unknown_key(self, path: Path, known: Collection[str], rule: str) -> None:
        """Report the key at the end of *path*, which is none of *known*."""
        if self._drop():  # to look for the nearest name is the expensive part
            return
        key = str(path[-1])
        near = closest_name(key, known) if len(key) <= _LONGEST_KEY else None
        hint = f" (did you mean {quote(near)}?)" if near else ""
        self.key(path, f"unknown key{hint}; {rule}", UNSUPPORTED)

    def repeated_key(self, path: Path, offset: int) -> None:
        """Report the key at the end of *path*, which stands at *offset* for the second time."""
        expected = "the key stands twice in one object: remove one"
        key = str(path[-1])[:_SHOWN]
        self._add(Problem(path, DUPLICATE, key, expected, is_key=True, offset=offset))

    def _drop(self) -> bool:
        """Tell whether the next problem has no room; ``has_more`` keeps that there was one."""
        self.has_more = self.has_more or len(self.problems) >= MAX_FAULTS
        return self.has_more

    def _add(self, problem: Problem) -> None:
        if not self._drop():
            self.problems.append(problem)
