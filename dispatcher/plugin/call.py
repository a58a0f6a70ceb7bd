"""One call for a container: what was asked, what it may use, how long it has.

How it works: :class:`Call` ties the judged request to the few things that have effects, each
made by ``main`` and replaceable in a test: the runner of delegates, the clocks, the state
directory. :class:`Deadline` divides the time of the whole call.
"""

from __future__ import annotations

from dispatcher import networks
from dispatcher.plugin import errors, lock, plan, record
from dispatcher.plugin.chain import Chain
from dispatcher.plugin.errors import CNIError
from dispatcher.plugin.result import is_default

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from dispatcher.plugin.chain import Run
    from dispatcher.plugin.record import Attachment, Record
    from dispatcher.plugin.request import OwnConf, Request

_RESERVE = 20 / 90
"""The part of the whole time that is kept for roll-back, and the most a lock is waited for."""


class Deadline:
    """The time of a call: ``of_lock``, ``of_work`` and ``of_all`` are monotonic times."""

    __slots__ = ("_clock", "of_all", "of_lock", "of_work")

    def __init__(self, seconds: float, start: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.of_all = start + seconds
        self.of_lock = start + seconds * _RESERVE
        self.of_work = start + seconds * (1 - _RESERVE)

    def share(self, left: int) -> float:
        """Return until when the next of *left* equal parts of the rest may last."""
        now = self._clock()
        return now + (self.of_all - now) / left


class Call:
    """One ADD, DEL or CHECK. Used as ``with call.locked():`` around everything it does."""

    __slots__ = (
        "_complain",
        "_locks",
        "_remove_routes",
        "chain",
        "conf",
        "deadline",
        "now",
        "request",
    )

    def __init__(
        self,
        request: Request,
        conf: OwnConf,
        *,
        run: Run,
        deadline: Deadline,
        now: Callable[[], float],
        remove_routes: Callable[[str, str], None],
        complain: Callable[[str], None],
    ) -> None:
        self.request = request
        self.conf = conf
        self.chain = Chain(run, request.container_id, request.netns)
        self.deadline = deadline
        self.now = now
        self._remove_routes = remove_routes
        self._complain = complain
        self._locks: lock.Locks | None = None

    @property
    def state_dir(self) -> str:
        """Where the records are."""
        return self.conf.settings.state_dir

    def plan(self) -> list[Attachment]:
        """Return what the pod's annotation, or the default, asks for. Raises CNIError."""
        settings = self.conf.settings
        return plan.attachments(
            plan.select(self.conf.annotations or {}, settings.default),
            interface=self.request.interface,
            args=self.request.args,
            runtime_config=self.conf.runtime_config,
            find=lambda name: networks.find(name, settings.conf_dirs),
        )

    def read_record(self) -> Record | None:
        """Return the container's record, None if there is none. Raises CNIError, OSError."""
        container_id = self.request.container_id
        try:
            return record.read(self.state_dir, container_id)
        except record.NewerRecord as error:
            path = record.path_of(self.state_dir, container_id)
            raise CNIError(
                errors.TRY_AGAIN, f"{path} cannot be used: {error}", "upgrade Genie on this node"
            ) from None
        except record.CorruptRecord as error:
            aside = record.set_aside(self.state_dir, container_id)
            self._complain(f"a corrupt record was moved to {aside}: {error}")
            return None

    def remove_default_routes(self, attachment: Attachment) -> None:
        """Take the default routes that *attachment* brought out of the pod."""
        routes = attachment.result["routes"] if attachment.result else []
        if any(map(is_default, routes)):
            self._remove_routes(self.request.netns, attachment.interface)

    def complain(self, sentence: str) -> None:
        """Say *sentence* on standard error."""
        self._complain(sentence)

    def locked(self) -> Call:
        """Take the container's lock for a ``with`` block. Raises CNIError, OSError."""
        lock.make_state_dir(self.state_dir)
        self._locks = lock.Locks(self.state_dir, self.request.container_id, self.deadline.of_lock)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._locks is not None:
            forget = not record.exists(self.state_dir, self.request.container_id)
            self._locks.release(forget=forget)
            self._locks = None
