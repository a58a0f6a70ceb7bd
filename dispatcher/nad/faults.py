"""A fault of an annotation that selects NetworkAttachmentDefinitions, with its place."""

from __future__ import annotations

from dispatcher.annotation import Fault
from dispatcher.jsontext import line_and_column

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class SelectionFault(Fault):
    """One fault, at ``offset`` (in characters) of the value, which is at ``line`` and ``column``.

    Lines and columns count from 1. ``brief`` is the fault without them, for readers who get the
    place in another way.
    """

    __slots__ = ("brief", "column", "line", "offset")

    def __init__(  # noqa: PLR0917 - as in Fault, and the place
        self,
        reason: str,
        position: int,
        value: str | None,
        expected: str,
        text: str,
        offset: int,
        field: str = "",
    ) -> None:
        """Set the place to *offset* in *text*; *field* is the key in the item, as JSON has it."""
        self.offset = offset
        self.line, self.column = line_and_column(text, offset)
        named = f"{field}: " if field else ""
        super().__init__(reason, position, value, named + expected)
        self.brief = super().__str__()

    def __str__(self) -> str:
        """Return the fault in the form that Kubernetes uses, with line and column."""
        return f"{self.brief} (line {self.line} column {self.column})"


class InvalidSelectionsError(ValueError):
    """The value does not follow the grammar; ``faults`` has every fault, in order."""

    def __init__(self, faults: Iterable[SelectionFault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))
