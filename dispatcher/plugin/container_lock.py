"""Hold the locks of a call for one container.

They are the container's own lock, and the shared lock that keeps a GC from running meanwhile.
"""

from __future__ import annotations

from dispatcher.state import lock, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dispatcher.plugin.call import Call


class ContainerLock:
    """Both locks of *call*: ``with ContainerLock(call):``.

    The constructor creates ``stateDir`` and acquires both locks, the GC lock first. It raises
    :class:`CNIError` with code 11 when a lock is not free in time, and OSError. Delegates that
    start inside the block inherit the container's lock. Leaving the block releases both.
    """

    __slots__ = ("_call", "_container_lock", "_gc_lock")

    def __init__(self, call: Call) -> None:
        self._call = call
        store.make_dir(call.state_dir)
        deadline = call.deadline.for_lock
        self._gc_lock = lock.acquire_gc_shared(call.state_dir, deadline)
        try:
            container_id = call.request.container_id
            self._container_lock = lock.acquire_container(call.state_dir, container_id, deadline)
        except BaseException:
            self._gc_lock.release()
            raise

    def __enter__(self) -> None:
        self._call.effects.run.lock = self._container_lock

    def __exit__(self, *failure: object) -> None:
        call = self._call
        call.effects.run.lock = None
        # The file stays as long as the container has a record.
        has_record = store.exists(call.state_dir, call.request.container_id)
        self._container_lock.release(unlink=not has_record)
        self._gc_lock.release()
