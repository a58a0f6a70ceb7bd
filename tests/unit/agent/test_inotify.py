"""What wakes the agent."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
import structlog

from dispatcher.agent import inotify
from dispatcher.agent.inotify import Watch, is_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    IsWoken = Callable[[threading.Event], bool]

SECONDS = 30.0
"""Only a guard: a change is noticed after a batch."""


@contextlib.contextmanager
def watching(*watches: Watch) -> Iterator[IsWoken]:
    """Watch; yield a function that returns whether the changes so far set an event, and clears it.

    The kernel keeps the order of all changes, and the watcher reports one batch after another. So a
    change of a folder of our own that is reported twice, in two batches, comes after all of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        reported = threading.Event()
        watcher = inotify.start([*watches, Watch(Path(folder), reported)])
        assert watcher is not None

        def is_woken(wake: threading.Event) -> bool:
            for _ in range(2):
                reported.clear()
                (Path(folder) / "mark").write_bytes(b"")
                assert reported.wait(SECONDS)
            is_set = wake.is_set()
            wake.clear()
            return is_set

        try:
            yield is_woken
        finally:
            watcher.stop()


@pytest.fixture
def wake() -> threading.Event:
    return threading.Event()


def test_changes_are_noticed_and_reading_is_not_one(tmp_path: Path, wake: threading.Event) -> None:
    """A file that is written, renamed or removed."""
    path = tmp_path / "10-canal.conflist"
    with watching(Watch(tmp_path, wake)) as is_woken:
        path.write_text("{}")
        assert is_woken(wake)
        path.read_text()
        list(tmp_path.iterdir())
        assert not is_woken(wake)
        path.rename(tmp_path.parent / "elsewhere")
        assert is_woken(wake)
        (tmp_path.parent / "elsewhere").rename(path)
        assert is_woken(wake)
        path.unlink()
        assert is_woken(wake)


@pytest.mark.parametrize("exists", [True, False], ids=["removed and made again", "made later"])
def test_a_directory_is_watched_when_it_is(
    tmp_path: Path, wake: threading.Event, *, exists: bool
) -> None:
    """The directory above it is watched."""
    folder = tmp_path / "net.d"
    if exists:
        folder.mkdir()
        (folder / "10-canal.conflist").touch()
    watches = (Watch(tmp_path, wake, is_named("net.d")), Watch(folder, wake, is_optional=True))
    with watching(*watches) as is_woken:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        assert is_woken(wake)
        (folder / "10-canal.conflist").touch()
        assert is_woken(wake)
        (tmp_path / "another").touch()
        assert not is_woken(wake)


def test_two_who_watch_one_directory_are_both_woken(tmp_path: Path, wake: threading.Event) -> None:
    """Each by the changes that are relevant to it."""
    other = threading.Event()
    watches = (Watch(tmp_path, wake, is_named("genie")), Watch(tmp_path, other))
    with watching(*watches) as is_woken:
        (tmp_path / "genie").touch()
        assert is_woken(wake)
        assert is_woken(other)
        (tmp_path / "bridge").touch()
        assert is_woken(other)
        assert not wake.is_set()


def test_neither_temporary_names_nor_folders_below_wake_anyone(
    tmp_path: Path, wake: threading.Event
) -> None:
    """A file that gets its name does."""
    (tmp_path / ".genie" / "v1").mkdir(parents=True)
    (tmp_path / "genie").touch()
    with watching(Watch(tmp_path, wake)) as is_woken:
        (tmp_path / ".genie" / "v1" / "code").touch()
        (tmp_path / ".genie-0123").write_text("half")
        (tmp_path / ".genie-0123").unlink()
        (tmp_path / ".genie-4567").touch()
        assert not is_woken(wake)
        (tmp_path / ".genie-4567").rename(tmp_path / "genie")
        assert is_woken(wake)


def test_a_directory_that_is_missing_is_logged_and_the_others_are_watched(
    tmp_path: Path, wake: threading.Event
) -> None:
    """An optional one is not logged."""
    missing = [Watch(tmp_path / "a", wake), Watch(tmp_path / "b", wake, is_optional=True)]
    with (
        structlog.testing.capture_logs() as lines,
        watching(*missing, Watch(tmp_path, wake)) as is_woken,
    ):
        (tmp_path / "file").touch()
        assert is_woken(wake)
    assert [(line["log_level"], line["path"]) for line in lines] == [
        ("warning", str(tmp_path / "a"))
    ]


def test_on_a_node_without_inotify_instances_the_agent_starts_and_says_what_to_raise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wake: threading.Event
) -> None:
    """It notices changes at the next reconciliation instead. The error is the kernel's."""
    used_up = OSError(errno.EMFILE, "Too many open files")
    monkeypatch.setattr(inotify, "INotify", Mock(side_effect=used_up))
    with structlog.testing.capture_logs() as lines:
        assert inotify.start([Watch(tmp_path, wake)]) is None
    [line] = lines
    assert line["log_level"] == "warning"
    assert "fs.inotify.max_user_instances" in line["fix"]
