"""Hold the locks of a call for one container.

They are the container's own lock, and the shared lock that keeps a GC from running meanwhile.
"""

from __future__ import annotations

from dispatcher.state import lock, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dispatcher.plugin.call import Call


class ContainerLock:
    """Both locks, taken at once: ``with ContainerLock(call):``.

    Delegates that start inside inherit the container's lock. Raises :class:`CNIError` with code 11
    when a lock is not free in time, and OSError.
    """

    __slots__ = ("_against_gc", "_call", "_of_container")

    def __init__(self, call: Call) -> None:
        self._call = call
        store.make_dir(call.state_dir)
        deadline = call.deadline.for_lock
        self._against_gc = lock.acquire_gc_shared(call.state_dir, deadline)
        try:
            container_id = call.request.container_id
            self._of_container = lock.acquire_container(call.state_dir, container_id, deadline)
        except BaseException:
            self._against_gc.release()
            raise

    def __enter__(self) -> None:
        self._call.effects.run.lock = self._of_container

    def __exit__(self, *failure: object) -> None:
        call = self._call
        call.effects.run.lock = None
        has_record = store.exists(call.state_dir, call.request.container_id)
        self._of_container.release(unlink=not has_record)
        self._against_gc.release()
