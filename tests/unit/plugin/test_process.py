"""One process of a delegate: its pipes and its end, and that it never blocks a call."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from dispatcher import cni_errors
from dispatcher.cni_errors import CannotRunError, CNIError
from dispatcher.plugin import delegate, process
from dispatcher.plugin.delegate import Runner
from tests.unit.plugin.shell_plugin import ADD, CONF, ENVIRON, call, error_of, script


def test_a_delegate_ignores_no_signal(tmp_path: Path) -> None:
    """A signal that Python ignores would change how a delegate's pipes end."""
    seen = tmp_path / "seen"
    call(tmp_path, f"grep SigIgn /proc/self/status > {seen}; echo '{{}}'")
    ignored = int(seen.read_text().split()[1], 16)
    assert not ignored & (1 << 12), "SIGPIPE"
    assert not ignored & (1 << 24), "SIGXFSZ"


def test_a_large_configuration_does_not_block(tmp_path: Path) -> None:
    """The delegate may close its standard input at once, or never read it."""
    script(tmp_path, "exec 0<&-; echo '{}'")
    runner = Runner([str(tmp_path)], ENVIRON, None)
    conf = {**CONF, "much": "x" * 2_000_000}
    assert runner(conf, ADD, time.monotonic() + 10) == {}


def test_a_large_configuration_arrives_whole(tmp_path: Path) -> None:
    """In as many parts as the pipe takes, while the output is read."""
    script(tmp_path, "sleep 0.05; cat")
    conf = {**CONF, "much": "x" * 2_000_000}
    assert Runner([str(tmp_path)], ENVIRON, None)(conf, ADD, time.monotonic() + 10) == conf


def test_a_delegate_is_killed_if_it_cannot_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left that could act beside the roll-back. The error is injected."""
    pids = tmp_path / "pid"
    script(tmp_path, f"echo $$ > {pids}; exec sleep 60")

    def refuse(*_: object) -> None:
        while not (pids.exists() and pids.read_text()):
            time.sleep(0.01)
        monkeypatch.undo()
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(process, "poll", refuse)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        Runner([str(tmp_path)], ENVIRON, None)(CONF, ADD, time.monotonic() + 20)
    assert not Path(f"/proc/{pids.read_text().strip()}").exists()


def test_a_delegate_is_reaped_while_the_next_one_runs_and_at_the_end(tmp_path: Path) -> None:
    """Not as soon as it ends, when the kernel may still be at work on it. Each is reaped once."""
    pids = tmp_path / "pids"
    script(tmp_path, f"echo $$ >> {pids}; cat")
    runner = Runner([str(tmp_path)], ENVIRON, None)
    left = []
    for _ in range(2):
        runner(CONF, ADD, time.monotonic() + 10)
        left.append([Path(f"/proc/{pid}").exists() for pid in pids.read_text().split()])
    assert left == [[True], [False, True]]
    for _ in range(2):
        runner.reap()
    assert not Path(f"/proc/{pids.read_text().split()[1]}").exists()


def test_a_delegate_that_hangs_in_silence_is_killed(tmp_path: Path) -> None:
    """The end of its output is not waited for."""
    start = time.monotonic()
    error = error_of(tmp_path, "exec sleep 60", seconds=1.0)
    assert error.code == cni_errors.TRY_AGAIN
    assert "did not finish in time" in error.msg
    assert time.monotonic() - start < 30


def test_a_delegate_that_hangs_is_killed_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the deadline its whole process group is killed."""
    pid = tmp_path / "pid"
    # The time is over once the child is known, however long the machine takes until then.
    clock = SimpleNamespace(monotonic=lambda: 1000.0 if pid.exists() else 0.0, sleep=time.sleep)
    monkeypatch.setattr(process, "time", clock)
    monkeypatch.setattr(delegate, "time", clock)
    script(tmp_path, f"sleep 60 & echo $! > {pid}.new; mv {pid}.new {pid}; echo; sleep 60")
    with pytest.raises(CNIError, match="did not finish in time"):
        Runner([str(tmp_path)], ENVIRON, None)(CONF, ADD, 500.0)
    child = int(pid.read_text())
    state = Path(f"/proc/{child}/stat")
    for _ in range(100):
        if not state.exists() or state.read_text().split()[2] == "Z":
            break
        time.sleep(0.02)
    else:
        pytest.fail("the delegate's child still runs")


def test_a_daemon_that_keeps_every_descriptor_does_not_block_the_call(tmp_path: Path) -> None:
    """The delegate's own end counts, not the end of its output."""
    pids = tmp_path / "pid"
    start = time.monotonic()
    output = call(tmp_path, f"setsid sleep 20 & echo $! > {pids}; echo '{{}}'")
    assert output == {}
    assert time.monotonic() - start < 5
    os.kill(int(pids.read_text()), 9)


def test_standard_error_is_copied_to_ours(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As text."""
    call(tmp_path, "echo 'a warning' >&2; echo '{}'")
    assert capfd.readouterr().err == "a warning\n"


def test_an_executable_that_is_being_written_is_retried(tmp_path: Path) -> None:
    """ETXTBSY ends when the installer closes the file."""
    file = script(tmp_path, "")
    file.write_bytes(Path("/bin/true").read_bytes())
    runner = Runner([str(tmp_path)], ENVIRON, None)
    with file.open("ab") as writing:
        start = time.monotonic()
        threading.Timer(0.2, writing.close).start()
        assert runner(CONF, ADD, start + 10) is None
        assert time.monotonic() - start > 0.15


def test_an_executable_that_stays_busy_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the timeout."""
    monkeypatch.setattr(process, "_BUSY_TIMEOUT", 0.05)
    file = script(tmp_path, "")
    file.write_bytes(Path("/bin/true").read_bytes())
    with file.open("ab"), pytest.raises(CannotRunError, match="Text file busy"):
        Runner([str(tmp_path)], ENVIRON, None)(CONF, ADD, time.monotonic() + 10)


def test_a_kernel_without_pidfds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 5.3 the child is polled, with the same outcome."""

    def absent(_: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("posix.pidfd_open", absent)
    assert call(tmp_path, "sleep 0.05; cat") == CONF
    assert call(tmp_path, "exec 1>&- 2>&-; sleep 0.05") is None
    assert error_of(tmp_path, "sleep 60", seconds=0.2).code == cni_errors.TRY_AGAIN


def test_a_caller_that_does_not_read_standard_error_does_not_block_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit into the pipe is dropped after one timeout, however much there is."""
    monkeypatch.setattr(process, "_STDERR_TIMEOUT", 0.3)
    reader, writer = os.pipe()
    kept = os.dup(2)
    os.dup2(writer, 2)
    many = "for i in 1 2 3 4 5 6 7 8 9 10; do head -c 60000 /dev/zero >&2; sleep 0.01; done"
    try:
        start = time.monotonic()
        for _ in range(3):
            assert call(tmp_path, f"{many}; echo '{{}}'") == {}
        taken = time.monotonic() - start
    finally:
        os.dup2(kept, 2)
        for each in (kept, writer):
            os.close(each)
    assert taken < 10, "a timeout for each part that fits into the pipe would be 4 s for each call"
    with os.fdopen(reader, "rb") as file:
        assert 60_000 <= len(file.read()) <= 65536


def test_the_timeout_of_standard_error_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes a little now and then gets no more time. The clock is a fake."""
    now = [0.0]

    def write(_: int, data: bytes) -> int:
        now[0] += 0.15
        return len(data)

    monkeypatch.setattr("posix.write", write)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(process, "poll", Ready)
    process._copy_to_stderr(b"x" * 65536)
    assert now[0] == pytest.approx(0.3)


class Ready:
    """A poll whose descriptor is ready as long as it may wait."""

    def register(self, *_: object) -> None:
        """Do nothing."""

    def poll(self, milliseconds: float) -> list[int]:
        """Return that it is ready."""
        return [2] if milliseconds else []


def test_standard_error_that_is_closed_is_no_failure(tmp_path: Path) -> None:
    """The call succeeds though nobody can read the delegate's standard error."""
    script(tmp_path, "echo x >&2; echo '{}'")
    program = (
        "import os, time; from dispatcher.plugin.delegate import Runner; os.close(2);"
        f"print(Runner(['{tmp_path}'], {{}}, None)({CONF!r}, {ADD!r}, time.monotonic() + 9))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert result.stdout == "{}\n"


def test_standard_error_that_breaks_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the caller closes it between poll and write."""

    def broken(*_: object) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("posix.write", broken)
    process._copy_to_stderr(b"x")


LEAVES_ITS_GROUP = """
import os, pathlib, time
there = pathlib.Path(__file__).with_name("pids")
reader, writer = os.pipe()
other = os.fork()
if other:
    os.read(reader, 1)
    os.setpgid(0, other)
    there.write_text(f"{os.getpid()} {other}")
    print(flush=True)
else:
    os.setpgid(0, 0)
    os.write(writer, b"x")
time.sleep(60)
"""


def test_a_delegate_that_left_its_process_group_is_killed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a shell with job control does; its first group is empty then."""
    pids = tmp_path / "pids"
    # The time is over once it has left, however long the machine takes until then.
    clock = SimpleNamespace(
        monotonic=lambda: 1000.0 if pids.exists() and pids.read_text() else 0.0, sleep=time.sleep
    )
    monkeypatch.setattr(process, "time", clock)
    monkeypatch.setattr(delegate, "time", clock)
    file = script(tmp_path, "")
    file.write_text(f"#!{sys.executable} -IS\n{LEAVES_ITS_GROUP}")
    with pytest.raises(CNIError, match="did not finish in time"):
        Runner([str(tmp_path)], ENVIRON, None)(CONF, ADD, 500.0)
    own, other = pids.read_text().split()
    assert not Path(f"/proc/{own}").exists()
    os.kill(int(other), 9)


def test_a_delegate_that_no_kill_ends_does_not_block_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel keeps it in state D. A fake: no kill is sent."""
    real = os.killpg
    processes: list[int] = []
    monkeypatch.setattr(process, "_kill", processes.append)
    monkeypatch.setattr(process, "_KILL_TIMEOUT", 0.05)
    assert error_of(tmp_path, "sleep 60", seconds=1.0).code == cni_errors.TRY_AGAIN
    [child] = processes
    real(child, 9)
    os.waitpid(child, 0)
