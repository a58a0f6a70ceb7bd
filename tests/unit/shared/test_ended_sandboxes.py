"""Ended sandboxes of a benchmark's pods are removed as the kubelet does it.

The runtime is a fake: it exists to record the requests, and to refuse one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.reaper import cri
from tests.bench import ended_sandboxes
from tests.devcluster.commands import ClusterError

SOCKET = Path("/run/containerd/containerd.sock")
FIRST, SECOND = "a" * 64, "b" * 64


def field(number: int, value: bytes) -> bytes:
    """Encode one field of protobuf that is bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


def item(sandbox: str, uid: str) -> bytes:
    """Encode an item of a ListPodSandboxResponse."""
    metadata = field(1, b"pod") + field(2, uid.encode())
    return field(1, field(1, sandbox.encode()) + field(2, metadata) + b"\x18\x01")


class FakeRuntime:
    """Has two ended sandboxes; records the requests.

    It refuses the method *refused* so many *times*.
    """

    def __init__(self, refused: str = "", times: int = 1000) -> None:
        self.calls: list[tuple[str, bytes]] = []
        self._refused = refused
        self._refusals = times

    def __call__(self, socket: Path, method: str, request: bytes, seconds: float = 10) -> bytes:
        """Answer one call."""
        assert (socket, seconds > 0) == (SOCKET, True)
        name = method.rpartition("/")[2]
        if name == self._refused and self._refusals:
            self._refusals -= 1
            raise cri.CRIError("refused")
        if name == "ListPodSandbox":
            assert request == field(1, field(2, b"\x08\x01"))  # in the state NOTREADY
            return item(FIRST, "uid-1") + item(SECOND, "uid-2")
        self.calls.append((name, request))
        return b""


def test_the_sandbox_of_a_deleted_pod_is_stopped_once_more_and_removed() -> None:
    """At the end of the block both requests were made, and none for other pods."""
    runtime = FakeRuntime()
    with ended_sandboxes.removal(SOCKET, runtime) as remove:
        remove({"metadata": {"uid": "uid-2"}})
        remove({"metadata": {"uid": "uid-3"}})  # the runtime has forgotten it
    request = field(1, SECOND.encode())
    assert runtime.calls == [("StopPodSandbox", request), ("RemovePodSandbox", request)]


@pytest.mark.parametrize("refused", ["ListPodSandbox", "RemovePodSandbox"])
def test_a_request_that_fails_ends_the_benchmark(refused: str) -> None:
    """Otherwise its work would be missing in the figures."""
    removal = ended_sandboxes.removal(SOCKET, FakeRuntime(refused), lambda _: None)
    with pytest.raises(ClusterError, match="cannot be removed: refused"), removal as remove:
        remove({"metadata": {"uid": "uid-1"}})


def test_a_sandbox_whose_container_the_kubelet_is_removing_is_removed_later() -> None:
    """The runtime refuses meanwhile; the sandbox is stopped only once."""
    runtime = FakeRuntime("RemovePodSandbox", times=2)
    pauses: list[float] = []
    with ended_sandboxes.removal(SOCKET, runtime, pauses.append) as remove:
        remove({"metadata": {"uid": "uid-1"}})
    assert [name for name, _ in runtime.calls] == ["StopPodSandbox", "RemovePodSandbox"]
    assert pauses == [ended_sandboxes.PAUSE] * 2
