"""One call of the plugin: what was asked, what it may use, how long it has.

How it works: :class:`Call` ties the judged request to the few things that have effects, each
made by ``main`` and replaceable in a test: the runner of delegates, the clocks, the state
directory. :class:`Deadline` divides the time of the whole call.
"""

from __future__ import annotations

from dispatcher import cni_errors, keys, networks
from dispatcher.cni_errors import CNIError
from dispatcher.plugin import plan
from dispatcher.plugin.chain import Chain
from dispatcher.state import journal, lock, store
from dispatcher.state.record import NewerRecordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, TypeVar

    from dispatcher.annotation import Selection
    from dispatcher.conf import Conf
    from dispatcher.plugin.delegate import Runner
    from dispatcher.plugin.genie_conf import GenieConf
    from dispatcher.plugin.libcni_cache import Cached
    from dispatcher.plugin.netlink import Namespace
    from dispatcher.plugin.request import Request
    from dispatcher.state.record import Attachment, Record

    T = TypeVar("T")

_RESERVE = 20 / 90
"""The part of the whole time that is kept for roll-back, and the most a lock is waited for."""


class Deadline:
    """The time of a call: ``of_lock``, ``of_work`` and ``of_all`` are monotonic times."""

    __slots__ = ("now", "of_all", "of_lock", "of_work")

    def __init__(self, seconds: float, start: float, clock: Callable[[], float]) -> None:
        self.now = clock
        self.of_all = start + seconds
        self.of_lock = start + seconds * _RESERVE
        self.of_work = start + seconds * (1 - _RESERVE)

    def within(self, seconds: float) -> float:
        """Return the time *seconds* from now, or the end if that is sooner."""
        return min(self.now() + seconds, self.of_all)

    def share(self, left: int, until: float) -> float:
        """Return when the next of *left* equal parts of the time to *until* is over."""
        now = self.now()
        return now + (until - now) / left


class Call:
    """One call. What changes a container's attachments happens in ``with call.locked():``."""

    __slots__ = (
        "ask_agent",
        "begun",
        "cache_dir",
        "complain",
        "conf",
        "deadline",
        "now",
        "open_namespace",
        "request",
        "run",
    )

    def __init__(
        self,
        request: Request,
        conf: GenieConf,
        *,
        run: Runner,
        deadline: Deadline,
        now: Callable[[], float],
        open_namespace: Callable[[str], Namespace],
        ask_agent: Callable[[str, str], str],
        complain: Callable[[str], None],
        cache_dir: str,
    ) -> None:
        self.request = request
        self.conf = conf
        self.run = run
        self.deadline = deadline
        self.now = now
        self.open_namespace = open_namespace
        self.ask_agent = ask_agent
        self.complain = complain
        self.cache_dir = cache_dir
        self.begun: list[dict[str, Any]] = []
        """What the journal says of the attachments that this call began."""

    @property
    def state_dir(self) -> str:
        """Where the records are."""
        return self.conf.settings.state_dir

    def selections(self) -> tuple[Selection, ...]:
        """Return what the pod's annotation, or the default, asks for. Raises CNIError.

        The agent is asked only for a pod whose runtime does not hand over annotations.
        """
        annotations = self.conf.annotations
        if annotations is None:
            agent = self.conf.settings.agent_socket
            asked = self.ask_agent(agent, self.request.args) if agent else ""
            annotations = {keys.ANNOTATION: asked}
        return plan.select(annotations, self.conf.settings.default)

    def plan(self, selections: tuple[Selection, ...]) -> list[Attachment]:
        """Return the attachments that *selections* are on this node. Raises CNIError."""
        return plan.attachments(
            selections,
            interface=self.request.interface,
            args=self.request.args,
            runtime_config=self.conf.runtime_config,
            find=self.find,
        )

    def refuse_excess(self, planned: list[Attachment]) -> None:
        """Refuse a static pod that is over the cluster's limits. Raises CNIError.

        The API server admits every other pod, within the limits of its namespace.
        """
        source = (self.conf.annotations or {}).get(keys.CONFIG_SOURCE, "api")
        if source != "api":
            settings = self.conf.settings
            plan.refuse_excess(
                planned,
                max_attachments=settings.max_attachments,
                max_per_network=settings.max_per_network,
            )

    def find(self, network: str) -> Conf:
        """Return the configuration of *network*.

        Raises UnknownNetworkError and InvalidConfError.
        """
        return networks.find(network, self.conf.settings.conf_dirs)

    def chain(self, meanwhile: Callable[[], None] | None = None) -> Chain:
        """Return what carries commands out for the container of this call."""
        return Chain(self.run, self.request.container_id, self.request.netns, meanwhile)

    def read_record(self, container_id: str) -> Record | None:
        """Return a container's record, None if there is none. Its lock is held.

        Raises CNIError with code 11 for one of a later version, CorruptRecordError and OSError.
        """
        try:
            made = store.read(self.state_dir, container_id)
            if made is None and store.commit_staged(self.state_dir, container_id):
                made = store.read(self.state_dir, container_id)
            return made
        except NewerRecordError as error:
            path = store.path_of(self.state_dir, container_id)
            raise CNIError(
                cni_errors.TRY_AGAIN,
                f"{path} cannot be used: {error}",
                "upgrade Genie on this node",
            ) from None

    def cached(self) -> Cached | None:
        """Return what was attached to the container before Genie came to the node, if anything."""
        from dispatcher.plugin import libcni_cache

        request, conf_dirs = self.request, self.conf.settings.conf_dirs
        return libcni_cache.find(self.cache_dir, conf_dirs, request.container_id, request.interface)

    def carry_out(
        self, deed: Callable[[Attachment, float], T], attachment: Attachment, until: float
    ) -> T:
        """Return what *deed* returns, and note for the journal how it went."""
        start = self.deadline.now()
        code = cni_errors.IO_FAILURE  # the system's own, as of a disk that is full
        try:
            done = deed(attachment, until)
        except CNIError as error:
            code = error.code
            raise
        else:
            code = 0
            return done
        finally:
            seconds = self.deadline.now() - start
            self.begun.append(
                journal.attachment_entry(attachment.network, attachment.interface, seconds, code)
            )

    def locked(self) -> Locked:
        """Take the container's lock, for a ``with`` block. Raises CNIError, OSError."""
        store.make_dir(self.state_dir)
        return Locked(self)


class Locked:
    """The locks that a call for one container holds; left behind, they are released."""

    __slots__ = ("_against_gc", "_call", "_of_container")

    def __init__(self, call: Call) -> None:
        self._call = call
        state_dir, until = call.state_dir, call.deadline.of_lock
        self._against_gc = lock.acquire_gc_shared(state_dir, until)
        try:
            self._of_container = lock.acquire_container(state_dir, call.request.container_id, until)
        except BaseException:
            self._against_gc.release()
            raise

    def __enter__(self) -> None:
        self._call.run.lock = self._of_container

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call.run.lock = None
        kept = store.exists(self._call.state_dir, self._call.request.container_id)
        self._of_container.release(unlink=not kept)
        self._against_gc.release()
