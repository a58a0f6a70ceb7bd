"""Concurrent calls: for many containers, and for one container."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from dispatcher import cni_errors
from tests.node.calls import wait_for
from tests.node.harness import Left

if TYPE_CHECKING:
    from tests.node.harness import Node

NOTHING = Left({"weave": [], "canal": []}, [], [], [])
BOTH = "weave,canal@net1"
MANY = 64


def test_64_concurrent_adds_and_dels_of_different_containers(node: Node) -> None:
    """Each gets its own addresses; DELs run beside ADDs; nothing remains after the last."""
    pods = [node.container(f"pod{number}") for number in range(MANY + MANY // 2)]
    first, late, leaving = pods[:MANY], pods[MANY:], pods[: MANY // 2]
    with ThreadPoolExecutor(MANY) as threads:
        results = threads.map(lambda pod: node.add(pod, BOTH).succeeded(), first)
        addresses = {result["ips"][0]["address"] for result in results}
        assert len(addresses) == MANY
        assert len(node.addresses("weave")) == len(node.addresses("canal")) == MANY
        adding = [threads.submit(node.add, pod, BOTH) for pod in late]
        deleting = [threads.submit(node.delete, pod, BOTH) for pod in leaving]
        for call in [*adding, *deleting]:
            call.result().succeeded()
        assert len(node.addresses("weave")) == len(node.addresses("canal")) == MANY
        assert set(node.records()) == {pod.id for pod in pods[MANY // 2 :]}
        for answer in threads.map(lambda pod: node.delete(pod, BOTH), pods):
            answer.succeeded()
    assert node.left(*pods) == NOTHING


def test_two_concurrent_calls_for_one_container(node: Node) -> None:
    """One of two ADDs succeeds and the other gets an error; both DELs succeed; nothing leaks."""
    pod = node.container("pod")
    with ThreadPoolExecutor(2) as threads:
        for _ in range(10):
            adding = [threads.submit(node.add, pod, BOTH) for _ in range(2)]
            codes = sorted((each.result().said or {}).get("code", 0) for each in adding)
            assert codes == [0, cni_errors.ALREADY_ATTACHED]
            assert (len(node.addresses("weave")), len(node.addresses("canal"))) == (1, 1)
            deleting = [threads.submit(node.delete, pod, BOTH) for _ in range(2)]
            for call in deleting:
                call.result().succeeded()
            assert node.left(pod) == NOTHING


def test_concurrent_add_and_del_of_one_container(node: Node) -> None:
    """One waits for the other: either everything is attached and recorded, or nothing."""
    pod = node.container("pod")
    with ThreadPoolExecutor(2) as threads:
        for _ in range(10):
            adding = threads.submit(node.add, pod, BOTH)
            deleting = threads.submit(node.delete, pod, BOTH)
            adding.result().succeeded()
            deleting.result().succeeded()
            assert node.phases(pod) in ({}, {"eth0": "attached", "net1": "attached"})
            assert node.links(pod) == list(node.phases(pod))
            node.delete(pod, BOTH).succeeded()
            assert node.left(pod) == NOTHING


def test_a_call_waits_for_another_of_its_container_and_gives_up_in_time(node: Node) -> None:
    """It waits for the lock for a share of its deadline; then it fails with code 11."""
    pod, other = node.container("pod"), node.container("other")
    go_on = node.folder / "go-on"
    os.mkfifo(go_on)
    held = "$CNI_CONTAINERID$CNI_COMMAND"
    node.delegate("bridge", f"[ {held} != podADD ] || read -r _ <{go_on}\nexec $REAL/bridge")
    slow = node.begin("ADD", pod, "weave")
    wait_for(lambda: node.phases(pod) == {"eth0": "attaching"}, "the first step")
    error = node.delete(pod, "weave", deadlineSeconds=3).failed(cni_errors.TRY_AGAIN)
    assert "pod.lock" in error["msg"]
    node.add(other, "weave").succeeded()  # another container is not held up
    waiting = node.begin("DEL", pod, "weave")
    go_on.write_text("\n")
    slow.answer().succeeded()
    waiting.answer().succeeded()
    assert node.links(pod) == []
    node.delete(other, "weave").succeeded()
    assert node.left(pod, other).links == []
