"""A failed ADD never leaves a record that the agent would publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.state import store
from tests.node.calls import wait_for
from tests.node.harness import Left

if TYPE_CHECKING:
    from tests.node.harness import Node

HELD_DEL = "while [ $CNI_COMMAND = DEL ] && [ -e $HERE/hold ]; do sleep 0.02; done"


def test_a_roll_back_that_is_killed_half_way_leaves_no_complete_record(node: Node) -> None:
    """One attachment is released; a record of the other alone would look complete.

    The DEL that follows releases it.
    """
    (node.folder / "hold").touch()
    node.delegate("bridge", f"{HELD_DEL}\nexec $REAL/bridge")
    node.delegate("broken", "[ $CNI_COMMAND = DEL ]")
    node.network("broken", {"type": "broken"})
    pod = node.container("pod")
    call = node.begin("ADD", pod, "weave,broken@net1")

    # net1 is released then, and the DEL of eth0 is held.
    wait_for(lambda: node.phases(pod) == {"eth0": "releasing"}, "the first half of the roll-back")
    call.kill()
    call.answer()
    record = store.read(str(node.folder / "state"), pod.id)
    assert record is not None
    assert not record.is_complete

    (node.folder / "hold").unlink()
    node.delete(pod).succeeded()
    assert node.left(pod) == Left({"weave": []}, [], [], [])
