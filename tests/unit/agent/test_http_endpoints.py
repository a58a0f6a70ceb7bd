"""Probes and metrics over HTTP."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from dispatcher.agent import http_endpoints
from dispatcher.agent.agent import Agent
from dispatcher.kube import logs
from tests.unit.agent.builders import node_api

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.host import Host


def test_the_metrics_are_served_on_a_nodes_ipv6_address_too(host: Host) -> None:
    """The component agent-metrics sets the node's own address."""
    agent = Agent(host.settings(port=0, listen="::1"), host.plugin(), node_api().client())
    port = int(agent.start().server_address[1])
    try:
        with urllib.request.urlopen(f"http://[::1]:{port}/metrics", timeout=5) as answer:
            assert b"genie_agent_problem" in answer.read()
    finally:
        agent.stop()


@pytest.mark.parametrize(
    ("sent", "seconds", "read"),
    [
        pytest.param(
            [b"GET / HT", b"TP/1.0\r\n\r\n"], 30.0, b"GET / HTTP/1.0\r\n\r\n", id="in parts"
        ),
        pytest.param([b"GET"] + [b"x"] * 20, 0.3, b"", id="drop by drop, longer than all may take"),
        pytest.param(
            [b"x" * http_endpoints.MAX_REQUEST * 2],
            30.0,
            b"x" * http_endpoints.MAX_REQUEST,
            id="without end",
        ),
        pytest.param([b"GET /", b""], 30.0, b"GET /", id="and then nothing more"),
    ],
)
def test_a_request_is_read_under_limits(
    sent: list[bytes], seconds: float, read: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opens connections and feeds them slowly takes neither the agent's memory nor its time."""
    monkeypatch.setattr(http_endpoints, "REQUEST_SECONDS", seconds)
    ours, theirs = socket.socketpair()

    def send() -> None:
        for part in sent:
            if part:
                theirs.sendall(part)
            else:
                theirs.shutdown(socket.SHUT_WR)
            time.sleep(0.05)

    with ours, theirs:
        sender = threading.Thread(target=send)
        sender.start()
        assert http_endpoints._request(ours) == read
        sender.join()


def _probe(health: Callable[[], str], *, leave: bool) -> None:
    """Probe a server whose health is *health*, and wait until its thread has ended.

    With *leave* the connection is reset as soon as the server works on the request.
    """
    entered, left = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def answer() -> str:
        threads.append(threading.current_thread())
        entered.set()
        assert left.wait(30)
        return health()

    server = http_endpoints.start(
        ("127.0.0.1", 0), health=answer, readiness=str, registry=CollectorRegistry()
    )
    try:
        with socket.create_connection(("127.0.0.1", server.server_port)) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert entered.wait(30)
            if leave:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            left.set()
            threads[0].join(30)
            assert not threads[0].is_alive()
    finally:
        server.shutdown()
        server.server_close()


def test_a_probe_that_leaves_early_is_no_line_of_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The kubelet closes the connection when its own time is over; no answer is owed then."""
    logs.configure(json=True)
    _probe(lambda: "x" * 10_000_000, leave=True)
    assert capsys.readouterr() == ("", "")


def test_any_other_fault_of_a_request_is_one_line_of_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the exception inside, so that a collector keeps them together."""
    logs.configure(json=True)

    def broken() -> str:
        raise ValueError("no health")

    _probe(broken, leave=False)
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["level"], line["event"]) == ("error", "HTTP request failed")
    assert line["client"][0] == "127.0.0.1"
    assert "ValueError: no health" in line["exception"]
