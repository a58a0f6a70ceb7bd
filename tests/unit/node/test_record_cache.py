from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dispatcher.node.record_cache import RecordCache
from dispatcher.state import store
from tests.unit.builders import make_record

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from dispatcher.state.record import Record


def test_a_record_is_read_again_only_when_its_file_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache holds what the disk has: a removed record is no longer returned."""
    reads = []
    store_read = store.read

    def read(state_dir: str, container_id: str) -> Record | None:
        reads.append(container_id)
        return store_read(state_dir, container_id)

    monkeypatch.setattr(store, "read", read)
    for container_id in ("a", "b"):
        store.write_synced(str(tmp_path), make_record(container_id))
    cache = RecordCache(tmp_path)

    assert list(cache.read()) == ["a", "b"]
    assert cache.read()["a"].record is not None
    assert reads == ["a", "b"]
    store.write_synced(str(tmp_path), make_record("b"))
    store.remove(str(tmp_path), "a")
    assert list(cache.read()) == ["b"]
    assert reads == ["a", "b", "b"]


def test_a_record_of_a_clock_that_was_ahead_ages_from_its_first_reading(tmp_path: Path) -> None:
    """Otherwise the reaper would take it for a young one until that time comes."""
    store.write_synced(str(tmp_path), make_record("a"))
    os.utime(tmp_path / "a.json", (5000, 5000))
    times = iter([1000.0, 1060.0, 1120.0])
    cache = RecordCache(tmp_path, lambda: next(times))
    assert [cache.read()["a"].written_at for _ in range(2)] == [1000.0, 1000.0]
    os.utime(tmp_path / "a.json", (900, 900))
    assert cache.read()["a"].written_at == 900


def test_a_record_read_before_a_clock_is_corrected_ages_from_the_correction(
    tmp_path: Path,
) -> None:
    """It is a new object once, since the reaper compares records by identity."""
    store.write_synced(str(tmp_path), make_record("a"))
    os.utime(tmp_path / "a.json", (5000, 5000))
    times = iter([6000.0, 1000.0, 1060.0])
    cache = RecordCache(tmp_path, lambda: next(times))
    ahead, corrected, later = (cache.read()["a"] for _ in range(3))
    assert (ahead.written_at, corrected.written_at) == (5000.0, 1000.0)
    assert later is corrected


def test_a_record_that_cannot_be_read_has_a_fault(tmp_path: Path) -> None:
    """It stays where it is."""
    (tmp_path / "torn.json").write_text("{")
    cached = RecordCache(tmp_path).read()["torn"]
    assert cached.record is None
    assert cached.fault
    assert cached.state == "unreadable"
    assert cached.pod == ("", "", "")
    assert (tmp_path / "torn.json").exists()


def test_a_record_that_is_removed_meanwhile_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its file is checked, or before it is read."""
    store.write_synced(str(tmp_path), make_record("read"))
    monkeypatch.setattr(store, "container_ids", lambda _: ["listed", "read"])
    monkeypatch.setattr(store, "read", lambda *_: None)
    assert RecordCache(tmp_path).read() == {}
