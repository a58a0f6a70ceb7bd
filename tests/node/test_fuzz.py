"""Inputs of the fuzz target, passed to the built executable."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from hypothesis import given, settings

from tests.unit.plugin.fuzz import CONF, SEED, SEQUENCES, Case, verify
from tests.unit.plugin.fuzz_calls import calls

if TYPE_CHECKING:
    from tests.node.harness import Node


def test_any_call_of_the_executable_ends_in_one_object_or_none(node: Node) -> None:
    """The delegate is a script that prints arbitrary output: a fake, as in the fuzz target."""
    (node.folder / "net.conflist").write_bytes(CONF)
    node.delegate("plug", "[ $CNI_COMMAND != ADD ] || cat $HERE/said")
    succeeded: set[str] = set()

    def carry_out(data: bytes) -> None:
        case = Case(data, node.folder)
        shutil.rmtree(node.state, ignore_errors=True)
        (node.folder / "said").write_bytes(case.output)
        for command in case.commands:
            environ = {**node.environ(command, None), **case.environ}
            answer = node.start(environ, case.stdin).answer()
            verify(answer.code, answer.out)
            if answer.code == 0:
                succeeded.add(command)

    one_network = SEED[1:].replace(b"net,net@net1", b"net")  # no route to remove: no pod is there
    for number in range(len(SEQUENCES)):
        carry_out(bytes([number]) + one_network)
    assert succeeded == {"ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"}
    settings(max_examples=60)(given(calls())(carry_out))()
