"""Pipes, links and sockets in the place of files: no call blocks on them or follows them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.cni_errors import CNIError
from dispatcher.plugin.cli.doctor import check_node
from dispatcher.plugin.cli.genie_conflist import GenieConflist
from dispatcher.state import journal, lock, store
from dispatcher.state.record import CorruptRecordError, Record
from tests.unit.irregular import IRREGULAR, ends, irregular
from tests.unit.plugin.rig import add_cache_entry, error_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.plugin.rig import Rig

    Put = Callable[[Path], None]


def is_regular(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


@irregular
@pytest.mark.parametrize("kept", [False, True], ids=["", "and another one beside it"])
def test_a_record_that_is_no_file_is_corrupt_and_set_aside(
    tmp_path: Path, put: Put, *, kept: bool
) -> None:
    """It counts as existing, its type is reported, and another record may take its place."""
    state, path = str(tmp_path), tmp_path / "c1.json"
    put(path)
    if kept:
        put(tmp_path / "c1.json.synced")
    with ends():
        assert store.exists(state, "c1")
        with pytest.raises(CorruptRecordError, match="not a regular file"):
            store.read(state, "c1")
        aside = store.keep_corrupt_copy(state, "c1")
        assert aside == f"{path}.corrupt"
        store.write_synced(state, Record("c1", "/ns", []))
    assert is_regular(path)
    assert not is_regular(tmp_path / "c1.json.corrupt")
    assert len(list(tmp_path.iterdir())) == 2


@irregular
def test_a_record_that_is_no_file_is_moved_where_there_are_no_second_names(
    tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without hard links; it cannot be copied either."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    put(tmp_path / "c1.json")
    monkeypatch.setattr("posix.link", refused)
    with ends():
        store.keep_corrupt_copy(str(tmp_path), "c1")
    assert [file.name for file in tmp_path.iterdir()] == ["c1.json.corrupt"]


def test_what_is_wrong_with_a_record_counts_more_than_with_its_second_name(tmp_path: Path) -> None:
    """The error is about the record, whose file it names."""
    (tmp_path / "c1.json").write_text("{")
    (tmp_path / "c1.json.synced").symlink_to("/none")
    with pytest.raises(CorruptRecordError, match="line 1 column 2"):
        store.read(str(tmp_path), "c1")


@irregular
def test_a_temporary_file_that_is_none_gives_way(tmp_path: Path, put: Put) -> None:
    """Nothing is recovered from it, and nothing is written through it."""
    state, path = str(tmp_path), tmp_path / "c1.json.tmp"
    put(path)
    with ends():
        assert store.commit_staged(state, "c1") is False
        store.stage(state, Record("c1", "/ns", []))()
        put(path)
        store.write_unsynced(state, Record("c1", "/ns", []))
        put(path)
        store.remove(state, "c1")
    assert list(tmp_path.iterdir()) == []


BESIDE = ["c1.json.tmp", "c1.json.synced"]


@irregular
@pytest.mark.parametrize("place", ["c1.json", *BESIDE])
def test_an_add_attaches_and_a_del_frees_in_spite_of(rig: Rig, put: Put, place: str) -> None:
    """An unreadable record may be of a killed ADD: what it may hold is released."""
    rig.state.mkdir()
    put(rig.state / place)
    with ends():
        rig.run("ADD", "weave,canal@net1")
        assert is_regular(rig.state / "c1.json")
        (rig.state / place).unlink(missing_ok=True)
        put(rig.state / place)
        rig.run("DEL", "weave,canal@net1")
    assert rig.delegates.held == set()
    expected = ["c1.json.corrupt"] if place == "c1.json" else []
    assert [name for name in rig.left() if name != "c1.lock"] == expected


@irregular
@pytest.mark.parametrize("place", ["c1.json", *BESIDE])
def test_check_and_gc_end_in_spite_of(rig: Rig, put: Put, place: str) -> None:
    """They report that the record cannot be read, and ignore the files beside it."""
    rig.run("ADD", "canal")
    (rig.state / place).unlink(missing_ok=True)
    put(rig.state / place)
    valid: dict[str, Any] = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
    with ends():
        if place == "c1.json":
            assert "corrupt" in error_of(rig, "CHECK").msg
            assert "not a regular file" in error_of(rig, "GC", **valid).msg
        else:
            rig.run("CHECK")
            rig.run("GC", **valid)


def test_a_pipe_is_as_good_a_lock_as_a_file_and_goes_with_it(rig: Rig) -> None:
    """It is locked without a reader or writer, and removed like every lock file."""
    rig.state.mkdir()
    for name in ("c1.lock", ".gc.lock"):
        os.mkfifo(rig.state / name)
    with ends():
        held = lock.acquire_container(str(rig.state), "c1", deadline=0)
        with pytest.raises(CNIError, match="still holds"):
            lock.acquire_container(str(rig.state), "c1", deadline=0)
        held.release()
        rig.run("ADD", "canal")
        rig.run("DEL")
    assert rig.left() == []


@pytest.mark.parametrize("name", ["a link", "a link to nothing", "a socket"])
def test_what_cannot_be_locked_is_an_error_with_its_cure(tmp_path: Path, name: str) -> None:
    """Removing it could remove another call's lock."""
    IRREGULAR[name](tmp_path / "c1.lock")
    with ends(), pytest.raises(OSError, match="not a regular file: remove it"):
        lock.acquire_container(str(tmp_path), "c1", deadline=0)


@irregular
def test_a_journal_that_is_no_file_holds_no_call_up(tmp_path: Path, put: Put) -> None:
    """Its line is lost."""
    put(tmp_path / "journal")
    with ends():
        journal.append(
            str(tmp_path),
            command="ADD",
            container_id="c1",
            args="",
            attachments=[],
            error=None,
            now=1.0,
            seconds=0.1,
        )
    assert not is_regular(tmp_path / "journal")


@irregular
def test_an_entry_of_libcnis_cache_that_is_no_file_is_passed_over(rig: Rig, put: Put) -> None:
    """The entry after it is read."""
    put(rig.cache / "a")
    add_cache_entry(rig, ["flannel"])
    with ends():
        rig.run("DEL")
    assert rig.delegates.calls == ["DEL flannel cbr0 eth0"]


@irregular
def test_doctor_passes_over_what_is_no_file(rig: Rig, put: Put) -> None:
    """Where agent and reaper leave their sentences, and names the record that is none."""
    rig.state.mkdir()
    for name in (".agent-problem", ".reaper-problem", "c1.json"):
        put(rig.state / name)
    conflist = GenieConflist(str(rig.folder))
    conflist.settings.state_dir = str(rig.state)
    with ends():
        findings = check_node(conflist, str(rig.folder), [], [], lambda _: "")
    messages = [each.message for each in findings if each.is_problem and each.subject != "conflist"]
    assert messages == [f"{rig.state}/c1.json: it is not a regular file"]
