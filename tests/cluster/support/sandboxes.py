"""Create pod sandboxes through CRI, as the kubelet does, when a test needs many.

For CNI, a sandbox is a pod: a network namespace for which the runtime calls the plugin. Without
containers and without the kubelet, a hundred sandboxes take seconds. The kubelet must not run
meanwhile, since it removes sandboxes that are not in the API.

The requests are protobuf over gRPC, sent with the reaper's client. Field numbers are those of
cri-api's api.proto.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.reaper import cri

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

RUN = "/runtime.v1.RuntimeService/RunPodSandbox"
STOP = "/runtime.v1.RuntimeService/StopPodSandbox"
REMOVE = "/runtime.v1.RuntimeService/RemovePodSandbox"
STATUS = "/runtime.v1.RuntimeService/Status"
SOCKET = "/run/containerd/containerd.sock"
AT_ONCE = 4
SECONDS = 120.0
"""Deadline of one request, in seconds; on a busy machine all of them compete."""


@contextlib.contextmanager
def no_kubelet(cluster: Cluster, node: Node) -> Iterator[None]:
    """Stop the kubelet, which would remove sandboxes that are not in the API."""
    node.stop("kubelet")
    try:
        yield
    finally:
        node.start("kubelet")
        ready = ("wait", "--for=condition=Ready", f"node/{node.name}", "--timeout=10s")
        cluster.wait_for(
            lambda: cluster.kubectl(*ready, check=False).returncode == 0, 120, "the node"
        )


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


def run_and_kill(node: Node, name: str, annotations: Mapping[str, str], seconds: float) -> bool:
    """Create a sandbox; kill the plugin with SIGKILL *seconds* after its ADD has begun.

    Return whether that came before the end of the ADD. Otherwise the sandbox is removed again.
    """
    with ThreadPoolExecutor(1) as executor:
        created = executor.submit(run, node, name, annotations)
        plugin = _begun_add(node, created)
        if plugin is not None:
            time.sleep(seconds)  # the instant, not a wait for something
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(plugin, signal.SIGKILL)
            os.close(plugin)
        try:
            sandbox = created.result()
        except cri.CRIError:
            if plugin is None:  # nothing was killed
                raise
            return True
    end_many(node, [sandbox])
    return False


def _begun_add(node: Node, created: Future[str]) -> int | None:
    """Wait until the runtime calls the plugin for an ADD; return a descriptor of the process.

    None: the ADD has ended already. On a busy machine it may end before this process sees it.
    """
    threads = Path(f"/proc/{node.services['containerd'].pid()}/task")
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and not created.done():
        for thread in threads.iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # either may end
                for child in (thread / "children").read_text().split():
                    variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
                    if {b"CNI_COMMAND=ADD", b"CNI_IFNAME=eth0"} <= set(variables):
                        return os.pidfd_open(int(child))
    if created.done():
        return None
    raise TimeoutError("the runtime has called no ADD")


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
