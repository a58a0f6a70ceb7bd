"""Time the operations on attachments, for the journal."""

from __future__ import annotations

from dispatcher.cni_errors import IO_FAILURE, CNIError
from dispatcher.state import journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from dispatcher.state.record import Attachment

    T = TypeVar("T")


class Timings:
    """The operations of one call: ``entries`` has the journal's entry for each, in order."""

    __slots__ = ("_clock", "entries")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.entries: list[dict[str, Any]] = []

    def measure(
        self, operation: Callable[[Attachment, float], T], attachment: Attachment, deadline: float
    ) -> T:
        """Run *operation*, and add an entry with its duration and code. Return its result."""
        start = self._clock()
        code = IO_FAILURE  # for an OSError of our own, such as a full disk

        try:
            result = operation(attachment, deadline)
        except CNIError as error:
            code = error.code
            raise
        else:
            code = 0
            return result
        finally:
            seconds = self._clock() - start
            self.entries.append(
                journal.attachment_entry(attachment.network, attachment.interface, seconds, code)
            )
