"""Records that are corrupt, unnamed, unreadable or of a later version."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher import cni_errors
from dispatcher.cni_errors import CNIError
from dispatcher.state.record import FORMAT
from tests.unit.plugin.rig import Rig, error_of, failure


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"format":1,"oldestRea', id="truncated"),
        pytest.param(b'{"some":"thing"}', id="foreign"),
        pytest.param(b"[]", id="not an object"),
        pytest.param(b"\x00\xff", id="noise"),
    ],
)
def test_a_corrupt_record_is_rebuilt_from_the_annotations(rig: Rig, data: bytes) -> None:
    """DEL releases what its own call selects; the corrupt file is kept under another name."""
    rig.run("ADD", "weave,canal")
    (rig.state / "c1.json").write_bytes(data)
    rig.delegates.faults["DEL", "w1"] = failure()
    error_of(rig, "DEL", "weave,canal")
    assert [each["network"] for each in rig.record()["attachments"]] == ["weave"]
    rig.delegates.faults.clear()
    rig.run("DEL", "anything")
    assert rig.delegates.held == set()
    assert rig.left() == ["c1.json.corrupt"]
    assert (rig.state / "c1.json.corrupt").read_bytes() == data


def test_a_corrupt_record_with_an_invalid_annotation(rig: Rig) -> None:
    """Its ADD was refused, so only the DEL of the default network is left to run."""
    rig.run("ADD", "canal")
    (rig.state / "c1.json").write_bytes(b"{")
    rig.run("DEL", "bad@@")
    assert rig.delegates.held == set()
    assert rig.left() == ["c1.json.corrupt"]
    assert len(rig.warnings) == 2


def test_a_corrupt_record_of_a_network_that_is_not_configured_now(rig: Rig) -> None:
    """Its DEL fails, is parked, and succeeds once the configuration is back."""
    rig.run("ADD", "canal,weave@net1")
    (rig.state / "c1.json").write_bytes(b"{")
    (rig.conf / "10-weave.conflist").unlink()
    error = error_of(rig, "DEL", "canal,weave@net1")
    assert error.code == cni_errors.CANNOT_RUN
    assert "cannot release interface net1: no configuration" in error.msg
    assert {held[2] for held in rig.delegates.held} == {"weave-net"}
    rig.now += 600
    rig.run("DEL", "whatever")
    assert [each["phase"] for each in rig.record()["attachments"]] == ["parked"]
    rig.network("weave", "w1", "w2")
    rig.run("DEL", "whatever")
    assert rig.delegates.held == set()
    assert rig.left() == ["c1.json.corrupt"]


@pytest.mark.parametrize("code", [cni_errors.TRY_AGAIN, 120, 121, 122, 123])
def test_a_corrupt_record_while_the_annotation_is_unknown(rig: Rig, code: int) -> None:
    """An old runtime, and an agent that does not answer: the record stays."""
    rig.run("ADD", "weave")
    (rig.state / "c1.json").write_bytes(b"{")
    away: dict[str, Any] = {"runtimeConfig": {}, "agentSocket": "/run/agent.sock"}
    rig.agent_error = CNIError(code, "no such pod")
    error = error_of(rig, "DEL", **away)
    assert error.code == code
    assert error.msg.endswith(
        "c1.json is corrupt, and the pod's annotation is unknown: no such pod"
    )
    assert (rig.state / "c1.json").read_bytes() == b"{"
    rig.agent_error, rig.agent = None, "weave"
    rig.run("DEL", **away)
    assert rig.delegates.held == set()
    assert rig.left() == ["c1.json.corrupt"]


def test_a_record_that_a_power_cut_left_unnamed_is_released(rig: Rig) -> None:
    """The file is synced to disk, but not the directory."""
    rig.run("ADD", "weave,canal")
    (rig.state / "c1.json").rename(rig.state / "c1.json.tmp")
    rig.run("DEL", "canal")
    assert rig.delegates.held == set()
    assert rig.left() == []


def test_an_add_over_a_corrupt_record(rig: Rig) -> None:
    """The corrupt file is kept, and what it may have held is released before ADD."""
    rig.state.mkdir()
    (rig.state / "c1.json").write_bytes(b"{")
    rig.run("ADD", "canal,weave")
    assert rig.delegates.calls == [
        "DEL w2 weave-net eth1",
        "DEL w1 weave-net eth1",
        "DEL c1 canal-net eth0",
        "ADD c1 canal-net eth0",
        "ADD w1 weave-net eth1",
        "ADD w2 weave-net eth1",
    ]
    assert {each["phase"] for each in rig.record()["attachments"]} == {"attached"}
    assert "c1.json.corrupt" in rig.left()


def test_an_add_over_a_corrupt_record_that_cannot_be_released(rig: Rig) -> None:
    """It fails, as after a killed ADD, and what it may have held stays recorded."""
    rig.state.mkdir()
    (rig.state / "c1.json").write_bytes(b"{")
    rig.delegates.faults["DEL", "c1"] = failure(42)
    assert error_of(rig, "ADD", "canal").code == 42
    assert [each["network"] for each in rig.record()["attachments"]] == ["canal"]
    assert not rig.delegates.held


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK"])
def test_a_record_of_a_later_version_is_never_touched(rig: Rig, command: str) -> None:
    """The error asks for an upgrade, and the file stays."""
    rig.run("ADD", "canal")
    rig.rewrite(rig.record() | {"format": FORMAT + 1, "oldestReader": FORMAT + 1})
    before = rig.record()
    error = error_of(rig, command, "canal")
    assert error.code == cni_errors.TRY_AGAIN
    assert "upgrade" in error.details
    assert rig.record() == before


def test_a_record_of_a_later_version_that_we_can_read_is_used(rig: Rig) -> None:
    """DEL releases the attachments of a newer plugin; unknown keys survive a rewrite."""
    rig.run("ADD", "weave,canal")
    record = rig.record() | {"format": FORMAT + 1, "later": {"x": 1}}
    record["attachments"][0]["colour"] = "red"
    rig.rewrite(record)
    rig.delegates.faults["DEL", "w1"] = failure()
    error_of(rig, "DEL")
    assert rig.record()["later"] == {"x": 1}
    assert rig.record()["attachments"][0]["colour"] == "red"
    rig.delegates.faults.clear()
    rig.run("DEL")
    assert rig.delegates.held == set()


def test_an_unreadable_record_is_an_error_that_names_it(rig: Rig) -> None:
    """An operator must repair it."""
    rig.run("ADD", "canal")
    (rig.state / "c1.json").unlink()
    (rig.state / "c1.json").mkdir()
    with pytest.raises(IsADirectoryError, match=r"c1\.json"):
        rig.run("DEL")
