"""The client of :mod:`tests.bench.webhook`, and what it reads of the servers' processes."""

from __future__ import annotations

import itertools
import os
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.bench.reviews import Load


class Client:
    """Connections with keep-alive, over which requests are sent in turn."""

    def __init__(self, port: int, folder: Path, load: Load, count: int) -> None:
        trust = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        head = f"POST {load.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        self._requests = itertools.cycle(
            f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body for body in load.bodies
        )
        self.connections = [
            trust.wrap_socket(
                socket.create_connection(("127.0.0.1", port)), server_hostname="localhost"
            )
            for _ in range(count)
        ]
        for one in self.connections:
            self.send(one)
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
        """Send the next request."""
        one.sendall(next(self._requests))

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
    """Return the processor time that a process has used, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)  # its clock, as clock_getcpuclockid(3) gives it


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def cost(pid: int, client: Client, seconds: float) -> float:
    """Return the microseconds of the server's processor that an answer takes."""
    before = processor_seconds(pid)
    answers = client.volley(seconds)
    return (processor_seconds(pid) - before) / answers * 1e6


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
