from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest

from dispatcher.agent.journal_reader import (
    MAX_FAILED,
    JournalEntry,
    JournalReader,
    JournalStep,
    RetryTracker,
    parse,
)
from dispatcher.agent.metrics import AgentMetrics
from dispatcher.cni_errors import CNIError
from dispatcher.node.record_cache import CachedRecord
from dispatcher.state.record import ATTACHING, PARKED
from tests.unit.agent.builders import write_journal
from tests.unit.builders import make_record

if TYPE_CHECKING:
    from pathlib import Path


def test_what_the_plugin_writes_is_what_the_agent_reads(tmp_path: Path) -> None:
    """Each line once; the file is removed."""
    write_journal(tmp_path)
    write_journal(tmp_path, CNIError(103, "bridge: no address left"))
    journal = JournalReader(tmp_path)
    pod = ("ns", "p", "u1")
    assert journal.take() == [
        JournalEntry(1.0, "ADD", "c1", 0.04, 0, "", pod, (JournalStep("weave", 0.03, 0, "eth0"),)),
        JournalEntry(
            1.0,
            "ADD",
            "c1",
            0.04,
            103,
            "bridge: no address left",
            pod,
            (JournalStep("weave", 0.03, 103, "eth0"),),
        ),
    ]
    assert journal.take() == []
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_had_the_file_open_is_not_missed(tmp_path: Path) -> None:
    """It adds its line to the removed file, which is read once more."""
    write_journal(tmp_path, pod="early")
    line = (tmp_path / "journal").read_bytes()
    journal = JournalReader(tmp_path)
    with (tmp_path / "journal").open("ab") as slow:
        assert [entry.pod[2] for entry in journal.take()] == ["early"]
        slow.write(line.replace(b"early", b"late"))
    write_journal(tmp_path, pod="next")
    assert [entry.pod[2] for entry in journal.take()] == ["late", "next"]
    assert journal.take() == []


def test_a_journal_that_cannot_be_removed_is_not_reported(tmp_path: Path) -> None:
    """Its lines would be reported again and again. The loop logs the error and backs off."""
    (tmp_path / "journal").mkdir()
    journal = JournalReader(tmp_path)
    for _ in range(2):
        with pytest.raises(IsADirectoryError):
            journal.take()


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"time":1,"command":"ADD","containerID":"c","seconds":"x","code":0,"msg":"","pod":["","",""],"attachments":[]}',
        b'{"time":1,"command":"ADD","containerID":"c","seconds":1,"code":0,"msg":"","pod":["",""],"attachments":[]}',
        b'{"time":1,"command":"ADD","containerID":"c","seconds":1,"code":0,"msg":"","pod":[1],"attachments":{}}',
        b'{"time":1,"command":"ADD","containerID":"c","seconds":1,"code":0,"msg":"","pod":["","",""],"attachments":[1]}',
        b"\xff\xfe",
    ],
)
def test_a_line_that_is_not_understood_is_left_out(line: bytes) -> None:
    """Those around it are read."""
    good = {"time": 1, "command": "DEL", "containerID": "c"}
    good |= {"seconds": 1, "code": 0, "msg": "", "pod": ["", "", ""], "attachments": []}
    whole = json.dumps(good).encode()
    actual = list(parse(whole + b"\n" + line + b"\n" + whole + b"\n"))
    assert [entry.command for entry in actual] == ["DEL", "DEL"]


def shown(metrics: AgentMetrics) -> list[str]:
    return generate_latest(metrics.registry).decode().splitlines()


def test_calls_are_counted_by_command_network_and_code() -> None:
    """With their durations."""
    metrics = AgentMetrics()
    pod = ("", "", "")
    metrics.calls.count(
        [JournalEntry(1.0, "ADD", "c1", 0.04, 0, "", pod, (JournalStep("weave", 0.03, 0, "eth0"),))]
        * 2
    )
    metrics.calls.count([JournalEntry(1.0, "DEL", "c1", 0.04, 11, "x", pod, ())])
    lines = shown(metrics)
    assert 'genie_agent_call_duration_seconds_count{code="0",command="ADD"} 2.0' in lines
    assert 'genie_agent_call_duration_seconds_count{code="11",command="DEL"} 1.0' in lines
    attachment = 'genie_agent_attachment_duration_seconds_bucket{code="0",command="ADD",le="0.05"'
    assert f'{attachment},network="weave"}} 2.0' in lines


def test_the_definitions_of_a_namespace_are_one_network() -> None:
    """A tenant who creates many of them creates no series."""
    metrics = AgentMetrics()
    steps = tuple(JournalStep(f"shop/a{number}", 0.03, 0, "net1") for number in range(9))
    metrics.calls.count([JournalEntry(1.0, "ADD", "c1", 0.04, 0, "", ("", "", ""), steps)])
    parked = make_record()
    for attachment, name in zip(parked.attachments, ("shop/a", "shop/b"), strict=True):
        attachment.network, attachment.phase = name, PARKED
    metrics.records.show([CachedRecord("c", 0, parked, "")])
    lines = shown(metrics)
    counts = [line for line in lines if "attachment_duration_seconds_count{" in line]
    name = "genie_agent_attachment_duration_seconds_count"
    assert counts == [f'{name}{{code="0",command="ADD",network="shop/*"}} 9.0']
    assert 'genie_agent_parked_attachments{network="shop/*"} 2.0' in lines


def test_the_roll_back_of_a_failed_add_is_no_add() -> None:
    """Its DELs count as such: a network that fails would look as if it attached pods."""
    metrics = AgentMetrics()
    steps = [
        ("weave", "eth0", 0),
        ("canal", "net1", 11),
        ("canal", "net1", 0),
        ("weave", "eth0", 0),
    ]
    calls = tuple(JournalStep(network, 0.1, code, name) for network, name, code in steps)
    failed = JournalEntry(1.0, "ADD", "c1", 0.4, 11, "x", ("", "", ""), calls)
    assert [command for command, _ in failed.operations()] == ["ADD", "ADD", "DEL", "DEL"]
    repeated = failed._replace(command="DEL")
    assert [command for command, _ in repeated.operations()] == ["DEL"] * 4
    metrics.calls.count([failed])
    lines = shown(metrics)
    count = "genie_agent_attachment_duration_seconds_count"
    assert f'{count}{{code="11",command="ADD",network="canal"}} 1.0' in lines
    assert f'{count}{{code="0",command="DEL",network="canal"}} 1.0' in lines
    assert not any(f'{count}{{code="0",command="ADD",network="canal"' in line for line in lines)


def entry(command: str, container: str, code: int, uid: str = "u1") -> JournalEntry:
    return JournalEntry(
        1.0, command, container, 0.1, code, "x" if code else "", ("ns", "p", uid), ()
    )


RETRIES = {
    "an ADD after a failed one of the same pod, in a new sandbox": (
        [entry("ADD", "c1", 103), entry("ADD", "c2", 0)],
        [False, True],
    ),
    "a DEL after a failed one of the same container": (
        [entry("DEL", "c1", 11), entry("DEL", "c1", 11), entry("DEL", "c1", 0)],
        [False, True, True],
    ),
    "not an ADD of another pod": (
        [entry("ADD", "c1", 103), entry("ADD", "c2", 0, uid="u2")],
        [False, False],
    ),
    "not a DEL of another container of the pod": (
        [entry("DEL", "c1", 11), entry("DEL", "c2", 0)],
        [False, False],
    ),
    "not the DEL that follows a failed ADD": (
        [entry("ADD", "c1", 103), entry("DEL", "c1", 0)],
        [False, False],
    ),
    "not what follows a success": (
        [entry("ADD", "c1", 103), entry("ADD", "c2", 0), entry("ADD", "c3", 0)],
        [False, True, False],
    ),
    "where the runtime tells no UID, by container": (
        [
            entry("ADD", "c1", 103, uid=""),
            entry("ADD", "c2", 0, uid=""),
            entry("ADD", "c1", 0, uid=""),
        ],
        [False, False, True],
    ),
}


@pytest.mark.parametrize(("entries", "expected"), RETRIES.values(), ids=RETRIES)
def test_a_retry_is(entries: list[JournalEntry], expected: list[bool]) -> None:
    """What comes again because it failed before; the metric counts it by command."""
    retries = RetryTracker()
    assert [retries.track(each) for each in entries] == expected
    metrics = AgentMetrics()
    metrics.calls.count(entries)
    counted = sum(
        float(line.rpartition(" ")[2])
        for line in shown(metrics)
        if line.startswith("genie_agent_retries_total{")
    )
    assert counted == sum(expected)


def test_only_so_many_failures_are_remembered() -> None:
    """A node on which everything fails costs no more memory; the oldest are forgotten."""
    retries = RetryTracker()
    for number in range(MAX_FAILED + 1):
        retries.track(entry("DEL", f"c{number}", 11))
    assert not retries.track(entry("DEL", "c0", 0))
    assert retries.track(entry("DEL", "c2", 0))


def test_records_are_shown_by_state() -> None:
    """A record that is several of these counts as the worst."""
    whole, incomplete, failed, parked = (make_record() for _ in range(4))
    incomplete.attachments[1].phase = ATTACHING
    failed.attachments[1].failure = {"code": 11, "msg": "x"}
    parked.attachments[1].failure = {"code": 11, "msg": "x"}
    parked.attachments[1].phase = PARKED
    stored = [CachedRecord("c", 0, each, "") for each in (whole, incomplete, failed, parked)]
    stored.append(CachedRecord("c", 0, None, "corrupt"))
    assert [each.state for each in stored] == [
        "attached",
        "incomplete",
        "failed",
        "parked",
        "unreadable",
    ]
    metrics = AgentMetrics()
    metrics.records.show([stored[0], stored[0], stored[3]])
    lines = shown(metrics)
    assert 'genie_agent_records{state="attached"} 2.0' in lines
    assert 'genie_agent_records{state="parked"} 1.0' in lines
    assert 'genie_agent_records{state="failed"} 0.0' in lines
    assert 'genie_agent_parked_attachments{network="canal"} 1.0' in lines
    metrics.records.show([stored[0]])
    assert not [line for line in shown(metrics) if "parked_attachments{" in line]


def test_networks_are_shown_with_the_reason_of_their_absence() -> None:
    """What was shown before and is no more does not linger."""
    metrics = AgentMetrics()
    metrics.node.show_networks({"weave": "no binary"}, "not installed")
    lines = shown(metrics)
    assert 'genie_agent_network_available{network="weave"} 0.0' in lines
    assert 'genie_agent_network_unavailable{network="weave",reason="no binary"} 1.0' in lines
    assert 'genie_agent_problem{problem="not installed"} 1.0' in lines
    metrics.node.show_networks({"weave": ""}, "")
    after = shown(metrics)
    assert 'genie_agent_network_available{network="weave"} 1.0' in after
    assert not [line for line in after if "no binary" in line or "not installed" in line]
