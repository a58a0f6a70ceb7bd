"""Pipes, links and sockets in the place of files: neither agent nor reaper waits for them."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from dispatcher.agent.journal_reader import JournalReader
from dispatcher.agent.state_file import StateFile
from dispatcher.node import ended_list, reaper_problem, removal
from dispatcher.node.record_cache import RecordCache
from dispatcher.reaper import cache_entries, host_state
from tests.unit.irregular import IRREGULAR, ends, irregular

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Put = Callable[[Path], None]


@irregular
def test_a_record_that_is_no_file_is_a_fault(tmp_path: Path, put: Put) -> None:
    """With its reason, for the Event and for doctor."""
    put(tmp_path / "c1.json")
    with ends():
        stored = RecordCache(tmp_path).read()["c1"]
    assert (stored.record, stored.fault) == (None, "it is not a regular file")


@irregular
def test_a_journal_that_is_no_file_is_read_as_empty_and_removed(tmp_path: Path, put: Put) -> None:
    """The plugin then writes another."""
    put(tmp_path / "journal")
    journal = JournalReader(tmp_path)
    with ends():
        assert [journal.take() for _ in range(2)] == [[], []]
    assert list(tmp_path.iterdir()) == []


READERS: dict[str, Callable[[Path], object]] = {
    ".reaper-problem": reaper_problem.read,
    ended_list.FILE_NAME: ended_list.read,
    ".agent-status": lambda folder: StateFile(folder / ".agent-status", int).content,
    "c1.lock": lambda folder: host_state.kill_overdue_holder(folder / "c1.lock"),
    "cbr0-c1-eth0": cache_entries.remove_genie_entries,
}


@irregular
@pytest.mark.parametrize(("name", "read"), READERS.items(), ids=READERS)
def test_a_file_that_is_none_says_nothing(
    tmp_path: Path, put: Put, name: str, read: Callable[[Path], object]
) -> None:
    """As one that is not there."""
    put(tmp_path / name)
    with ends():
        assert not read(tmp_path)


@irregular
def test_what_was_left_behind_is_named_though_it_is_no_file(tmp_path: Path, put: Put) -> None:
    """By its container: nobody can tell the pod."""
    put(tmp_path / "c1.json.left")
    with ends():
        assert "the networks of c1 were not released" in removal.left_records_problem(tmp_path)


def test_a_pipe_that_is_locked_is_a_lock(tmp_path: Path) -> None:
    """The plugin locks it, too."""
    IRREGULAR["a pipe"](tmp_path / "c1.lock")
    held = os.open(tmp_path / "c1.lock", os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with ends():
            assert host_state.kill_overdue_holder(tmp_path / "c1.lock")
    finally:
        os.close(held)
