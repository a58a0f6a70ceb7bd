"""Probes and metrics over HTTP."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from dispatcher.agent import http_endpoints
from dispatcher.agent.agent import Agent
from tests.unit.agent.builders import node_api

if TYPE_CHECKING:
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
