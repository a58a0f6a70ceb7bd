"""Remove the sandboxes of pods that are gone, as the kubelet does, but at once.

The kubelet removes ended sandboxes once a minute, all in one burst. For each it asks the runtime to
stop the sandbox once more and to remove it, and each of the two requests is one more DEL of the
pod's networks. If a benchmark compares setups in turns of seconds, such a burst falls into any of
them, and most of it is work for pods of another. Here the same two requests follow as soon as a pod
is gone, so each turn has this work for its own pods, and the kubelet finds nothing to remove.
"""

from __future__ import annotations

import contextlib
import functools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dispatcher.reaper import cri
from tests.devcluster.commands import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

SERVICE = "/runtime.v1.RuntimeService"

NOT_READY = b"\x0a\x04\x12\x02\x08\x01"
"""A ListPodSandboxRequest: {filter = 1: {state = 2: {state = 1: SANDBOX_NOTREADY}}}."""

DEL_SECONDS = 120.0
"""What the kubelet gives a DEL."""

ATTEMPTS, PAUSE = 10, 0.5
"""The runtime refuses to remove a sandbox while the kubelet removes its container: try again, after
so many seconds."""


@contextlib.contextmanager
def removal(
    socket: Path,
    call: Callable[..., bytes] = cri.call,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a function that removes the sandboxes of a deleted pod, one pod after another.

    It does not wait; the end of the block does. Raises ClusterError there if a request has failed.
    """
    with ThreadPoolExecutor(1) as executor:
        calls = []
        runtime = functools.partial(call, socket)
        yield lambda pod: calls.append(executor.submit(_remove, runtime, sleep, pod))
    for each in calls:
        each.result()


def _remove(
    runtime: Callable[..., bytes], sleep: Callable[[float], None], pod: Mapping[str, Any]
) -> None:
    try:
        ended = runtime(cri.METHOD, NOT_READY)
        for sandbox, uid in zip(cri.sandbox_ids(ended), cri.pod_uids(ended), strict=True):
            if uid == pod["metadata"]["uid"]:
                request = b"\x0a" + bytes([len(sandbox)]) + sandbox.encode()  # {pod_sandbox_id = 1}
                runtime(f"{SERVICE}/StopPodSandbox", request, DEL_SECONDS)
                _remove_sandbox(runtime, sleep, request)
    except cri.CRIError as error:
        raise ClusterError(f"an ended sandbox cannot be removed: {error}") from None


def _remove_sandbox(
    runtime: Callable[..., bytes], sleep: Callable[[float], None], request: bytes
) -> None:
    """Raise CRIError if the runtime still refuses *request* at the last attempt."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            runtime(f"{SERVICE}/RemovePodSandbox", request, DEL_SECONDS)
        except cri.CRIError:
            if attempt == ATTEMPTS:
                raise
            sleep(PAUSE)
        else:
            return
