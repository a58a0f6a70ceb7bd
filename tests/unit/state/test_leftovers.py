"""What killed calls leave: removed where it is nothing, made a record where it is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.state import leftovers, lock, record, store
from dispatcher.state.record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.plugin.rig import Rig

WHOLE = record.encode(Record("c1", "/ns", []))
NEWER = WHOLE.replace(b'"format":2,"oldestReader":1', b'"format":9,"oldestReader":9')

LEFT = {
    "nothing": ({}, [], []),
    "a lock": ({"c1.lock": b""}, ["c1"], []),
    "half a record": ({"c1.lock": b"", "c1.json.tmp": WHOLE[:40]}, ["c1"], []),
    "half a record without its lock": ({"c1.json.tmp": b""}, ["c1"], []),
    "an old name of a record": ({"c1.lock": b"", "c1.json.synced": WHOLE}, ["c1"], []),
    "a record that a power cut left unnamed": (
        {"c1.lock": b"", "c1.json.tmp": WHOLE},
        [],
        ["c1.json", "c1.lock"],
    ),
    "one of a later version, unnamed": (
        {"c1.json.tmp": NEWER},
        [],
        ["c1.json.tmp", "c1.lock"],
    ),
    "a record": (
        {"c1.lock": b"", "c1.json": WHOLE, "c1.json.tmp": b""},
        [],
        ["c1.json", "c1.json.tmp", "c1.lock"],
    ),
    "what is not of a container": (
        {".gc.lock": b"", "journal": b"", "c1.json.corrupt": b"", ".x.json.tmp": b""},
        [],
        [".gc.lock", ".x.json.tmp", "c1.json.corrupt", "journal"],
    ),
}


@pytest.mark.parametrize(("files", "swept", "left"), LEFT.values(), ids=LEFT)
def test_what_is_left_of_a_call_is_swept(
    tmp_path: Path, files: dict[str, bytes], swept: list[str], left: list[str]
) -> None:
    """Only what stands for nothing goes."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert leftovers.sweep(str(tmp_path)) == swept
    assert sorted(file.name for file in tmp_path.iterdir()) == left


def test_nothing_is_swept_from_under_a_call(tmp_path: Path) -> None:
    """A lock that is held belongs to a call that goes on, or to its delegate."""
    held = lock.acquire_container(str(tmp_path), "c1", deadline=1e12)
    (tmp_path / "c1.json.tmp").write_bytes(b"")
    try:
        assert leftovers.sweep(str(tmp_path)) == []
    finally:
        held.release()
    assert leftovers.sweep(str(tmp_path)) == ["c1"]


def test_a_call_that_ends_meanwhile_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the lock a call may have written its record: it stays, and its lock."""
    (tmp_path / "c1.lock").touch()
    answers = iter([False, True])
    monkeypatch.setattr(store, "exists", lambda *_: next(answers))
    assert leftovers.sweep(str(tmp_path)) == []
    assert (tmp_path / "c1.lock").exists()


def test_a_state_directory_that_is_not_there_has_nothing_to_sweep(tmp_path: Path) -> None:
    """As on a node where Genie never attached anything."""
    assert leftovers.sweep(f"{tmp_path}/none") == []


def test_gc_sweeps_first(rig: Rig) -> None:
    """Where the runtime calls GC, no agent is needed for it."""
    rig.run("ADD", "weave", container="alive")
    (rig.state / "dead.lock").touch()
    (rig.state / "dead.json.tmp").write_bytes(b"{")
    listed: dict[str, Any] = {
        "cni.dev/valid-attachments": [{"containerID": "alive", "ifname": "eth0"}]
    }
    rig.run("GC", **listed)
    assert rig.left() == ["alive.json", "alive.lock"]
