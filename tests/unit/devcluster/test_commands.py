from pathlib import Path

import pytest

from tests.devcluster import state
from tests.devcluster.__main__ import main
from tests.devcluster.commands import CommandError, log_progress, run, step


def test_the_error_of_a_failed_program_has_its_last_lines() -> None:
    """They contain the reason; the whole output may be long."""
    with pytest.raises(CommandError, match=r"(?s)exit code 3\n.*line 99$") as error:
        run(["sh", "-c", "seq -f 'line %g' 99; exit 3"])
    assert error.value.returncode == 3
    assert "line 1\n" not in str(error.value)
    assert "line 1\n" in error.value.output


def test_a_program_that_is_not_there_is_a_failed_program() -> None:
    """The exit code is 127, as in a shell."""
    with pytest.raises(CommandError, match="program not found: /no/such") as error:
        run(["/no/such"])
    assert error.value.returncode == 127


def test_a_failure_that_is_expected_is_returned() -> None:
    """With check=False the caller gets the exit code."""
    assert run(["sh", "-c", "exit 4"], check=False).returncode == 4


def test_a_program_that_takes_too_long_is_a_failed_program() -> None:
    """The exit code is 124, as of timeout(1); check=False does not matter."""
    with pytest.raises(CommandError, match="sleep 60: exit code 124\ntimed out after 0 s") as error:
        run(["sleep", "60"], check=False, timeout=0.01)
    assert error.value.returncode == 124


def test_input_and_environment_reach_the_program() -> None:
    """The environment is added to, not replaced."""
    result = run(
        ["sh", "-c", 'read word; echo "$word $MORE $PATH"'], input="hi\n", env={"MORE": "x"}
    )
    assert result.stdout.startswith("hi x /")


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is for what a shell evaluates."""
    with step("building"):
        log_progress("half way")
    written = capsys.readouterr()
    assert written.out == ""
    assert [line.partition("] ")[2] for line in written.err.splitlines()] == [
        "building …",
        "half way",
    ]


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENIE_STATE", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("own_state")
def test_a_state_is_read_as_it_was_written() -> None:
    """Later commands read it; a cluster without files has none."""
    written = state.new("genie", {"node1": ["canal"], "node2": ["weave"]}, "oldest")
    state.reserve(written)
    assert state.load("genie") == written
    assert state.load("other") is None
    assert written.number("node2") == 2


@pytest.mark.usefixtures("own_state")
def test_clusters_that_prefer_one_slot_get_two() -> None:
    """Each keeps its slot when it is started again."""
    first = state.new("genie", {}, "current")
    second = state.new("other", {}, "current")
    state.reserve(first)
    taken = first.slot
    second.slot = taken
    second.save()
    state.reserve(first)
    assert first.slot != taken
    again = first.slot
    state.reserve(first)
    assert first.slot == again


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """So a new user sees them all."""
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for command in ("check", "build", "image", "up", "down", "env", "status"):
        assert f"    {command} " in text


@pytest.mark.usefixtures("own_state")
def test_env_of_a_cluster_that_does_not_run_prints_nothing_to_evaluate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Stderr says what to do, and the exit code is not 0."""
    assert main(["env", "--name", "nobody"]) == 1
    written = capsys.readouterr()
    assert written.out == ""
    assert "start it with `python -m tests.devcluster up --name nobody`" in written.err


@pytest.mark.usefixtures("own_state")
def test_a_name_that_is_a_path_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It is never used as a path."""
    assert main(["down", "--name", "../x"]) == 1
    assert "is not a valid name" in capsys.readouterr().err
