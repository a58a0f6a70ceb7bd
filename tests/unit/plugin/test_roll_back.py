"""A failed ADD: what is released, and what stays recorded for a later DEL."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher import cni_errors
from dispatcher.cni_errors import CannotRunError, CNIError, NotStartedError
from dispatcher.state import store
from tests.unit.plugin.rig import Delegates, Rig, error_of, failure, hung


def test_a_failure_is_rolled_back_in_reverse(rig: Rig) -> None:
    """The failing network is released too; its own message follows ours."""
    rig.delegates.faults["ADD", "w2"] = failure(42, "no address left", "pool")
    error = error_of(rig, "ADD", "canal@net1,weave")
    assert (error.code, error.details) == (42, "pool")
    assert error.msg == (
        'ADD failed for network "weave" on interface "eth0" (plugin w2): no address left'
    )
    assert rig.delegates.calls[3:] == [
        "DEL w2 weave-net eth0",
        "DEL w1 weave-net eth0",
        "DEL c1 canal-net net1",
    ]
    assert rig.delegates.held == set()
    assert rig.left() == []


def test_what_a_roll_back_cannot_release_stays_recorded(rig: Rig) -> None:
    """The first error is returned; a later DEL releases the rest."""
    rig.delegates.faults["ADD", "c1"] = failure()
    rig.delegates.faults["DEL", "w1"] = hung()
    error = error_of(rig, "ADD", "weave@net1,canal")
    assert error.msg.endswith("no address left")
    kept = rig.record()["attachments"]
    assert [(each["network"], each["failure"]["code"]) for each in kept] == [("weave", 11)]
    assert any("is incomplete" in line for line in rig.warnings)
    rig.delegates.faults.clear()
    rig.run("DEL")
    assert rig.delegates.held == set()
    assert rig.left() == []


NOT_STARTED = {
    "cannot be executed": CannotRunError("cannot execute /bin/x: Text file busy"),
    "finds no room on the machine": NotStartedError(cni_errors.TRY_AGAIN, "no memory"),
}


NEVER_RAN = {
    "the primary": ("canal", "c1", []),
    "a secondary": ("weave,canal@net1", "c1", ["w2", "w1"]),
    "the second of a chain": ("weave", "w2", ["w1"]),
    "the second of a secondary's chain": ("canal,weave@net1", "w2", ["w1", "c1"]),
}
"""By what it is: the annotation, its type, and what ran before it and has to be freed."""


@pytest.mark.parametrize("error", NOT_STARTED.values(), ids=NOT_STARTED)
@pytest.mark.parametrize(("cni", "plugin_type", "freed"), NEVER_RAN.values(), ids=NEVER_RAN)
def test_a_delegate_that_never_ran_leaves_nothing_to_release(
    rig: Rig, error: NotStartedError, cni: str, plugin_type: str, freed: list[str]
) -> None:
    """What ran before it is released, and DEL does not fail: it cannot be executed then either."""
    rig.delegates.not_started[plugin_type] = error
    assert error_of(rig, "ADD", cni).code == error.code
    called = [call.split()[1] for call in rig.delegates.calls if call.startswith("DEL")]
    assert called == freed
    assert (rig.delegates.held, rig.left()) == (set(), [])


@pytest.mark.parametrize("error", [failure(), hung()], ids=["fails", "hangs"])
def test_a_delegate_that_ran_is_released_with_all_that_ran_before_it(
    rig: Rig, error: CNIError
) -> None:
    """It may have done something before it was killed."""
    rig.delegates.faults["ADD", "w2"] = error
    error_of(rig, "ADD", "canal,weave@net1")
    called = [call.split()[1] for call in rig.delegates.calls if call.startswith("DEL")]
    assert called == ["w2", "w1", "c1"]
    assert (rig.delegates.held, rig.left()) == (set(), [])


def test_the_record_of_a_failed_roll_back_holds_what_ran_alone(rig: Rig) -> None:
    """A later DEL releases that, though the plugin after it still cannot be executed."""
    rig.delegates.not_started["w2"] = CannotRunError("busy")
    rig.delegates.faults["DEL", "w1"] = failure()
    error_of(rig, "ADD", "weave")
    [kept] = rig.record()["attachments"]
    assert [each["type"] for each in kept["conf"]["plugins"]] == ["w1"]
    rig.delegates.faults.clear()
    rig.run("DEL")
    assert (rig.delegates.held, rig.left()) == (set(), [])


def test_a_roll_back_does_not_free_what_was_not_begun(rig: Rig) -> None:
    """This process knows which delegates it called."""
    rig.delegates.faults["ADD", "c1"] = failure()
    error_of(rig, "ADD", "canal,weave,weave")
    assert rig.delegates.calls == ["ADD c1 canal-net eth0", "DEL c1 canal-net eth0"]
    assert rig.left() == []


def test_a_delegate_that_acts_before_its_input_is_recorded_though_the_disk_fails(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that reads nothing has already acted; if its DEL fails too, a later one releases it."""

    class Deaf(Delegates):
        def __call__(
            self, conf: Any, variables: Any, deadline: float, before_input: Any = None, *_: Any
        ) -> Any:
            output = super().__call__(conf, variables, deadline)
            if before_input:
                before_input()
            return output

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    rig.delegates.__class__ = Deaf
    rig.delegates.faults["DEL", "w1"] = failure(7, "busy")
    monkeypatch.setattr("posix.fdatasync", broken)
    with pytest.raises(OSError, match=r"Input/output error: '.*c1\.json\.tmp'"):
        rig.run("ADD", "weave")
    assert rig.delegates.held
    assert [each["phase"] for each in rig.record()["attachments"]] == ["attaching"]
    assert rig.timings[0]["code"] == cni_errors.IO_FAILURE
    monkeypatch.undo()
    rig.delegates.faults.clear()
    rig.run("DEL")
    assert rig.delegates.held == set()
    assert rig.left() == []


def test_a_record_that_cannot_be_renamed_is_a_warning(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roll-back continues."""

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("posix.replace", read_only)
    with pytest.raises(OSError, match="Read-only"):
        rig.run("ADD", "weave")
    assert rig.delegates.held == set()
    assert any("cannot rename the record" in each for each in rig.warnings)


def test_a_record_that_cannot_be_written_stops_the_add(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at each step of each write in turn: nothing is held in the end."""
    real = store._write_beside
    for last in range(1, 7):
        steps = iter(range(1, 100))

        def step(*_: object, steps: Any = steps, last: int = last) -> None:
            if next(steps) >= last:
                raise OSError(28, "No space left on device", "x.json.tmp")

        def write_beside(*args: Any, step: Any = step) -> int:
            step()
            return real(*args)

        monkeypatch.setattr(store, "_write_beside", write_beside)
        monkeypatch.setattr("posix.fdatasync", step)
        if last <= 5:
            with pytest.raises(OSError, match="No space"):
                rig.run("ADD", "weave,canal")
            assert rig.delegates.held == set()
            assert rig.left() == []
        else:
            rig.run("ADD", "weave,canal")
    rig.run("DEL")
    assert rig.delegates.held == set()
    assert rig.left() == []
