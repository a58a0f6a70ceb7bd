"""``genie doctor``: failed DELs, calls that were not completed, and locks held too long."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

import pytest

from dispatcher.plugin.cli.record_checks import locks, records
from dispatcher.state.record import PARKED
from tests.unit.cli.builders import CommandLine, in_this_process
from tests.unit.plugin.rig import error_of, failure

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.plugin.rig import Rig

DEADLINE = 90


def found(node: Rig, seconds: float = 0.0) -> list[tuple[str, str]]:
    """Return message and fix of each problem with the records, *seconds* from now."""
    findings = records(str(node.state), DEADLINE, lambda: node.now + seconds)
    return [(each.message, each.fix) for each in findings if each.is_problem]


def test_a_failed_del_is_named_with_its_reason_and_age(node: Rig) -> None:
    """The pod stays Terminating because of it; the fix has the command that retries at once."""
    node.run("ADD", "canal", netns="/proc/self/ns/net")
    node.delegates.faults["DEL", "c1"] = failure(7, "no such pool")
    error_of(node, "DEL", netns="/proc/self/ns/net")
    [(message, fix)] = found(node, 600)
    assert message.startswith(
        "ns/pod: DEL of network canal on interface eth0 failed 10 minutes ago"
    )
    assert "no such pool" in message
    assert "genie free c1 at once" in fix


def test_a_parked_attachment_is_no_failed_del_too(node: Rig) -> None:
    """One finding for each: its wait is over, and the reaper releases it."""
    node.run("ADD", "canal", netns="/proc/self/ns/net")
    value = node.record()
    value["attachments"][0]["phase"] = PARKED
    value["attachments"][0]["failure"] = {"since": 1, "cannotRun": True, "code": 107, "msg": "gone"}
    node.rewrite(value)
    assert [message for message, _ in found(node)] == ["ns/pod: network canal is parked: gone"]


@pytest.mark.parametrize(("age", "words"), [(80, ""), (220, "expired 2 minutes ago")])
def test_a_call_that_was_killed_is_found_when_its_deadline_has_expired(
    node: Rig, age: float, words: str
) -> None:
    """Until then it may still run."""
    node.run("ADD", "canal", netns="/proc/self/ns/net")
    value = node.record()
    value["attachments"][0]["phase"] = "attaching"
    node.rewrite(value)
    os.utime(node.state / "c1.json", (node.now, node.now))
    messages = [message for message, _ in found(node, age)]
    assert len(messages) == bool(words)
    assert all(words in message and "canal is attaching" in message for message in messages)


def test_a_complete_record_is_fine_at_any_age(node: Rig) -> None:
    """Pods live for months."""
    node.run("ADD", "weave,canal@net1", netns="/proc/self/ns/net")
    assert found(node, 10_000_000) == []


def test_a_missing_namespace_names_the_command_that_releases(node: Rig) -> None:
    """For those who do not want to wait for the reaper."""
    node.run("ADD", "canal", netns="/run/netns/none")
    [(message, fix)] = found(node)
    assert "/run/netns/none does not exist" in message
    assert fix == "wait for the reaper, or run genie free c1"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0 seconds"), (119, "119 seconds"), (7300, "2 hours"), (200_000, "2 days")],
)
def test_ages_are_shown_in_a_unit_that_fits(node: Rig, seconds: float, shown: str) -> None:
    """A clock may have been set back."""
    node.run("ADD", "canal", netns="/proc/self/ns/net")
    node.delegates.faults["DEL", "c1"] = failure()
    error_of(node, "DEL", netns="/proc/self/ns/net")
    [(message, _)] = found(node, seconds)
    assert f"failed {shown} ago" in message


@in_this_process
def test_a_record_that_goes_while_it_is_checked(
    node: Rig, genie: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its DEL has just ended."""
    node.run("ADD", "canal", netns="/proc/self/ns/net")
    value = node.record()
    value["attachments"][0]["phase"] = "attaching"
    node.rewrite(value)
    real = os.stat

    def stat(path: str, *args: object, **more: object) -> os.stat_result:
        if str(path).endswith("c1.json"):
            raise FileNotFoundError
        return real(path, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("os.stat", stat)
    assert not [each for each in genie.json("doctor") if each["about"] == "record"]


def hold(path: Path, entry: str) -> int:
    """Lock the file *path* that names a delegate, and return the descriptor."""
    path.write_text(entry.rjust(64))
    file = os.open(path, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


@pytest.mark.parametrize(
    ("name", "overdue", "words"),
    [
        pytest.param("c1.lock", 100, "lock of container c1 is still held 100 seconds", id="late"),
        pytest.param(".gc.lock", 600, "lock of GC is still held 10 minutes", id="GC"),
        pytest.param("c1.lock", 3, "", id="within the plugin's own grace"),
        pytest.param("c1.lock", -60, "", id="in time"),
    ],
)
def test_a_lock_beyond_its_delegates_deadline_is_found(
    tmp_path: Path, name: str, overdue: int, words: str
) -> None:
    """A killed call left the delegate: calls of this container wait for it."""
    now = time.monotonic()
    file = hold(tmp_path / name, f"4711 {now - overdue:.0f}\n")
    try:
        messages = [each.message for each in locks(str(tmp_path), lambda: round(now))]
    finally:
        os.close(file)
    assert len(messages) == bool(words)
    assert all(words in message and "process 4711" in message for message in messages)


@pytest.mark.parametrize("entry", ["", "4711 1\n"])
def test_a_lock_that_nobody_holds_is_fine(tmp_path: Path, entry: str) -> None:
    """Every container that runs has one, and a killed call leaves its entry."""
    (tmp_path / "c1.lock").write_text(entry)
    (tmp_path / "journal").touch()
    assert list(locks(str(tmp_path))) == []
    assert list(locks(str(tmp_path / "none"))) == []


def test_a_held_lock_without_a_delegate_is_a_call_at_its_start(tmp_path: Path) -> None:
    """It names none before it starts one."""
    file = hold(tmp_path / "c1.lock", "")
    try:
        assert list(locks(str(tmp_path))) == []
    finally:
        os.close(file)


def test_a_lock_that_goes_while_it_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its call has just ended."""
    monkeypatch.setattr("os.listdir", lambda _: ["c1.lock"])
    assert list(locks(str(tmp_path))) == []


def test_doctor_reports_what_the_agent_waits_for(node: Rig, genie: CommandLine) -> None:
    """Each sentence that the agent has left is a finding of its own."""
    node.state.mkdir(exist_ok=True)
    (node.state / ".agent-problem").write_text("it waits for labels\nit waits for pods\n")
    said = [each["said"] for each in genie.json("doctor") if each["about"] == "agent"]
    assert said == ["it waits for labels", "it waits for pods"]
