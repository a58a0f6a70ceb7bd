import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]

RUN = """
import os, signal, sys
from tests.devcluster.interrupts import as_interrupts, deferred

def tell(name):
    os.kill(os.getpid(), getattr(signal, name))

try:
    with as_interrupts():
        try:
            with as_interrupts():
                tell(sys.argv[1])
            print("went on")
        finally:
            tell("SIGINT")
            tell("SIGTERM")
            print("cleaned up")
except KeyboardInterrupt:
    print("interrupted")
try:
    with as_interrupts(), deferred():
        tell("SIGTERM")
        print("done first")
except KeyboardInterrupt:
    print("interrupted then")
"""


def outcome(number: signal.Signals, *prefix: str) -> list[str]:
    command = [*prefix, sys.executable, "-c", RUN, number.name]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.split("\n")[:-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_once_and_what_follows_does_not_end_the_cleaning_up(
    number: signal.Signals,
) -> None:
    """Ctrl-C, SIGTERM and a terminal that is gone; while a cluster goes, the signal has to wait."""
    output = outcome(number, "env", "--default-signal=INT,TERM,HUP")
    assert output == ["cleaned up", "interrupted", "done first", "interrupted then"]


def test_what_was_to_be_ignored_from_the_start_stays_ignored() -> None:
    """As under nohup."""
    output = outcome(signal.SIGHUP, "env", "--ignore-signal=HUP", "--default-signal=INT,TERM")
    assert output[0] == "went on"


def test_a_webhook_on_the_machine_ends_with_the_run_that_started_it() -> None:
    """Also when that is killed: nothing else would find it."""
    script = (
        "import os, subprocess, signal\n"
        "from tests.cluster.support.outside_webhook import ending_with_this\n"
        "started = subprocess.Popen(ending_with_this(['sh', '-c', 'echo up; exec sleep 60']),"
        " stdout=subprocess.PIPE)\n"
        "started.stdout.readline()\n"
        "print(started.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", script]
    killed = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, check=False)
    assert killed.returncode == -signal.SIGKILL
    handle = _handle(int(killed.stdout))
    assert handle is None or signal_has_come(handle)


def _handle(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def signal_has_come(handle: int) -> bool:
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    return bool(poller.poll(20_000))
