"""What a DEL has released is remembered, to make a repeated DEL cheap."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dispatcher.state import released

if TYPE_CHECKING:
    from pathlib import Path


def test_each_interface_of_a_container_is_remembered_by_itself(tmp_path: Path) -> None:
    """Neither a part of an id nor another interface counts; only root reads the file."""
    released.add(str(tmp_path), "c1", "eth0")
    released.add(str(tmp_path), "c20", "eth0")
    interfaces = [("c1", "eth0"), ("c20", "eth0"), ("c1", "eth1"), ("c2", "eth0"), ("1", "eth0")]
    answers = [released.contains(str(tmp_path), *each) for each in interfaces]
    assert answers == [True, True, False, False, False]
    assert (tmp_path / released.NAME).stat().st_mode & 0o777 == 0o600


def test_the_file_begins_anew_when_it_is_full(tmp_path: Path) -> None:
    """The oldest lines are those that no runtime asks for any more."""
    file = tmp_path / released.NAME
    file.write_bytes(b"x" * released.LIMIT)
    released.add(str(tmp_path), "c1", "eth0")
    assert file.stat().st_size > released.LIMIT, "not full yet"
    released.add(str(tmp_path), "c2", "eth0")
    assert file.read_bytes() == b"c2 eth0\n"


@pytest.mark.parametrize("place", ["nothing", "directory", "pipe", "link"])
def test_without_a_usable_file_nothing_is_remembered(tmp_path: Path, place: str) -> None:
    """No call fails or waits for that; DEL then runs the delegates, as it did the first time."""
    path = tmp_path / "state" / released.NAME
    if place != "nothing":
        path.parent.mkdir()
    if place == "directory":
        path.mkdir()
    elif place == "pipe":
        os.mkfifo(path)
    elif place == "link":
        path.symlink_to(tmp_path / "elsewhere")
    released.add(str(path.parent), "c1", "eth0")
    assert not released.contains(str(path.parent), "c1", "eth0")
    assert not (tmp_path / "elsewhere").exists()
