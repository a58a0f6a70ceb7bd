"""A runtime that passes no annotations: the plugin asks the agent, and reports any obstacle.

Plugin, socket and the agent's server are the real ones. What is behind the server, the API, is a
stand-in, to fail as the test says.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from dispatcher import cni_errors
from dispatcher.agent import annotation_server
from dispatcher.kube.client import Kube, KubeError
from dispatcher.kube.login import Login
from dispatcher.plugin import agent_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.node.calls import Answer
    from tests.node.harness import Node

UID = "2d7c5a52"
POD = {"metadata": {"uid": UID, "annotations": {"cni": "canal"}}}


class OnePodApi(Kube):
    """Answers each GET with one pod, or raises one error."""

    def __init__(self, answer: dict[str, Any] | KubeError) -> None:
        self._answer = answer

    def get(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Return the pod or raise the error."""
        if isinstance(self._answer, KubeError):
            raise self._answer
        return self._answer


@contextlib.contextmanager
def agent(path: Path, api: Kube) -> Iterator[None]:
    """Serve the agent's socket at *path*, with *api* behind it."""
    server = annotation_server.start(api, path, os.geteuid())
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def listening(address: str | tuple[str, int]) -> Iterator[socket.socket]:
    """Accept connections at *address* and never answer."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen()
        yield listener


def add(node: Node, address: Path) -> Answer:
    """Call ADD as an old runtime does: only CNI_ARGS identifies the pod."""
    container = node.container("asking")
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web-0;K8S_POD_UID={UID}"
    env = {"CNI_ARGS": args}
    return node.add(container, env=env, runtimeConfig={}, agentSocket=str(address))


def test_the_pod_gets_the_networks_of_its_annotation_in_the_api(node: Node) -> None:
    """It does not get the default, which is weave here."""
    address = node.folder / "agent.sock"
    with agent(address, OnePodApi(POD)):
        result = add(node, address).succeeded()
    assert "canal0" in [each["name"] for each in result["interfaces"]]


REFUSALS: dict[str, tuple[Any, int, str]] = {
    "a pod that is gone": (
        KubeError(404, "NotFound", "x"),
        annotation_server.NO_POD,
        "no longer exists",
    ),
    "another pod of that name": (
        {"metadata": {"uid": "u2"}},
        annotation_server.OTHER_POD,
        "was replaced",
    ),
    "a missing right": (
        KubeError(403, "Forbidden", "x"),
        annotation_server.NOT_PERMITTED,
        "not allowed to read",
    ),
    "an API server that is busy": (
        KubeError(429, "Busy", "x"),
        cni_errors.TRY_AGAIN,
        "cannot read pod",
    ),
}


@pytest.mark.parametrize(("obstacle", "code", "words"), REFUSALS.values(), ids=REFUSALS)
def test_each_obstacle_has_its_own_error(node: Node, obstacle: Any, code: int, words: str) -> None:
    """The error names the pod, which is not attached to the default instead; nothing remains."""
    address = node.folder / "agent.sock"
    with agent(address, OnePodApi(obstacle)):
        answer = add(node, address)
    output = answer.failed(code)
    assert "ns/web-0" in output["msg"]
    assert words in output["msg"]
    assert answer.seconds < 5
    assert node.records() == {}


def test_a_silent_api_server_is_reported_within_5_seconds(node: Node) -> None:
    """It accepts the connection and does not answer. Code 11: try again."""
    address = node.folder / "agent.sock"
    with listening(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        login = Login(url, urllib3.PoolManager(), lambda: "")
        with agent(address, Kube(login, "genie-tests")):
            answer = add(node, address)
    # This sentence is the agent's. Without its answer, the plugin would report a time-out.
    assert "cannot read pod" in answer.failed(cni_errors.TRY_AGAIN)["msg"]


def test_a_missing_agent_is_reported_at_once(node: Node) -> None:
    """Its socket does not exist. Code 11: try again."""
    output = add(node, node.folder / "none.sock").failed(cni_errors.TRY_AGAIN)
    assert "cannot get the pod's annotation" in output["msg"]
    assert "check that the agent runs on this node" in output["details"]


def test_a_silent_agent_is_reported_within_5_seconds(node: Node) -> None:
    """It accepts the connection and does not answer. Code 11: try again."""
    address = node.folder / "agent.sock"
    with listening(str(address)):
        answer = add(node, address)
    assert "cannot get the pod's annotation" in answer.failed(cni_errors.TRY_AGAIN)["msg"]
    assert (
        annotation_server.DEADLINE < agent_client.SECONDS < 5
    )  # a busy machine may add to what was measured here
