"""One run of a delegate: its executable, its input, and what its answer means."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dispatcher import cni_errors
from dispatcher.cni_errors import CannotRunError, CNIError
from dispatcher.plugin import delegate, process
from dispatcher.plugin.delegate import Runner
from dispatcher.state import lock
from tests.unit.plugin.shell_plugin import ADD, CONF, ENVIRON, call, error_of, script


def test_configuration_and_environment_reach_the_delegate(tmp_path: Path) -> None:
    """Standard input whole; the inherited environment, with ours added."""
    seen = tmp_path / "seen"
    output = call(tmp_path, f"cat; env > {seen}")
    assert output == CONF
    lines = seen.read_text().splitlines()
    assert "TRACEPARENT=00-abc" in lines
    assert "CNI_COMMAND=ADD" in lines
    assert f"{delegate.CHAIN}=1" in lines


def test_a_delegate_gets_its_configuration_after_a_step(tmp_path: Path) -> None:
    """It runs by then, and waits for its configuration."""
    runs, received = tmp_path / "runs", tmp_path / "told"
    script(tmp_path, f"touch {runs}; read -r conf; touch {received}; echo '{{}}'")

    def before_input() -> None:
        deadline = time.monotonic() + 10
        while not runs.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert runs.exists()
        assert not received.exists()

    runner = Runner([str(tmp_path)], ENVIRON, None)
    assert runner(CONF, ADD, time.monotonic() + 20, before_input) == {}
    assert received.exists()


def test_a_delegate_has_its_configuration_while_another_step_runs(tmp_path: Path) -> None:
    """That step may take as long as the delegate; its failure kills the delegate."""
    received, pids = tmp_path / "told", tmp_path / "pid"
    script(tmp_path, f"echo $$ > {pids}; read -r conf; touch {received}; cat; echo '{{}}'")
    runner = Runner([str(tmp_path)], ENVIRON, None)

    def while_running() -> None:
        deadline = time.monotonic() + 10
        while not received.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert received.exists()

    assert runner(CONF, ADD, time.monotonic() + 20, while_running=while_running) == {}

    def fail() -> None:
        while_running()
        raise OSError(12, "Cannot allocate memory")

    received.unlink()
    script(tmp_path, f"echo $$ > {pids}; read -r conf; touch {received}; sleep 60")
    with pytest.raises(OSError, match="Cannot allocate memory"):
        runner(CONF, ADD, time.monotonic() + 20, while_running=fail)
    assert not Path(f"/proc/{pids.read_text().strip()}").exists()


def test_a_delegate_gets_no_configuration_after_the_deadline(tmp_path: Path) -> None:
    """The error does not blame the delegate."""
    received = tmp_path / "told"
    script(tmp_path, f"read -r conf && touch {received}")
    runner = Runner([str(tmp_path)], ENVIRON, None)
    deadline = time.monotonic() + 1.0
    with pytest.raises(CNIError, match="no time is left to run plugin plug"):
        runner(CONF, ADD, deadline, lambda: time.sleep(max(0.0, deadline - time.monotonic())))
    assert not received.exists()


def test_a_delegate_is_killed_if_the_step_before_its_input_fails(tmp_path: Path) -> None:
    """As when the disk is full: it never gets its configuration."""
    pids, received = tmp_path / "pid", tmp_path / "told"
    script(tmp_path, f"echo $$ > {pids}; cat > {received}; sleep 60")

    def before_input() -> None:
        while not (pids.exists() and pids.read_text()):
            time.sleep(0.01)
        raise OSError(28, "No space left on device")

    runner = Runner([str(tmp_path)], ENVIRON, None)
    with pytest.raises(OSError, match="No space left"):
        runner(CONF, ADD, time.monotonic() + 20, before_input)
    assert not Path(f"/proc/{pids.read_text().strip()}").exists()
    assert not received.exists() or received.read_text() == ""


@pytest.mark.parametrize(
    ("text", "code", "msg", "details"),
    [
        pytest.param(
            """echo '{"code":42,"msg":"no","details":"d"}'; exit 1""", 42, "no", "d", id="its error"
        ),
        pytest.param("exit 3", 103, "plugin plug exited with code 3", "",
                     id="an exit code alone"),
        pytest.param("echo 'no route' >&2; exit 3", 103, "plugin plug exited with code 3",
                     'standard error ends with "no route"', id="words on standard error"),
        pytest.param("echo oops; echo why >&2; exit 1", 103,
                     "plugin plug exited with code 1",
                     'standard output "oops" is not JSON: a value is expected at line 1 column 1; '
                     'standard error ends with "why"',
                     id="words on both"),
        pytest.param("""echo why >&2; echo '{"code":42,"msg":"no"}'; exit 1""", 42, "no", "",
                     id="its error, and words beside"),
        pytest.param("echo oops; exit 1", 103, "plugin plug exited with code 1",
                     'standard output "oops" is not JSON: a value is expected at line 1 column 1',
                     id="words and an exit code"),
        pytest.param("echo oops", 103, "plugin plug succeeded",
                     'standard output "oops" is not JSON: a value is expected at line 1 column 1',
                     id="words and success"),
        pytest.param("printf '\\033[31m<html>'; head -c 9999 /dev/zero | tr '\\0' x", 103,
                     "plugin plug succeeded",
                     rf'standard output "\x1b[31m<html>{"x" * 189}…" is not JSON: '
                     "a value is expected at line 1 column 1",
                     id="many words that a terminal would act upon"),
        pytest.param("echo '[]'", 103, "plugin plug succeeded",
                     'standard output "[]" is not a JSON object', id="a list"),
        pytest.param("echo '{}'; exit 1", 103,
                     'plugin plug exited with code 1 and printed an object without "msg"', "",
                     id="an empty object"),
        pytest.param("""echo '{"code":"x","msg":7,"details":[]}'; exit 1""", 103,
                     'plugin plug exited with code 1 and printed an object without "msg"', "",
                     id="an error of wrong types"),
        pytest.param("""echo '{"code":true,"msg":"no"}'; exit 1""", 103, "no", "",
                     id="a boolean for a code"),
        pytest.param("kill -9 $$", 103, "plugin plug was killed by signal 9",
                     "", id="a signal"),
        pytest.param("printf '\\377\\376'", 103, "plugin plug succeeded",
                     r'standard output "\ufffd\ufffd" is not JSON: byte 0 is not UTF-8',
                     id="noise"),
    ],
)  # fmt: skip
def test_how_a_delegate_may_fail(
    tmp_path: Path, text: str, code: int, msg: str, details: str
) -> None:
    """Its own code, message and details if it printed them, else how it exited."""
    error = error_of(tmp_path, text)
    assert (error.code, error.msg, error.details) == (code, msg, details)


def test_nothing_printed_is_no_result(tmp_path: Path) -> None:
    """The chain reports that on ADD."""
    assert call(tmp_path, "exit 0") is None


@pytest.mark.parametrize("command", ["DEL", "CHECK", "GC", "STATUS"])
def test_output_of_a_success_counts_on_add_alone(tmp_path: Path, command: str) -> None:
    """As with libcni: invalid output on DEL must not keep a pod from being deleted."""
    assert call(tmp_path, "echo freed", command=command) is None
    assert call(tmp_path, "echo '{}'", command=command) is None
    assert (
        error_of(tmp_path, "echo freed; exit 1", command=command).code == cni_errors.DELEGATE_FAILED
    )


def test_an_error_quotes_only_the_end_of_standard_error(tmp_path: Path) -> None:
    """The reason of a failure is usually in the last lines."""
    error = error_of(tmp_path, "head -c 200000 /dev/zero | tr '\\0' x >&2; echo why >&2; exit 2")
    assert error.details.endswith('xwhy"')
    assert len(error.details) < 600


def test_no_delegate_starts_after_the_deadline(tmp_path: Path) -> None:
    """It would be killed at once."""
    error = error_of(tmp_path, "", seconds=0)
    assert (error.code, error.msg) == (cni_errors.TRY_AGAIN, "no time is left to run plugin plug")


def test_the_lock_records_the_delegate_and_its_deadline(tmp_path: Path) -> None:
    """For those who wait for it, if the plugin is killed."""
    held = lock.acquire_container(str(tmp_path), "c1", time.monotonic() + 5)
    runner = Runner([str(tmp_path)], ENVIRON, None)
    runner.lock = held
    deadline = time.monotonic() + 10
    file = tmp_path / "c1.lock"
    wait = f"while [ ! -s {file} ]; do sleep 0.01; done"
    script(tmp_path, f"{wait}; echo $$ $(cat {file}) > {tmp_path}/seen")
    runner(CONF, {"CNI_COMMAND": "DEL"}, deadline)
    own, noted, time_noted = (tmp_path / "seen").read_text().split()
    assert (noted, time_noted) == (own, f"{deadline:.0f}")
    held.release()


MANY_VALUES = "printf '['; yes '[],' | head -c"


@pytest.mark.parametrize(
    ("end", "how"),
    [("", "succeeded"), ("; exit 3", "exited with code 3"), ("; kill -9 $$", "was killed by")],
    ids=["and it succeeds", "and it fails", "and it is killed"],
)
def test_output_beyond_the_limit_is_an_error(tmp_path: Path, end: str, how: str) -> None:
    """It names the plugin, the limit and how the plugin exited."""
    error = error_of(tmp_path, f"{MANY_VALUES} 50000000{end}", seconds=60)
    assert error.code == cni_errors.DELEGATE_FAILED
    assert error.msg.startswith(f"plugin plug printed more than 16 MiB and {how}")
    assert error.details.startswith(r'standard output begins with "[[],\x0a[],')
    assert len(error.details) < 1000


@pytest.mark.parametrize("more", [0, 1], ids=["as much as may be", "a byte more"])
def test_the_limit_of_output_is_exact(tmp_path: Path, more: int) -> None:
    """Output of exactly the limit is read whole."""
    size = process.MAX_OUTPUT - len('{"a":""}') + more
    text = f"""printf '{{"a":"'; head -c {size} /dev/zero | tr '\\0' x; printf '"}}'"""
    if more:
        assert "more than 16 MiB" in error_of(tmp_path, text, seconds=60).msg
    else:
        assert call(tmp_path, text, seconds=60) == {"a": "x" * size}


def test_output_beyond_the_limit_does_not_matter_on_del(tmp_path: Path) -> None:
    """A DEL that succeeds has succeeded, as with libcni."""
    assert call(tmp_path, f"{MANY_VALUES} 50000000", seconds=60, command="DEL") is None


PEAK = """
import sys, time
sys.path.insert(0, {tree!r})
from dispatcher.plugin.delegate import Runner
from dispatcher.cni_errors import CNIError
run = Runner([{folder!r}], {{"PATH": "/usr/bin:/bin"}}, None)
try:
    run({conf!r}, {add!r}, time.monotonic() + 60)
except CNIError as error:
    print(error.msg)
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


def test_output_beyond_the_limit_takes_little_more_memory_than_the_limit(tmp_path: Path) -> None:
    """50 MB of JSON are not parsed: 8 MB of it took 230 MiB. Peak of the resident set, in KiB."""
    script(tmp_path, f"{MANY_VALUES} 50000000")
    places = {"tree": str(Path(__file__).parents[3]), "folder": str(tmp_path)}
    code = PEAK.format(**places, conf=CONF, add=ADD)
    command = [sys.executable, "-IS", "-c", code]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert "more than 16 MiB" in out[0]
    assert int(out[1]) < 48 << 10


def test_executables_that_cannot_be_run(tmp_path: Path) -> None:
    """Missing, not executable, not a program, or with a missing interpreter."""
    runner = Runner([str(tmp_path)], ENVIRON, None)
    deadline = time.monotonic() + 5
    with pytest.raises(CannotRunError, match=f"plugin plug is missing: not found in {tmp_path}"):
        runner(CONF, ADD, deadline)
    file = script(tmp_path, "")
    file.chmod(0o644)
    with pytest.raises(CannotRunError, match="is not executable"):
        runner(CONF, ADD, deadline)
    file.write_text("#!/no/such/interpreter\n")
    file.chmod(0o755)
    with pytest.raises(CannotRunError, match=r"cannot execute .*: No such file"):
        runner(CONF, ADD, deadline)
    file.write_bytes(b"\0\0\0\0")
    with pytest.raises(CannotRunError, match=r"cannot execute .*: Exec format error"):
        runner(CONF, ADD, deadline)


@pytest.mark.parametrize("function", ["pipe2", "posix_spawn"])
@pytest.mark.parametrize("number", [11, 12, 24], ids=["EAGAIN", "ENOMEM", "EMFILE"])
def test_a_machine_without_resources_is_code_11(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, number: int
) -> None:
    """The plugin is not missing, and nothing crashes. The error is injected."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(f"posix.{function}", refuse)
    error = error_of(tmp_path, "")
    assert not isinstance(error, CannotRunError)
    assert error.code == cni_errors.TRY_AGAIN
    assert error.msg == f"cannot start plugin plug: {os.strerror(number)}"


def test_an_executable_that_is_removed_during_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as missing. The moment is injected."""
    file = script(tmp_path, "")

    def gone(*_: object) -> bool:
        file.unlink()
        return True

    monkeypatch.setattr("posix.access", gone)
    with pytest.raises(CannotRunError, match="No such file"):
        Runner([str(tmp_path)], ENVIRON, (1, 1)).locate("plug")


def test_our_own_executable_is_never_a_delegate(tmp_path: Path) -> None:
    """Under any name: a symbolic or hard link to it is refused."""
    own = script(tmp_path, "", "genie")
    (tmp_path / "plug").symlink_to(own)
    stat = own.stat()
    runner = Runner([str(tmp_path)], ENVIRON, (stat.st_dev, stat.st_ino))
    with pytest.raises(CNIError, match="is Genie itself") as raised:
        runner(CONF, ADD, time.monotonic() + 5)
    assert raised.value.code == cni_errors.RECURSION
