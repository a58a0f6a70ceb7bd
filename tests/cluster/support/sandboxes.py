"""Sandboxes made through CRI directly, as kubelet makes them, for nodes that need many at once.

A sandbox is what a pod is to CNI: a network namespace that the plugin is called for. Without
containers and without a kubelet that looks after them, a hundred of them take seconds. kubelet
must be stopped meanwhile, since it ends what is not in the API; started again, it frees them.

The request is protobuf over gRPC, which the agent's own small client carries; the numbers below
are those of cri-api's api.proto.
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
"""How long one may take; on a busy machine all of them compete."""


def describe(node: Node) -> str:
    """Return what the runtime says of itself, its CNI configuration among it. Raises CRIError."""
    verbose = b"\x08\x01"
    return cri.call(node.path(SOCKET), STATUS, verbose).decode(errors="replace")


def run(node: Node, name: str, networks: str) -> str:
    """Make a sandbox whose pod asks for *networks*; returns its id. Raises CRIError."""
    answer = cri.call(node.path(SOCKET), RUN, request(node, name, networks), seconds=SECONDS)
    [sandbox] = [value for number, value in cri.fields(answer) if number == 1]
    return sandbox.decode()


def run_many(node: Node, names: list[str], networks: str) -> list[str]:
    """Make a sandbox for each of *names*; returns their ids."""
    with ThreadPoolExecutor(AT_ONCE) as together:
        return list(together.map(lambda name: run(node, name, networks), names))


def end_many(node: Node, ids: list[str]) -> None:
    """Stop and remove sandboxes, as kubelet does with those of pods that are gone."""

    def end(sandbox: str) -> None:
        for method in (STOP, REMOVE):
            cri.call(node.path(SOCKET), method, _field(1, sandbox.encode()), seconds=SECONDS)

    with ThreadPoolExecutor(AT_ONCE) as together:
        list(together.map(end, ids))


def request(node: Node, name: str, networks: str) -> bytes:
    """Return a RunPodSandboxRequest."""
    pod = {"name": name, "uid": f"uid-{name}", "namespace": "sandboxes"}
    labels = {f"io.kubernetes.pod.{key}": value for key, value in pod.items()}
    config = (
        _field(1, b"".join(_field(n, value.encode()) for n, value in enumerate(pod.values(), 1)))
        + _field(2, name.encode())
        + _field(3, f"/var/log/pods/{name}".encode())
        + _map(6, labels)
        + _map(7, {"cni": networks})
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
