"""Read JSON with the place of each value, in order to report faults.

:mod:`dispatcher.jsontext` reads faster, but tells no places. This module reads the same texts with
the same limits, and also texts in which a key stands twice in an object: it reports each such key,
and the last one counts. The scanner of the other module reads strings, numbers and words.

Rules of this file: any text is either read or refused with :class:`MisplacedJSONError`.
"""

from __future__ import annotations

from dispatcher import jsontext
from dispatcher.jsontext import BLANKS, InvalidJSONError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Path = tuple[str | int, ...]
    """The keys and list indexes that lead to a value."""


class MisplacedJSONError(InvalidJSONError):
    """The text is not JSON at ``offset``; ``str()`` is the reason."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset


class PlacedJSON:
    """A value, and the offset in the text of each value and key in it.

    ``key_offsets`` has the path of the value that belongs to the key. ``repeated`` has the path and
    the offset of each key that stands in its object already.
    """

    __slots__ = ("key_offsets", "offsets", "repeated", "value")

    def __init__(self, text: str, depth: int) -> None:
        """Read *text*, which may have *depth* levels. Raises :class:`MisplacedJSONError`."""
        reader = _Reader(text, depth)
        self.value, end = reader.value(reader.skip(0), ())
        self.offsets = reader.offsets
        self.key_offsets = reader.key_offsets
        self.repeated = reader.repeated

        end = reader.skip(end)
        if end < len(text):
            raise MisplacedJSONError(end, jsontext.NOTHING_EXPECTED)


class _Reader:
    """Reads a text; its methods get an index and return the one behind what they have read."""

    def __init__(self, text: str, depth: int) -> None:
        self.text = text
        self.depth = depth
        self.offsets: dict[Path, int] = {}
        self.key_offsets: dict[Path, int] = {}
        self.repeated: list[tuple[Path, int]] = []

    def value(self, index: int, path: Path) -> tuple[Any, int]:
        self.offsets[path] = index
        read = {"{": self._object, "[": self._list}.get(self.text[index : index + 1])
        if read is None:
            return self._scalar(index)
        if len(path) >= self.depth:
            raise MisplacedJSONError(index, jsontext.too_deep(self.depth))
        return read(index, path)

    def skip(self, index: int) -> int:
        """Return the index of the next character that is not blank."""
        while index < len(self.text) and self.text[index] in BLANKS:
            index += 1
        return index

    def _object(self, index: int, path: Path) -> tuple[dict[str, Any], int]:
        members: dict[str, Any] = {}
        index = self.skip(index + 1)
        if self.text.startswith("}", index):
            return members, index + 1

        while True:
            key, end = self._key(index)
            member = (*path, key)
            if key in members:
                self.repeated.append((member, index))
            self.key_offsets[member] = index
            _, index = self._next(end, ":")
            members[key], index = self.value(self.skip(index), member)
            mark, index = self._next(index, ",}")
            if mark == "}":
                return members, index
            index = self.skip(index)

    def _list(self, index: int, path: Path) -> tuple[list[Any], int]:
        items: list[Any] = []
        index = self.skip(index + 1)
        if self.text.startswith("]", index):
            return items, index + 1

        while True:
            item, index = self.value(self.skip(index), (*path, len(items)))
            items.append(item)
            mark, index = self._next(index, ",]")
            if mark == "]":
                return items, index

    def _key(self, index: int) -> tuple[str, int]:
        if not self.text.startswith('"', index):
            raise MisplacedJSONError(index, "a key in double quotes is expected")
        return self._scalar(index)

    def _next(self, index: int, marks: str) -> tuple[str, int]:
        """Return the next character, which must be one of *marks*."""
        index = self.skip(index)
        char = self.text[index : index + 1]
        if not char or char not in marks:
            expected = " or ".join(f'"{mark}"' for mark in marks)
            raise MisplacedJSONError(index, f"{expected} is expected")
        return char, index + 1

    def _scalar(self, index: int) -> tuple[Any, int]:
        try:
            return jsontext.scan(self.text, index)
        except StopIteration as stop:
            raise MisplacedJSONError(stop.value, jsontext.VALUE_EXPECTED) from None
        except InvalidJSONError as error:
            raise MisplacedJSONError(index, str(error)) from None
        except ValueError as error:  # json.JSONDecodeError, without its import
            offset, reason = getattr(error, "pos", index), getattr(error, "msg", str(error))
            reason = reason.removesuffix(" at").removesuffix(" starting")
            raise MisplacedJSONError(offset, reason) from None
