"""``python -m tests.bench.webhook``: measure an answer of the webhook beside a bare ASGI echo.

Both are processes of their own behind the same server code and TLS settings, on one core (the
client is on another, where there is one). Rounds alternate between the echo and each kind of
review. A rate is requests per second *of the server's processor time*, so that a busy machine
disturbs the ratio little; the latency at half load is wall-clock time and is disturbed.
The webhook's caches hold 5,000 namespaces and 5,000 nodes, from a stand-in for the API server.

Then :mod:`tests.bench.creation` measures what is added to a pod's creation on a live cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme

from dispatcher.kube import logs
from tests.bench import page
from tests.unit.apiserver import Api, namespace_object, node_object
from tests.unit.webhook.builders import envelope, free_port, pod
from webhook.app import create_app
from webhook.body_reader import BodyReader
from webhook.handlers import Handlers
from webhook.informer_caches import InformerCaches
from webhook.metrics import WebhookMetrics
from webhook.server import raise_descriptor_limit, webhook_server
from webhook.settings import WebhookSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

OBJECTS = 5000
CONNECTIONS = 8


def kinds() -> dict[str, tuple[str, bytes]]:
    """Return path and body of the five sorts of review."""

    def template(cni: str) -> dict[str, Any]:
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "ns7"},
            "spec": {"template": {"metadata": {"annotations": {"cni": cni}}, **pod()}},
        }

    def space(cni: str) -> dict[str, Any]:
        metadata = {"name": "ns7", "annotations": {"cni": cni}, "labels": {}}
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}

    here: dict[str, Any] = {"metadata": {"name": "web", "namespace": "ns7"}}
    named = {**here["metadata"], "annotations": {"cni": " net1 , net2 "}}
    wrong = {**here["metadata"], "annotations": {"cni": "nett"}}
    bodies = {
        "pod that names networks": ("/pods", envelope(pod(metadata=named))),
        "pod that gets the default": ("/pods", envelope(pod(**here))),
        "pod that is refused": ("/pods", envelope(pod(metadata=wrong))),
        "namespace": ("/namespaces", envelope(space("net1"))),
        "workload template": ("/workloads", envelope(template("net1"))),
    }
    return {name: (path, json.dumps(body).encode()) for name, (path, body) in bodies.items()}


def stand_in() -> Api:
    """Return an API server with 5,000 namespaces and 5,000 nodes."""
    labels = {f"network.cni-genie.io/net{n}": "true" for n in range(20)}
    namespaces = (namespace_object(f"ns{n}", {"cni": "net1,net2"}) for n in range(OBJECTS))
    nodes = (node_object(f"node{n}", labels) for n in range(OBJECTS))
    return Api(*namespaces, *nodes)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with its own body: a minimal ASGI application."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    length = (b"content-length", str(len(body)).encode())
    head = [(b"content-type", b"application/json"), length]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


def serve(what: str, port: int, folder: Path) -> None:
    """Serve the echo or the webhook until the process ends."""
    logs.configure(json=True)
    raise_descriptor_limit()
    settings = WebhookSettings(address="127.0.0.1", port=port)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem")
    app: Any = echo
    if what == "webhook":
        api = stand_in()
        caches = InformerCaches(api.client(), ())
        caches.start()
        if not (caches.namespaces_cache.wait(60) and caches.nodes_cache.wait(60)):
            raise SystemExit("the caches were not filled")
        api.objects.clear()
        handlers = Handlers(api.client(), caches, settings)
        names = ("pods", "namespaces", "workloads")
        endpoints = {f"/{name}": getattr(handlers, name) for name in names}
        body_reader = BodyReader(
            max_bytes=7 << 20, max_buffered_bytes=32 << 20, max_arriving=256, seconds=5
        )
        app = create_app(endpoints, body_reader, WebhookMetrics())
    asyncio.run(webhook_server(app, settings, context).serve())


@contextlib.contextmanager
def server(what: str, folder: Path, core: int) -> Iterator[tuple[int, int]]:
    """Run a server on one core; yield its process id and port."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.webhook", "--serve", what, str(port), str(folder)]
    pinned = ["taskset", "-c", str(core), *command]
    process = subprocess.Popen(pinned, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(20)


class Client:
    """Connections with keep-alive, and one request for all of them."""

    def __init__(self, port: int, folder: Path, path: str, body: bytes, count: int) -> None:
        trust = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self.connections = [
            trust.wrap_socket(
                socket.create_connection(("127.0.0.1", port)), server_hostname="localhost"
            )
            for _ in range(count)
        ]
        for one in self.connections:
            one.sendall(self._request)
            self._length = len(self._first(one))

    def _first(self, one: ssl.SSLSocket) -> bytes:
        got = b""
        while b"\r\n\r\n" not in got:
            got += one.recv(65536)
        if not got.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"not an answer: {got[:200]!r}")
        head, _, rest = got.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(rest) < length:
            rest += one.recv(65536)
        return head + b"\r\n\r\n" + rest

    def send(self, one: ssl.SSLSocket) -> None:
        """Send the request."""
        one.sendall(self._request)

    def receive(self, one: ssl.SSLSocket) -> None:
        """Receive the whole answer."""
        left = self._length
        while left > 0:
            left -= len(one.recv(65536))

    def volley(self, seconds: float) -> int:
        """Keep every connection busy for a time; return the number of answers."""
        answers, until = 0, time.perf_counter() + seconds
        while time.perf_counter() < until:
            for one in self.connections:
                self.send(one)
            for one in self.connections:
                self.receive(one)
            answers += len(self.connections)
        return answers

    def close(self) -> None:
        """Close all connections."""
        for one in self.connections:
            one.close()


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def rate(pid: int, client: Client, seconds: float) -> float:
    """Return answers per second of the server's processor time."""
    before = processor_seconds(pid)
    answers = client.volley(seconds)
    return answers / (processor_seconds(pid) - before)


def half_load(client: Client, per_second: float, seconds: float) -> list[float]:
    """Send requests at a steady rate over all connections; return latencies in milliseconds."""
    latencies: list[float] = []

    def ask(one: ssl.SSLSocket, gap: float) -> None:
        due, until = time.perf_counter(), time.perf_counter() + seconds
        while due < until:
            time.sleep(max(0.0, due - time.perf_counter()))
            started = time.perf_counter()
            client.send(one)
            client.receive(one)
            latencies.append((time.perf_counter() - started) * 1000)
            due += gap

    gap = len(client.connections) / per_second
    threads = [threading.Thread(target=ask, args=(one, gap)) for one in client.connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latencies


def measure(folder: Path, rounds: int, seconds: float) -> str:
    """Return the figures as Markdown."""
    load = os.getloadavg()[0]
    cores = sorted(os.sched_getaffinity(0))
    rows = []
    bare_server, our_server = (server(what, folder, cores[0]) for what in ("echo", "webhook"))
    with bare_server as (echo_pid, echo_port), our_server as (pid, port):
        os.sched_setaffinity(0, cores[1:] or cores)
        idle = resident_mib(pid)
        for name, (path, body) in kinds().items():
            bare = Client(echo_port, folder, path, body, CONNECTIONS)
            ours = Client(port, folder, path, body, CONNECTIONS)
            pairs = [
                (rate(echo_pid, bare, seconds), rate(pid, ours, seconds)) for _ in range(rounds)
            ]
            echoes, reviews = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratio = statistics.median(mine / other for other, mine in pairs)
            waits = sorted(half_load(ours, reviews / 2, seconds * 2))
            p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
            cells = f"{reviews:.0f} | {echoes:.0f} | {ratio:.2f} | {p50:.1f} / {p99:.1f}"
            rows.append(f"| {name} | {cells} |")
            bare.close()
            ours.close()
        memory = f"{idle:.0f} MiB before, {resident_mib(pid):.0f} MiB after the load"
    head = "| review | per processor second | echo | ratio | p50 / p99 at half load, ms |"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return "\n".join(
        [
            head,
            "|---|---|---|---|---|",
            *rows,
            "",
            f"- Resident with {OBJECTS} namespaces and {OBJECTS} nodes cached: {memory}.",
            f"- {rounds} rounds of {seconds:g} s each; {machine}; load average {load:.1f}.",
        ]
    )


def main() -> int:
    """Measure, print, and write the figures into docs/performance.md."""
    parser = argparse.ArgumentParser(description="Measure the webhook against a bare ASGI echo.")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds of each sort of review (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="length of a round (default: %(default)s)"
    )
    parser.add_argument(
        "--pairs",
        type=int,
        default=300,
        help="pairs of pod creations on a real cluster, 0 for none (default: %(default)s)",
    )
    parser.add_argument(
        "--name", default="genie-bench", help="name of that cluster (default: %(default)s)"
    )
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve[0], int(chosen.serve[1]), Path(chosen.serve[2]))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        leaf = authority.issue_cert("localhost")
        leaf.private_key_and_cert_chain_pem.write_to_path(str(folder / "leaf.pem"))
        figures = measure(folder, chosen.rounds, chosen.seconds)
    print(figures)
    page.show("webhook", figures)
    return creations(chosen.name, chosen.pairs) if chosen.pairs else 0


def creations(name: str, pairs: int) -> int:
    """Measure pod creations on the cluster *name*; return the exit code."""
    # The servers that are measured import this module, too.
    from tests.bench import creation  # noqa: PLC0415 - they carry nothing of it
    from tests.devcluster.commands import ClusterError  # noqa: PLC0415 - same

    try:
        figures = creation.measure(name, pairs)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(figures)
    page.show("creation", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
