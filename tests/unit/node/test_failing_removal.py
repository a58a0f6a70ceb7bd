"""A removal that fails: the agent says so everywhere, and tries again."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.state import store
from tests.unit.builders import make_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dispatcher.agent.reconciler import NodeReconciler
    from tests.unit.host import Clock, Host, RecordedEvents


@pytest.fixture(autouse=True)
def _ready(host: Host) -> None:
    """Let the node have its default network."""
    host.network("canal", file="10-canal.conflist")
    host.executable("bridge")


def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each change of a file in *folder* fail, as on a disk that is mounted read-only."""
    for name in ("unlink", "replace", "mkdir"):
        change = getattr(os, name)

        def guarded(path: Any, *args: Any, change: Any = change, **kwargs: Any) -> Any:
            if os.fspath(path).startswith(f"{folder}/"):
                raise OSError(errno.EROFS, "Read-only file system", os.fspath(path))
            return change(path, *args, **kwargs)

        monkeypatch.setattr(os, name, guarded)


def test_a_conflist_that_cannot_be_removed_is_a_problem_of_the_node(
    host: Host,
    make_reconciler: Callable[..., NodeReconciler],
    events: RecordedEvents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Event, readiness and doctor say so, and the Node's annotation has the former mode."""
    make_reconciler().reconcile()
    read_only(host.conf, monkeypatch)
    for mode in ("remove", "disable"):
        leaving = make_reconciler(mode=mode)
        state = leaving.reconcile()
        verb = "remove" if mode == "remove" else "write"
        problem = f"the agent cannot {verb} {host.conf}/00-genie.conflist: Read-only file system"
        assert state.problem == problem
        assert not state.conflist_removed
        assert state.removal.startswith("mode=install;")
        assert events.emitted[-1][1:] == ("NotInstalled", problem)
        assert (host.state / ".agent-problem").read_text() == f"{problem}\n"
    monkeypatch.undo()
    assert make_reconciler(mode="disable").reconcile().removal.startswith("mode=disable;")
    read_only(host.conf, monkeypatch)
    assert make_reconciler(mode="remove").reconcile().removal.startswith("mode=disable;")


def test_a_plugin_that_cannot_be_removed_is_reported_and_tried_again(
    host: Host,
    make_reconciler: Callable[..., NodeReconciler],
    events: RecordedEvents,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The conflist is removed already, so the labels must go nevertheless."""
    make_reconciler().reconcile()
    leaving = make_reconciler(mode="remove")
    (host.state / ".agent-problem").write_text("an old problem\n")
    assert leaving.reconcile().conflist_removed
    assert not (host.state / ".agent-problem").exists()

    clock.now += 91
    read_only(host.bin, monkeypatch)
    state = leaving.reconcile()
    assert (state.conflist_removed, state.plugin_removed) == (True, False)
    problem = f"the agent cannot remove {host.bin}/genie: Read-only file system"
    assert events.emitted[-1][1:] == ("NotInstalled", problem)
    assert (host.state / ".agent-problem").read_text() == f"{problem}\n"
    monkeypatch.undo()
    assert leaving.reconcile().plugin_removed
    assert not (host.bin / "genie").exists()


def test_a_problem_while_calls_may_run_is_left_for_doctor(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """Not the one of the step before, until the plugin is removed."""
    make_reconciler().reconcile()
    store.write_synced(str(host.state), make_record())
    leaving = make_reconciler(mode="remove")
    leaving.reconcile()
    assert "ns/p" in (host.state / ".agent-problem").read_text()
    store.remove(str(host.state), "c1")
    assert leaving.reconcile().conflist_removed
    assert not (host.state / ".agent-problem").exists()
    assert leaving.reconcile("weave is not ready").conflist_removed
    assert (host.state / ".agent-problem").read_text() == "weave is not ready\n"
