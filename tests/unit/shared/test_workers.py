"""Threads beside a block: they stop with it, and their errors are not lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.workers import Workers

if TYPE_CHECKING:
    import threading


def test_threads_run_until_the_block_ends() -> None:
    """The end of the block waits for both of them."""
    ended: list[bool] = []

    def run(stopping: threading.Event) -> None:
        assert stopping.wait(30)
        ended.append(True)

    with Workers(run, run):
        assert ended == []
    assert ended == [True, True]


def test_the_end_of_the_block_raises_what_a_thread_raised() -> None:
    """A test whose thread fails must not pass."""

    def fail(stopping: threading.Event) -> None:
        del stopping
        raise LookupError("no pod")

    with pytest.raises(LookupError, match="no pod"), Workers(fail):
        pass
