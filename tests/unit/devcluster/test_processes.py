import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.devcluster.commands import ClusterError
from tests.devcluster.processes import Daemon, end, start_time


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Daemon]:
    argv = ["sh", "-c", "echo started; exec sleep 60"]
    made = Daemon("sleeper", tmp_path / "run/record.json", tmp_path / "logs/log", argv, {})
    yield made
    made.stop()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_service_is_found_again_by_its_record(service: Daemon) -> None:
    """Another object, as in another run of the tool, sees and stops the same process."""
    service.start()
    later = Daemon(service.name, service.record, service.log, service.argv, service.env)
    pid = later.pid()
    assert pid is not None
    assert pid == service.pid()
    later.stop()
    assert service.pid() is None
    assert start_time(pid) is None
    assert not service.record.exists()


def test_starting_twice_starts_once(service: Daemon) -> None:
    """A service that runs is left alone."""
    service.start()
    first = service.pid()
    service.start()
    assert service.pid() == first


def test_a_service_leads_a_session_of_its_own(service: Daemon) -> None:
    """A Ctrl-C at the terminal does not reach it."""
    service.start()
    pid = service.pid()
    assert pid is not None
    assert os.getsid(pid) == pid


def test_an_id_that_is_another_process_by_now_is_never_signalled(
    service: Daemon, bystander: subprocess.Popen[bytes]
) -> None:
    """The record's start time does not fit: nothing runs, and nothing is ended."""
    service.record.parent.mkdir()
    service.record.write_text(f'{{"pid": {bystander.pid}, "startTime": 1}}')
    assert service.pid() is None
    service.stop()
    end({bystander.pid: 1})
    assert bystander.poll() is None


@pytest.mark.parametrize("content", ["", "{", '{"pid": 1, "startTime": null}'])
def test_a_record_that_a_crash_cut_short_means_not_running(service: Daemon, content: str) -> None:
    """It is neither an error nor a process to end."""
    service.record.parent.mkdir()
    service.record.write_text(content)
    assert service.pid() is None


def test_a_process_that_ignores_sigterm_is_killed() -> None:
    """After the patience given to it."""
    command = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        started = start_time(process.pid)
        assert started is not None
        end({process.pid: started}, patience=0.1)
        assert start_time(process.pid) is None


def test_a_service_that_ended_is_reported_with_the_end_of_its_log(service: Daemon) -> None:
    """That is where the reason is."""
    service.log.parent.mkdir()
    service.log.write_text("panic: no such flag\n")
    with pytest.raises(ClusterError, match=r"sleeper does not run.*\n.*no such flag"):
        service.check()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Instead of a process that dies at once."""
    missing = Daemon("etcd", tmp_path / "r", tmp_path / "l", [str(tmp_path / "etcd")], {})
    with pytest.raises(ClusterError, match="cannot start etcd: there is no program"):
        missing.start()
