"""Calls side by side: of many containers, and of one container at once."""

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
    """Each gets addresses of its own; DELs run beside ADDs; nothing is left after the last."""
    pods = [node.container(f"pod{number}") for number in range(MANY + MANY // 2)]
    first, late, leaving = pods[:MANY], pods[MANY:], pods[: MANY // 2]
    with ThreadPoolExecutor(MANY) as threads:
        results = threads.map(lambda pod: node.add(pod, BOTH).succeeded(), first)
        given = {result["ips"][0]["address"] for result in results}
        assert len(given) == MANY
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


def test_the_same_container_twice_at_once(node: Node) -> None:
    """Of two ADDs one wins and the other is told so; of two DELs both succeed; none leaks."""
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


def test_add_and_del_of_the_same_container_at_once(node: Node) -> None:
    """One waits for the other: all is attached and known, or nothing is."""
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


def test_a_call_waits_for_another_of_its_container_and_gives_way_in_time(node: Node) -> None:
    """The lock is waited for no longer than its share of the deadline; then code 11 says why."""
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
