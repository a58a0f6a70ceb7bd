"""What wakes the agent."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from typing import TYPE_CHECKING
from unittest.mock import Mock

import structlog

from dispatcher.agent import inotify

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_changes_are_noticed_and_reading_is_not_one(tmp_path: Path) -> None:
    """Also in a directory that was removed and made again; one that is not there is no error."""
    wake = threading.Event()
    folder = tmp_path / "net.d"
    folder.mkdir()
    observer = inotify.start({str(tmp_path): wake, str(tmp_path / "never"): wake}, {})
    assert observer is not None
    try:
        folder.rmdir()
        folder.mkdir()
        assert wake.wait(5)
        time.sleep(0.3)
        wake.clear()
        (folder / "10-canal.conflist").write_text("{}")
        assert wake.wait(5)
        time.sleep(1)
        wake.clear()
        (folder / "10-canal.conflist").read_text()
        list(folder.iterdir())
        assert not wake.wait(0.5)
    finally:
        observer.stop()
        observer.join()


def test_of_the_directory_of_plugins_only_what_is_in_it_is_noticed(tmp_path: Path) -> None:
    """Not what is being written under a temporary name, and nothing in the folders below."""
    wake = threading.Event()
    (tmp_path / ".genie" / "v1").mkdir(parents=True)
    (tmp_path / "genie").touch()
    observer = inotify.start({}, {str(tmp_path): wake})
    assert observer is not None
    try:
        (tmp_path / ".genie" / "v1" / "code").touch()
        (tmp_path / ".genie-0123").write_text("half")
        (tmp_path / ".genie-0123").unlink()
        assert not wake.wait(0.5)
        (tmp_path / ".genie-4567").touch()
        (tmp_path / ".genie-4567").rename(tmp_path / "genie")
        assert wake.wait(5)
        time.sleep(0.3)
        wake.clear()
        shutil.rmtree(tmp_path / ".genie")
        assert wake.wait(5)
    finally:
        observer.stop()
        observer.join()


def test_on_a_node_without_inotify_instances_the_agent_starts_and_says_what_to_raise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It notices changes at the next reconciliation instead. The error is what watchdog raises."""
    used_up = OSError(errno.EMFILE, "inotify instance limit reached")
    monkeypatch.setattr(inotify, "Observer", Mock(side_effect=used_up))
    with structlog.testing.capture_logs() as lines:
        assert inotify.start({str(tmp_path): threading.Event()}, {}) is None
    [line] = lines
    assert line["log_level"] == "warning"
    assert "fs.inotify.max_user_instances" in line["fix"]
