import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.devcluster.commands import ClusterError
from tests.devcluster.processes import Daemon, end, kill, start_time


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    argv = ["sh", "-c", "echo started; exec sleep 60"]
    sleeper = Daemon("sleeper", tmp_path / "run/record.json", tmp_path / "logs/log", argv, {})
    yield sleeper
    sleeper.stop()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_daemon_is_found_again_by_its_record(daemon: Daemon) -> None:
    """Another object, as in a later run of the tool, finds and stops the same process."""
    daemon.start()
    later = Daemon(daemon.name, daemon.record, daemon.log, daemon.argv, daemon.env)
    pid = later.pid()
    assert pid is not None
    assert pid == daemon.pid()
    later.stop()
    assert daemon.pid() is None
    assert start_time(pid) is None
    assert not daemon.record.exists()


def test_starting_twice_starts_once(daemon: Daemon) -> None:
    """A running daemon is not replaced."""
    daemon.start()
    first = daemon.pid()
    daemon.start()
    assert daemon.pid() == first


def test_a_daemon_leads_a_session_of_its_own(daemon: Daemon) -> None:
    """A Ctrl-C at the terminal does not reach it."""
    daemon.start()
    pid = daemon.pid()
    assert pid is not None
    assert os.getsid(pid) == pid


def test_a_daemon_inherits_no_descriptor_of_whoever_started_the_tool(daemon: Daemon) -> None:
    """A lock or a pipe of a shell would be held for as long as the daemon lives."""
    reader, writer = os.pipe()
    descriptor = os.dup2(writer, 40)  # inheritable
    os.close(writer)
    daemon.start()
    os.close(descriptor)
    os.set_blocking(reader, False)
    try:
        assert os.read(reader, 1) == b""  # nobody has the other end; BlockingIOError if one had
    finally:
        os.close(reader)


def test_a_reused_process_id_is_never_signalled(
    daemon: Daemon, bystander: subprocess.Popen[bytes]
) -> None:
    """The start time differs from the record, so the daemon does not run."""
    daemon.record.parent.mkdir()
    daemon.record.write_text(f'{{"pid": {bystander.pid}, "startTime": 1}}')
    assert daemon.pid() is None
    daemon.stop()
    end({bystander.pid: 1})
    assert bystander.poll() is None


@pytest.mark.parametrize("content", ["", "{", '{"pid": 1, "startTime": null}'])
def test_a_record_that_a_crash_cut_short_means_not_running(daemon: Daemon, content: str) -> None:
    """It is neither an error nor a running daemon."""
    daemon.record.parent.mkdir()
    daemon.record.write_text(content)
    assert daemon.pid() is None


_LISTENER = """
import socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", 0))
for _ in range(50):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print(listener.getsockname()[1], flush=True)
time.sleep(60)
"""


def test_a_killed_process_has_given_its_port_back() -> None:
    """Its first thread may have ended before the others, which still hold the port."""
    command = [sys.executable, "-c", _LISTENER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        started = start_time(process.pid)
        assert started is not None
        kill({process.pid: started})
        with socket.create_server(("127.0.0.1", port)):
            assert start_time(process.pid) is None


def test_a_process_that_ignores_sigterm_is_killed() -> None:
    """It gets SIGKILL after the given seconds."""
    command = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        started = start_time(process.pid)
        assert started is not None
        end({process.pid: started}, patience=0.1)
        assert start_time(process.pid) is None


def test_a_daemon_that_ended_is_reported_with_the_end_of_its_log(daemon: Daemon) -> None:
    """It contains the reason."""
    daemon.log.parent.mkdir()
    daemon.log.write_text("panic: no such flag\n")
    with pytest.raises(ClusterError, match=r"sleeper has ended.*\n.*no such flag"):
        daemon.check()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Otherwise a process would start and end at once."""
    missing = Daemon("etcd", tmp_path / "r", tmp_path / "l", [str(tmp_path / "etcd")], {})
    with pytest.raises(ClusterError, match=r"cannot start etcd: program .* not found"):
        missing.start()
