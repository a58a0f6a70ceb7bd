from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dispatcher.agent.moves import ABSENT_SECONDS, STATE_FILE, Moves

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dispatcher.agent.reconciler import NodeReconciler
    from tests.unit.host import Host, RecordedEvents


def moved(events: RecordedEvents) -> list[str]:
    return [message for _, reason, message in events.emitted if reason == "NetworkMoved"]


@pytest.fixture
def canal(host: Host) -> Path:
    """Return the file of canal, which carries a name that Calico's has, too."""
    host.executable("bridge")
    host.network("canal", file="10-canal.conflist")
    return host.network("k8s-pod-network", file="10-canal.conflist")


@pytest.mark.parametrize("restarted", [False, True], ids=["seen", "while no agent ran"])
def test_a_name_that_another_file_takes_over_is_told_once(
    host: Host,
    make_reconciler: Callable[..., NodeReconciler],
    events: RecordedEvents,
    canal: Path,
    *,
    restarted: bool,
) -> None:
    """The file's own name stays, so pods that ask for canal are not concerned."""
    reconciler = make_reconciler()
    reconciler.reconcile()
    assert moved(events) == []
    calico = host.network("k8s-pod-network", file="10-calico.conflist")
    for _ in range(2):
        reconciler = make_reconciler() if restarted else reconciler
        reconciler.reconcile()
    [sentence] = moved(events)
    assert sentence.startswith(
        f'the network name "k8s-pod-network" now belongs to {calico} (before: {canal}): new pods'
    )
    calico.unlink()
    reconciler.reconcile()
    assert len(moved(events)) == 2


def test_an_installers_rewrite_of_its_file_moves_nothing(
    host: Host, make_reconciler: Callable[..., NodeReconciler], events: RecordedEvents, canal: Path
) -> None:
    """With other content, or by removing it first."""
    reconciler = make_reconciler()
    reconciler.reconcile()
    host.network("k8s-pod-network", ["bridge", "portmap"], file="10-canal.conflist")
    reconciler.reconcile()
    content = canal.read_bytes()
    canal.unlink()
    reconciler.reconcile()
    make_reconciler().reconcile()
    canal.write_bytes(content)
    reconciler.reconcile()
    assert moved(events) == []


def test_a_renamed_file_is_told_once_with_all_its_names(
    host: Host, make_reconciler: Callable[..., NodeReconciler], events: RecordedEvents, canal: Path
) -> None:
    """As an upgrade does it; also where the new file is broken."""
    reconciler = make_reconciler()
    reconciler.reconcile()
    canal.rename(host.conf / "20-canal.conflist")
    reconciler.reconcile()
    (host.conf / "20-canal.conflist").rename(host.conf / "30-canal.conflist")
    (host.conf / "30-canal.conflist").write_text("{")
    reconciler.reconcile()
    reconciler.reconcile()
    first, second = moved(events)
    assert first.startswith('the network names "canal", "k8s-pod-network" now belong to')
    assert second.startswith('the network name "canal" now belongs to')


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"canal": 5}'])
def test_a_state_file_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    """Then the first look only remembers."""
    (tmp_path / STATE_FILE).write_bytes(content)
    moves = Moves(tmp_path)
    assert moves.record_places({"canal": "/a"}, 0) == []
    assert [move.new for move in Moves(tmp_path).record_places({"canal": "/b"}, 0)] == ["/b"]
    assert (tmp_path / STATE_FILE).stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_remembered_now_is_with_the_next_look(tmp_path: Path) -> None:
    """The folder comes with the first pod, or the disk has room again."""
    moves = Moves(tmp_path / "state")
    moves.record_places({"canal": "/a"}, 0)
    (tmp_path / "state").mkdir()
    moves.record_places({"canal": "/a"}, 4)
    assert (tmp_path / "state" / STATE_FILE).exists()


@pytest.mark.parametrize(
    ("absent_seconds", "moved_to"),
    [(ABSENT_SECONDS - 1, ["/b"]), (ABSENT_SECONDS, [])],
    ids=["within a day", "after a day"],
)
def test_a_name_that_was_absent_for_a_day_is_forgotten(
    tmp_path: Path, absent_seconds: float, moved_to: list[str]
) -> None:
    """Installed again in another file, it has not moved; also after a restart of the agent."""
    moves = Moves(tmp_path)
    moves.record_places({"canal": "/a", "weave": "/w"}, 0)
    for now in (100, 100 + absent_seconds):
        assert moves.record_places({"weave": "/w"}, now) == []
    for agent in (moves, Moves(tmp_path)):  # both have read the file by now
        actual = agent.record_places({"canal": "/b", "weave": "/w"}, 100_000)
        assert [move.new for move in actual] == moved_to


def test_a_name_that_comes_and_goes_is_absent_anew_each_time(tmp_path: Path) -> None:
    """Only one day without a break counts."""
    moves = Moves(tmp_path)
    half = ABSENT_SECONDS / 2 + 1
    for step, places in enumerate([{"canal": "/a"}, {}, {"canal": "/a"}, {}, {}]):
        assert moves.record_places(places, step * half) == []
    [move] = moves.record_places({"canal": "/b"}, 4 * half)
    assert (move.old, move.new) == ("/a", "/b")
