"""Runs the servers of :mod:`tests.bench.webhook`, each as a process of its own on one core."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from dispatcher import keys
from tests.bench import kube_api
from tests.devcluster.build import gobuild
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

OBJECTS = 5000
LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def _process(
    command: list[str], port: int, core: int | None, address: str = LOOPBACK
) -> Iterator[tuple[int, int]]:
    """Run a server on one core, or on all; yield its process id and port."""
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    process = subprocess.Popen([*pinned, *command], stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection((address, port)):
                break
            time.sleep(0.1)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def ours(
    what: str, folder: Path, core: int, python: Sequence[str] = (sys.executable,)
) -> Iterator[tuple[int, int]]:
    """Run the echo, its route or the webhook behind our server, with the command *python*.

    The webhook's caches hold :data:`OBJECTS` namespaces with a default, and as many nodes.
    """
    port = free_port()
    command = [*python, "-m", "tests.bench.webhook_server", what, str(port), str(folder)]
    with contextlib.ExitStack() as stack:
        if what == "webhook":
            api = kube_api.running({keys.ANNOTATION: "net1,net2"}, "", objects=OBJECTS)
            command.append(stack.enter_context(api).address)
        yield stack.enter_context(_process(command, port, core))


def peer(
    folder: Path, core: int | None = None, address: str = LOOPBACK
) -> contextlib.AbstractContextManager[tuple[int, int]]:
    """Run the webhook in Go, with the certificate in FOLDER/leaf.pem."""
    port = free_port()
    program = gobuild.build(gobuild.WEBHOOK_PEER) / "webhook"
    command = [str(program), f"{address}:{port}", str(folder / "leaf.pem")]
    return _process(command, port, core, address)
