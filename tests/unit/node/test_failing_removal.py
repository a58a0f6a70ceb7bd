"""A removal that fails: the agent says so everywhere, and tries again."""

from __future__ import annotations

import errno
import json
import os
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import keys
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


def plugin_of(host: Host) -> dict[str, Any]:
    """Return the plugin in the conflist of Genie."""
    conflist = json.loads((host.conf / "00-genie.conflist").read_text())
    [plugin] = conflist["plugins"]
    return dict(plugin)


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


def executable_missing(host: Host, _monkeypatch: pytest.MonkeyPatch) -> None:
    (host.bin / "bridge").unlink()


def configuration_missing(host: Host, _monkeypatch: pytest.MonkeyPatch) -> None:
    (host.conf / "10-canal.conflist").rename(host.conf / "10-canal.away")


def disk_full(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(host.bin / ".genie")
    disk = SimpleNamespace(f_blocks=1000, f_bfree=0, f_frsize=4096)
    monkeypatch.setattr("dispatcher.agent.installer.os.statvfs", lambda _: disk)


@pytest.mark.parametrize("default", ["canal", "other"])
@pytest.mark.parametrize("obstacle", [executable_missing, configuration_missing, disk_full])
def test_a_node_that_cannot_install_genie_takes_the_choice_from_new_pods(
    host: Host,
    make_reconciler: Callable[..., NodeReconciler],
    monkeypatch: pytest.MonkeyPatch,
    obstacle: Callable[[Host, pytest.MonkeyPatch], None],
    default: str,
) -> None:
    """Otherwise no uninstall could go on. The node keeps the rest of its conflist."""
    make_reconciler().reconcile()
    before = plugin_of(host)
    obstacle(host, monkeypatch)
    store.write_synced(str(host.state), make_record())  # it blocks the mode "remove"
    reports = []
    for mode in ("disable", "remove"):
        state = make_reconciler(mode=mode, default_network=default).reconcile()
        assert state.problem
        reports.append(state.removal.partition(";")[0])
    assert reports == ["mode=disable", "mode=remove"]

    after = plugin_of(host)
    assert keys.POD_ANNOTATIONS not in after["capabilities"]
    assert after["agentSocket"] == ""
    assert after["default"] == "canal"
    assert make_reconciler().reconcile().problem
    assert plugin_of(host) == before  # the labels say so, too


def test_the_labels_are_updated_before_such_a_node_takes_the_choice(
    host: Host, make_reconciler: Callable[..., NodeReconciler], clock: Clock
) -> None:
    """The mode is reported only when no new pod can have a choice any more."""
    make_reconciler().reconcile()
    (host.bin / "bridge").unlink()
    leaving = make_reconciler(mode="disable", labels_published=False)
    state = leaving.reconcile()
    assert "waits up to 60 s for the node labels" in state.problem
    assert state.removal.startswith("mode=install;")
    clock.now += 60
    state = leaving.reconcile()
    assert "no executable bridge" in state.problem
    assert state.removal.startswith("mode=disable;")


def test_a_conflist_that_cannot_be_parsed_is_kept_until_genie_can_be_installed(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """No runtime loads it, so no pod has a choice by it."""
    conflist = host.conf / "00-genie.conflist"
    for content in ('{"genie"', '["genie"]', '{"plugins": ["genie"]}'):
        conflist.write_text(content)
        (host.bin / "bridge").unlink(missing_ok=True)
        assert "no executable bridge" in make_reconciler().reconcile().problem
        assert conflist.read_text() == content


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
