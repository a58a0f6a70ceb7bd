"""A record is complete from the end of its ADD to the first step of its release, and only then.

The agent publishes what a complete record lists as the pod's networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.state import store
from dispatcher.state.record import CorruptRecordError, Record
from dispatcher.state.record_reader import decode
from tests.unit.plugin.rig import Delegates, Rig, error_of, failure

if TYPE_CHECKING:
    from pathlib import Path


class Watching(Delegates):
    """Delegates that read the record on disk before and after each call, as the agent may."""

    def __init__(self, state: Path) -> None:
        super().__init__()
        self._state = state
        self.seen: list[tuple[str, bool]] = []

    def __call__(self, conf: dict[str, Any], variables: dict[str, str], *rest: Any) -> Any:
        """Note whether the record is complete, before and after the call."""
        try:
            return super().__call__(conf, variables, *rest)
        finally:
            self.seen.append((self.calls[-1], is_complete(self._state)))


def is_complete(state: Path) -> bool:
    try:
        record = store.read(str(state), "c1")
    except CorruptRecordError:
        return False
    return record is not None and record.is_complete


@pytest.fixture
def watched(rig: Rig) -> Rig:
    rig.network("third", "t1")
    rig.delegates = Watching(rig.state)
    return rig


def complete_at(rig: Rig) -> list[str]:
    """Return the calls during which the agent would have published the record."""
    assert isinstance(rig.delegates, Watching)
    return [call for call, complete in rig.delegates.seen if complete]


@pytest.mark.parametrize("value", ["canal,third", "canal,weave,third", "weave,canal,third"])
def test_no_step_of_a_failed_add_or_its_roll_back_shows_a_complete_record(
    watched: Rig, value: str
) -> None:
    """The attachments are removed one by one; the remaining ones must not look like a success."""
    watched.delegates.faults["ADD", "t1"] = failure()
    assert error_of(watched, "ADD", value).code == 7
    assert [call for call in watched.delegates.calls if call.startswith("DEL c1")]
    assert complete_at(watched) == []
    assert watched.left() == []


def test_a_result_that_cannot_be_converted_leaves_no_complete_record(watched: Rig) -> None:
    """All networks are attached then, but ADD fails."""
    watched.version = "0.2.0"
    watched.delegates.results["c1"] = {"cniVersion": "1.0.0"}
    assert error_of(watched, "ADD", "canal").code == 6
    assert complete_at(watched) == []


def test_a_record_that_was_complete_when_the_last_write_failed_is_so_no_longer(
    watched: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of the write fails, after the record got its name. The failure is injected."""
    real = store.write_synced

    def write(state_dir: str, record: Record) -> None:
        real(state_dir, record)
        if record.is_complete:
            raise OSError(5, "Input/output error", state_dir)

    monkeypatch.setattr(store, "write_synced", write)
    with pytest.raises(OSError, match="Input/output"):
        watched.run("ADD", "canal,third")
    assert complete_at(watched) == []
    assert watched.left() == []


def test_what_a_killed_add_left_is_not_complete_while_a_del_frees_it(watched: Rig) -> None:
    """Its first attachment alone would look like a pod on one network."""
    watched.run("ADD", "canal,third")
    record = decode((watched.state / "c1.json").read_bytes())
    record.attachments[1].phase = "attaching"
    store.write_synced(str(watched.state), record)
    watched.run("DEL")
    assert complete_at(watched) == []


def test_a_del_frees_a_complete_record_step_by_step_and_none_of_the_rest_is_complete(
    watched: Rig,
) -> None:
    """Only the first step may see the record as ADD left it."""
    watched.run("ADD", "canal,weave,third")
    assert is_complete(watched.state)
    watched.run("DEL")
    assert complete_at(watched) == ["DEL t1 third-net eth2"]


def test_the_attachments_of_another_call_are_complete_again(watched: Rig) -> None:
    """A runtime may attach a container twice, under two interfaces, and release one."""
    watched.run("ADD", "canal", interface="eth0")
    watched.run("ADD", "third", interface="eth7")
    watched.run("DEL", interface="eth7")
    assert is_complete(watched.state)


def test_a_partly_released_attachment_keeps_the_record_incomplete(watched: Rig) -> None:
    """Also when another call attaches more."""
    watched.run("ADD", "canal,third", interface="eth0")
    watched.delegates.faults["DEL", "c1"] = failure()
    assert error_of(watched, "DEL", interface="eth0").code == 7
    watched.run("ADD", "weave", interface="eth7")
    assert not is_complete(watched.state)


def test_a_record_without_attachments_is_not_complete() -> None:
    """It describes no pod."""
    assert not Record("c1", "/ns", []).is_complete
