"""Locks: who waits for whom, and that nobody waits for ever."""

from __future__ import annotations

import fcntl
import os
import posix
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.cni_errors import TRY_AGAIN, CNIError
from dispatcher.state import lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def test_a_second_call_for_a_container_waits_its_time_only(tmp_path: Path) -> None:
    """While the first holds the lock, the second ends with code 11; another container is free."""
    first = lock.acquire_container(str(tmp_path), "c1", soon())
    with pytest.raises(CNIError, match="another call for this container") as caught:
        lock.acquire_container(str(tmp_path), "c1", soon(0.05))
    assert caught.value.code == TRY_AGAIN
    lock.acquire_container(str(tmp_path), "c2", soon()).release(unlink=True)
    first.release(unlink=True)
    assert list(tmp_path.iterdir()) == []


def test_who_waits_gets_the_lock_after_its_file_was_unlinked(tmp_path: Path) -> None:
    """The waiter notices that its file is gone and locks the new one."""
    first = lock.acquire_container(str(tmp_path), "c1", soon())
    got: list[lock.Lock] = []
    waiter = threading.Thread(
        target=lambda: got.append(lock.acquire_container(str(tmp_path), "c1", soon()))
    )
    waiter.start()
    time.sleep(0.05)
    first.release(unlink=True)
    waiter.join(5)
    with pytest.raises(CNIError):
        lock.acquire_container(str(tmp_path), "c1", soon(0.01))
    got[0].release(unlink=True)


def test_gc_is_alone(tmp_path: Path) -> None:
    """Calls for containers run side by side; a GC waits for all, and they for it."""
    one = lock.acquire_gc_shared(str(tmp_path), soon())
    two = lock.acquire_gc_shared(str(tmp_path), soon())
    with pytest.raises(CNIError, match="a call for a container"):
        lock.acquire_gc_exclusive(str(tmp_path), soon(0.01))
    one.release()
    two.release()
    alone = lock.acquire_gc_exclusive(str(tmp_path), soon())
    with pytest.raises(CNIError, match="a GC still holds"):
        lock.acquire_gc_shared(str(tmp_path), soon(0.01))
    alone.release()


@pytest.mark.parametrize(
    "take",
    [
        pytest.param(
            lambda folder, until: lock.acquire_container(folder, "c1", until), id="container"
        ),
        pytest.param(lock.acquire_gc_exclusive, id="GC"),
    ],
)
def test_a_delegate_inherits_the_lock_and_releasing_it_frees_it_all_the_same(
    tmp_path: Path, take: Callable[[str, float], lock.Lock]
) -> None:
    """A delegate that outlives a killed plugin holds the lock; after a release it does not."""
    held = take(str(tmp_path), soon())
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        close_fds=False,
    ) as delegate:
        assert delegate.stdin is not None
        os.close(held._file)  # as a kill of the plugin does
        with pytest.raises(CNIError):
            take(str(tmp_path), soon(0.05))
        delegate.stdin.close()
    again = take(str(tmp_path), soon())
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        close_fds=False,
    ) as daemon:
        assert daemon.stdin is not None
        again.release()
        take(str(tmp_path), soon(1)).release(unlink=True)
        daemon.stdin.close()


def sleeper(**more: Any) -> subprocess.Popen[bytes]:
    """Start a process that leads a group of its own, as a delegate does."""
    return subprocess.Popen(["sleep", "60"], process_group=0, **more)


def test_a_delegate_that_nobody_is_left_to_end_is_ended_by_who_waits(tmp_path: Path) -> None:
    """Its plugin was killed and its time is over: else its container could never be freed."""
    held = lock.acquire_container(str(tmp_path), "c1", soon())
    with sleeper(close_fds=False) as delegate:
        held.record_delegate(delegate.pid, time.monotonic() - 1)
        os.close(held._file)  # as a kill of the plugin does
        with pytest.raises(CNIError):  # the plugin may be about to end it
            lock.acquire_container(str(tmp_path), "c1", soon(0.02))
        held = lock.acquire_container(str(tmp_path), "c1", soon(60))
        assert delegate.wait() == -9
    held.release()
    assert (tmp_path / "c1.lock").read_bytes() == b""


def test_a_delegate_that_left_its_process_group_is_ended_too(tmp_path: Path) -> None:
    """It has the lock all the same."""
    held = lock.acquire_container(str(tmp_path), "c1", soon())
    with subprocess.Popen(["sleep", "60"], close_fds=False) as delegate:
        held.record_delegate(delegate.pid, time.monotonic() - 60)
        os.close(held._file)
        lock.acquire_container(str(tmp_path), "c1", soon(60)).release()
        assert delegate.wait() == -9


def daemon_with(held: lock.Lock) -> subprocess.Popen[bytes]:
    """Start what a delegate of a call left behind that was killed: it has the lock, and stays."""
    daemon = subprocess.Popen(["sleep", "60"], close_fds=False)
    os.close(held._file)
    return daemon


@pytest.mark.parametrize(
    "take", [lock.acquire_gc_shared, lock.acquire_gc_exclusive], ids=["a call", "a GC"]
)
def test_a_daemon_of_a_killed_gc_does_not_hold_up_the_node(
    tmp_path: Path, take: Callable[[str, float], lock.Lock]
) -> None:
    """The file that it has is given up; whoever comes later finds the new one."""
    held = lock.acquire_gc_exclusive(str(tmp_path), soon())
    held.record_delegate(lock.NO_DELEGATE, time.monotonic() - 60)
    with daemon_with(held) as daemon:
        again = take(str(tmp_path), soon(1))
        assert daemon.poll() is None
        with pytest.raises(CNIError):
            lock.acquire_gc_exclusive(str(tmp_path), soon(0.02))
        again.release()
        lock.acquire_gc_exclusive(str(tmp_path), soon(1)).release()
        daemon.kill()


def test_a_waiter_does_not_unlink_the_new_file_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found the file of a daemon; the other replaced it before this one unlinks it."""
    held = lock.acquire_gc_exclusive(str(tmp_path), soon())
    held.record_delegate(lock.NO_DELEGATE, time.monotonic() - 60)
    is_same_file = lock._is_same_file
    others: list[lock.Lock] = []

    def replace_after_the_check(path: str, status: os.stat_result) -> bool:
        is_same = is_same_file(path, status)
        monkeypatch.setattr(lock, "_is_same_file", is_same_file)
        others.append(lock.acquire_gc_shared(str(tmp_path), soon()))
        return is_same

    with daemon_with(held) as daemon:
        monkeypatch.setattr(lock, "_is_same_file", replace_after_the_check)
        lock.acquire_gc_shared(str(tmp_path), soon()).release()
        with pytest.raises(CNIError, match="a call for a container"):
            lock.acquire_gc_exclusive(str(tmp_path), soon(0.02))
        others[0].release()
        daemon.kill()


def test_the_file_of_a_daemon_is_replaced_by_one_waiter_at_a_time(tmp_path: Path) -> None:
    """Who replaces it holds a lock on the directory; the others wait until their deadline."""
    held = lock.acquire_gc_exclusive(str(tmp_path), soon())
    held.record_delegate(lock.NO_DELEGATE, time.monotonic() - 60)
    with daemon_with(held) as daemon:
        replacing = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(replacing, fcntl.LOCK_EX)
        before = (tmp_path / ".gc.lock").stat()
        with pytest.raises(CNIError, match="a GC still holds"):
            lock.acquire_gc_shared(str(tmp_path), soon(0.02))
        assert os.path.samestat(before, (tmp_path / ".gc.lock").stat())

        os.close(replacing)
        lock.acquire_gc_shared(str(tmp_path), soon()).release()
        assert not os.path.samestat(before, (tmp_path / ".gc.lock").stat())
        daemon.kill()


def test_a_daemon_of_a_killed_call_keeps_its_containers_lock(tmp_path: Path) -> None:
    """Nobody knows what it does to that container; the others have locks of their own."""
    held = lock.acquire_container(str(tmp_path), "c1", soon())
    held.record_delegate(lock.NO_DELEGATE, time.monotonic() - 60)
    with daemon_with(held) as daemon:
        with pytest.raises(CNIError, match="still holds"):
            lock.acquire_container(str(tmp_path), "c1", soon(0.02))
        daemon.kill()


@pytest.mark.parametrize("note", [None, b"\0" * 64, b"1", b"one 2", b"1 two", b"-1 -1"])
def test_no_other_process_is_ended(tmp_path: Path, note: bytes | None) -> None:
    """Neither one that got the number later and has no lock, nor one that cannot be meant."""
    held = lock.acquire_container(str(tmp_path), "c1", soon())
    with sleeper() as other:
        if note is None:
            held.record_delegate(other.pid, time.monotonic() - 60)
        else:
            os.pwrite(held._file, note, 0)
        with pytest.raises(CNIError, match="still holds"):
            lock.acquire_container(str(tmp_path), "c1", soon(0.02))
        assert other.poll() is None
        other.kill()
    held.release()


def test_what_a_killed_call_wrote_down_is_forgotten(tmp_path: Path) -> None:
    """The next holder has other delegates, and that number may be anybody's."""
    (tmp_path / ".gc.lock").write_text("1 1\n")
    one = lock.acquire_gc_shared(str(tmp_path), soon())
    assert (tmp_path / ".gc.lock").read_bytes() == b""
    one.release()


def test_a_lock_file_that_cannot_be_written_is_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk nobody learns who works under it, and that is all. Injected: the error."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    held = lock.acquire_container(str(tmp_path), "c1", soon())
    held.record_delegate(1, 1)
    monkeypatch.setattr("posix.pwrite", full)
    monkeypatch.setattr("posix.ftruncate", full)
    held.record_delegate(1, 1)
    held.release()
    lock.acquire_container(str(tmp_path), "c1", soon(0.01)).release()


def test_a_file_that_cannot_be_made_but_is_there_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a read-only file system the lock of ADD's time still works."""
    (tmp_path / "c1.lock").touch()
    real = posix.open

    def read_only(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system", path)
        return real(path, flags, mode)

    monkeypatch.setattr("posix.open", read_only)
    lock.acquire_container(str(tmp_path), "c1", soon()).release()
    with pytest.raises(OSError, match="Read-only file system"):
        lock.acquire_container(str(tmp_path), "c2", soon())


def test_a_lock_file_that_somebody_removed_is_let_go_all_the_same(tmp_path: Path) -> None:
    """Nothing depends on the file but who may have it."""
    held = lock.acquire_container(str(tmp_path), "c1", soon())
    (tmp_path / "c1.lock").unlink()
    held.release(unlink=True)
    lock.acquire_container(str(tmp_path), "c1", soon(0.01)).release(unlink=True)
