"""Create pod sandboxes through CRI, as the kubelet does, when a test needs many.

For CNI, a sandbox is a pod: a network namespace for which the runtime calls the plugin. Without
containers and without the kubelet, a hundred sandboxes take seconds. The kubelet must not run
meanwhile, since it removes sandboxes that are not in the API.

The requests are protobuf over gRPC, sent with the reaper's client. Field numbers are those of
cri-api's api.proto.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from dispatcher.reaper import cri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.devcluster.node.node import Node

RUN = "/runtime.v1.RuntimeService/RunPodSandbox"
STOP = "/runtime.v1.RuntimeService/StopPodSandbox"
REMOVE = "/runtime.v1.RuntimeService/RemovePodSandbox"
STATUS = "/runtime.v1.RuntimeService/Status"
SOCKET = "/run/containerd/containerd.sock"
AT_ONCE = 4
SECONDS = 120.0
"""Deadline of one request, in seconds; on a busy machine all of them compete."""


def describe(node: Node) -> str:
    """Return the runtime's verbose status, which has its CNI configuration. Raises CRIError."""
    verbose = b"\x08\x01"
    return cri.call(node.path(SOCKET), STATUS, verbose).decode(errors="replace")


def run(node: Node, name: str, annotations: Mapping[str, str] | str) -> str:
    """Create a sandbox for a pod with *annotations*; return its id. Raises CRIError.

    A text is the value of the annotation ``cni``.
    """
    if isinstance(annotations, str):
        annotations = {"cni": annotations}
    answer = cri.call(node.path(SOCKET), RUN, request(node, name, annotations), seconds=SECONDS)
    [sandbox] = [value for number, value in cri.fields(answer) if number == 1]
    return sandbox.decode()


def run_many(node: Node, names: list[str], networks: str) -> list[str]:
    """Create a sandbox for each of *names*; return their ids."""
    with ThreadPoolExecutor(AT_ONCE) as executor:
        return list(executor.map(lambda name: run(node, name, networks), names))


def end_many(node: Node, ids: list[str]) -> None:
    """Stop and remove sandboxes, as the kubelet does after a pod is deleted."""

    def end(sandbox: str) -> None:
        for method in (STOP, REMOVE):
            cri.call(node.path(SOCKET), method, _field(1, sandbox.encode()), seconds=SECONDS)

    with ThreadPoolExecutor(AT_ONCE) as executor:
        list(executor.map(end, ids))


def request(node: Node, name: str, annotations: Mapping[str, str]) -> bytes:
    """Return a RunPodSandboxRequest."""
    pod = {"name": name, "uid": f"uid-{name}", "namespace": "sandboxes"}
    labels = {f"io.kubernetes.pod.{key}": value for key, value in pod.items()}
    config = (
        _field(1, b"".join(_field(n, value.encode()) for n, value in enumerate(pod.values(), 1)))
        + _field(2, name.encode())
        + _field(3, f"/var/log/pods/{name}".encode())
        + _map(6, labels)
        + _map(7, annotations)
        + _field(8, _field(1, node.layout.cgroup.encode()))
    )
    return _field(1, config)


def _map(number: int, items: Mapping[str, str]) -> bytes:
    pairs = (_field(1, key.encode()) + _field(2, value.encode()) for key, value in items.items())
    return b"".join(_field(number, pair) for pair in pairs)


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
