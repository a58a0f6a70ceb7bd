"""Records in files: whole, private, and durable where they must be."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.state import record, record_reader, store
from dispatcher.state.record import CorruptRecordError, Record

if TYPE_CHECKING:
    from collections.abc import Callable


def test_files_are_private_and_replaced_whole(tmp_path: Path) -> None:
    """Mode 0600 in a directory of 0700, made with what is above it."""
    state = f"{tmp_path}/a/b"
    old = os.umask(0)
    try:
        store.make_dir(state)
        store.make_dir(state)
        store.write_synced(state, Record("c1", "/ns", []))
    finally:
        os.umask(old)
    assert stat.S_IMODE(Path(state).stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(state, "c1.json").stat().st_mode) == 0o600
    store.write_synced(state, Record("c1", "/other", []))
    actual = store.read(state, "c1")
    assert actual is not None
    assert actual.netns == "/other"
    assert [file.name for file in Path(state).iterdir()] == ["c1.json"]
    assert list(store.container_ids(state)) == ["c1"]
    store.remove(state, "c1")
    store.remove(state, "c1")
    assert store.read(state, "c1") is None
    assert not store.exists(state, "c1")
    assert list(store.container_ids(f"{state}/none")) == []


def test_a_write_that_fails_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither half a record nor a temporary file is left."""
    state = str(tmp_path)
    store.write_synced(state, Record("c1", "/old", []))

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("posix.fdatasync", full)
    with pytest.raises(OSError, match="No space"):
        store.write_synced(state, Record("c1", "/new", []))
    actual = store.read(state, "c1")
    assert actual is not None
    assert actual.netns == "/old"
    assert [file.name for file in Path(state).iterdir()] == ["c1.json"]


def test_a_first_record_is_whole_before_it_has_its_name(tmp_path: Path) -> None:
    """In between a delegate starts; were the plugin killed, the next call would find the record."""
    state = str(tmp_path)
    finish = store.stage(state, Record("c1", "/ns", []))
    assert not store.exists(state, "c1")
    assert record_reader.decode((tmp_path / "c1.json.tmp").read_bytes()).netns == "/ns"
    finish()
    assert [file.name for file in tmp_path.iterdir()] == ["c1.json"]


def test_a_further_record_has_its_name_at_once(tmp_path: Path) -> None:
    """The next call would take the one that is there already, and look for no other."""
    state = str(tmp_path)
    store.write_synced(state, Record("c1", "/old", []))
    finish = store.stage(state, Record("c1", "/new", []))
    for _ in range(2):
        actual = store.read(state, "c1")
        assert actual is not None
        assert actual.netns == "/new"
        finish()


def test_a_file_system_that_is_full_gets_no_half_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is made, its content finds no room."""

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("posix.write", full)
    with pytest.raises(OSError, match="No space"):
        store.stage(str(tmp_path), Record("c1", "/ns", []))
    assert list(tmp_path.iterdir()) == []


NOTHING_LEFT = {
    "a file of no length": lambda data: data[:0],
    "zeros": lambda data: b"\0" * len(data),
    "half of it": lambda data: data[: len(data) // 2],
}


@pytest.mark.parametrize("cut", NOTHING_LEFT.values(), ids=NOTHING_LEFT)
def test_a_power_cut_leaves_the_last_record_that_was_waited_for(
    tmp_path: Path, cut: Callable[[bytes], bytes]
) -> None:
    """A step that was only noted may be lost, and with it nothing else."""
    state = str(tmp_path)
    store.write_synced(state, Record("c1", "/certain", []))
    for netns in ("/noted", "/noted again"):
        store.write_unsynced(state, Record("c1", netns, []))
        actual = store.read(state, "c1")
        assert actual is not None
        assert actual.netns == netns
    file = tmp_path / "c1.json"
    file.write_bytes(cut(file.read_bytes()))
    actual = store.read(state, "c1")
    assert actual is not None
    assert actual.netns == "/certain"
    store.write_synced(state, Record("c1", "/new", []))
    assert [each.name for each in tmp_path.iterdir()] == ["c1.json"]
    store.write_unsynced(state, Record("c1", "/noted", []))
    store.remove(state, "c1")
    assert list(tmp_path.iterdir()) == []


def test_a_note_is_waited_for_where_there_are_no_second_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems have no hard links: a step is then written like the first record."""
    synced: list[int] = []
    store.write_synced(str(tmp_path), Record("c1", "/old", []))

    def refused(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("posix.link", refused)
    monkeypatch.setattr("posix.fdatasync", synced.append)
    store.write_unsynced(str(tmp_path), Record("c1", "/new", []))
    actual = store.read(str(tmp_path), "c1")
    assert actual is not None
    assert (actual.netns, len(synced)) == ("/new", 1)


@pytest.mark.parametrize("links", [True, False], ids=["", "where there are no second names"])
def test_a_corrupt_record_is_kept_beside_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    """And in its place, until another takes it."""

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr("posix.link", refused)
    (tmp_path / "c1.json").write_bytes(b"{")
    aside = store.keep_corrupt_copy(str(tmp_path), "c1")
    assert Path(aside).read_bytes() == (tmp_path / "c1.json").read_bytes() == b"{"
    assert stat.S_IMODE(Path(aside).stat().st_mode) & 0o077 == 0 or links


def test_two_first_calls_make_the_directory_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second finds it made."""
    mkdir = os.mkdir

    def both(path: str, mode: int) -> None:
        mkdir(path, mode)
        mkdir(path, mode)

    monkeypatch.setattr("posix.mkdir", both)
    store.make_dir(f"{tmp_path}/a/b")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(
    ("content", "recovered"),
    [(..., False), (b"", False), (b'{"format":1', False), (b"whole", True)],
    ids=["nothing", "an empty file", "half a record", "a record"],
)
def test_a_record_that_was_not_renamed_is_recovered(
    tmp_path: Path, content: Any, *, recovered: bool
) -> None:
    """A folder is not waited for: a power cut may leave the first record its temporary name."""
    if content is not ...:
        whole = record.encode(Record("c1", "/ns", []))
        (tmp_path / "c1.json.tmp").write_bytes(whole if content == b"whole" else content)
    assert store.commit_staged(str(tmp_path), "c1") is recovered
    assert store.exists(str(tmp_path), "c1") is recovered


def test_a_record_of_another_container_is_corrupt(tmp_path: Path) -> None:
    """A copied file does not free somebody else's network."""
    (tmp_path / "c2.json").write_bytes(record.encode(Record("c1", "", [])))
    with pytest.raises(CorruptRecordError, match="c1"):
        store.read(str(tmp_path), "c2")


def test_a_temporary_file_is_never_followed(tmp_path: Path) -> None:
    """A symbolic link in its place is replaced, not written through."""
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "c1.json.tmp").symlink_to(target)
    store.write_synced(str(tmp_path), Record("c1", "", []))
    assert target.read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["c1.json", "target"]
    assert not (tmp_path / "c1.json").is_symlink()
