"""Copies of definitions: after any events, and a crash at any step, a list makes them right."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
import threading
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from dispatcher.agent import definition_copies
from dispatcher.agent.definition_copies import DefinitionCopies
from dispatcher.nad import definition_copy, tenants
from dispatcher.nad.definition import Definition
from dispatcher.nad.definition_copy import StaleCopyError, SyncState, decode, decode_sync
from dispatcher.nad.tenant_templates import TenantRules
from tests.unit.host import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BRIDGE = '{"type":"bridge"}'


def blue(config: str = BRIDGE, name: str = "blue", **more: Any) -> Definition:
    return Definition("shop", name, uid="u1", config=config, **more)


def make(folder: Path, *, rules: TenantRules = tenants.TRUST_ALL) -> DefinitionCopies:
    copies = DefinitionCopies(folder / "nad", rules, dict, Clock())
    copies.open()
    return copies


def content(folder: Path) -> dict[str, dict[str, Any]]:
    """Return every copy by namespace and name."""
    files = [each for each in (folder / "nad").glob("*/*") if each.is_file()]
    return {f"{each.parent.name}/{each.name}": json.loads(each.read_bytes()) for each in files}


def test_a_copy_has_what_the_plugin_needs(tmp_path: Path) -> None:
    """In files that only root reads."""
    make(tmp_path).put(blue())
    file = tmp_path / "nad" / "shop" / "blue"
    assert json.loads(file.read_bytes()) == {
        "format": 1,
        "uid": "u1",
        "hash": blue().short_hash,
        "config": BRIDGE,
        "resource": "",
        "refused": "",
    }
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (file, file.parent, file.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]
    assert decode(file.read_bytes()).hash == blue().short_hash


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        pytest.param(blue("[null]"), "must be a JSON object", id="[null]"),
        pytest.param(blue("[" * 60_000), "nested deeper", id="60,000 levels"),
        pytest.param(blue("x" * (1 << 20)), "64 KiB", id="1 MiB"),
        pytest.param(blue("\ud800"), "not UTF-8", id="half a character"),
        pytest.param(blue('{"type":"multus"}'), "multus", id="a meta plugin"),
        pytest.param(blue(resource="x" * 99_999), "asks for the device", id="a long device"),
    ],
)
def test_what_is_refused_is_copied_without_its_config(
    tmp_path: Path, definition: Definition, reason: str
) -> None:
    """So that the plugin says why, and the disk does not fill."""
    make(tmp_path).put(definition)
    copy = content(tmp_path)["shop/blue"]
    assert reason in copy["refused"]
    assert copy["config"] == ""
    assert (tmp_path / "nad/shop/blue").stat().st_size < 2048


def test_a_tenant_needs_a_template(tmp_path: Path) -> None:
    """The agent enforces what the webhook explains."""
    make(tmp_path, rules=TenantRules(frozenset({"infra"}))).put(blue())
    assert "not trusted" in content(tmp_path)["shop/blue"]["refused"]


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    """A restart of the agent, or a new list, writes nothing again."""
    make(tmp_path).put(blue())
    file = tmp_path / "nad" / "shop" / "blue"
    written = file.stat().st_ino
    copies = make(tmp_path)
    copies.put(blue())
    assert file.stat().st_ino == written
    copies.put(blue('{"type":"macvlan"}'))
    assert file.stat().st_ino != written


LOSSES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a file is removed": ("shop/blue", Path.unlink),
    "a file is truncated": ("shop/blue", lambda path: path.write_bytes(b"")),
    "a file is changed": ("shop/blue", lambda path: path.write_bytes(path.read_bytes()[::-1])),
    "a folder is removed": ("shop", shutil.rmtree),
    "everything is removed": (".", shutil.rmtree),
    "the sign of life is removed": (".synced", Path.unlink),
}


@pytest.mark.parametrize(("place", "lose"), LOSSES.values(), ids=LOSSES)
def test_a_list_restores_what_another_program_removed_or_changed(
    tmp_path: Path, place: str, lose: Callable[[Path], object]
) -> None:
    """Memory alone would call the copy in place for as long as the agent runs."""
    copies = make(tmp_path)

    def list_all() -> None:
        copies.begin_list()
        copies.put(blue())
        copies.end_list()

    list_all()
    assert copies.find_loss() == ""
    lose(tmp_path / "nad" / place)
    assert copies.find_loss().startswith(str(tmp_path / "nad" / place))
    list_all()
    assert content(tmp_path)["shop/blue"]["config"] == BRIDGE
    assert decode_sync((tmp_path / "nad" / ".synced").read_bytes()).is_complete
    assert copies.find_loss() == ""


def test_a_loss_among_many_files_is_found_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle agent looks at a bounded number of files every few seconds."""
    monkeypatch.setattr(definition_copies, "CHECKED_FILES", 2)
    copies = make(tmp_path)
    for name in "abcde":
        copies.put(blue(name=name))
    lost = tmp_path / "nad" / "shop" / "e"
    lost.unlink()
    assert [copies.find_loss() for _ in range(3)] == ["", "", str(lost)]
    copies.put(blue(name="e"))
    copies.remove("shop", "a")
    assert [copies.find_loss() for _ in range(6)] == [""] * 6


def test_closed_copies_stay_as_they_are(tmp_path: Path) -> None:
    """A thread of an earlier watch must not undo what the next one writes."""
    copies = make(tmp_path)
    copies.put(blue())
    copies.close()
    copies.put(blue('{"type":"macvlan"}'))
    copies.remove("shop", "blue")
    copies.begin_list()
    copies.end_list()
    assert content(tmp_path)["shop/blue"]["config"] == BRIDGE
    assert not (tmp_path / "nad" / ".synced").exists()


def test_a_list_removes_what_it_did_not_have(tmp_path: Path) -> None:
    """Also files that no agent wrote, in folders of namespaces; folders that are empty go."""
    make(tmp_path).put(blue())
    (tmp_path / "nad" / "old").mkdir()
    (tmp_path / "nad" / "old" / "x").write_text("?")
    (tmp_path / "nad" / "empty").mkdir()
    (tmp_path / "nad" / "shop" / ".genie-abc").touch()
    (tmp_path / "nad" / "shop" / "folder").mkdir()
    assert not make(tmp_path).is_complete
    copies = make(tmp_path)
    copies.begin_list()
    copies.put(blue(name="red"))
    copies.end_list()
    assert copies.is_complete
    assert content(tmp_path).keys() == {"shop/red"}
    assert sorted(each.name for each in (tmp_path / "nad").iterdir()) == [".synced", "shop"]
    assert make(tmp_path).is_complete


def test_without_a_list_nothing_is_removed_but_what_was_deleted(tmp_path: Path) -> None:
    """While the API server is away, pods start with the copies that there are."""
    make(tmp_path).put(blue())
    copies = make(tmp_path)
    copies.put(blue(name="red"))
    copies.remove("shop", "red")
    copies.remove("shop", "never")
    assert content(tmp_path).keys() == {"shop/blue"}


@pytest.mark.parametrize("name", ["..", "a/b", "../../etc/passwd", "", ".synced", "A"])
def test_a_name_that_is_no_name_of_kubernetes_is_ignored(tmp_path: Path, name: str) -> None:
    """It would become a path."""
    copies = make(tmp_path)
    copies.put(Definition(name, "blue", config=BRIDGE))
    copies.put(Definition("shop", name, config=BRIDGE))
    copies.remove(name, name)
    assert list((tmp_path / "nad").iterdir()) == []


def test_the_disk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no longer fits is refused; a later list copies it if there is room."""
    monkeypatch.setattr(definition_copies, "MAX_TOTAL", 1 << 20)
    copies = make(tmp_path)
    large = '{"type":"bridge","x":"' + "y" * 60_000 + '"}'
    for number in range(20):
        copies.put(blue(large, f"n{number:02}"))
    files = content(tmp_path)
    assert len(files) == 20
    refused = [name for name, each in files.items() if each["refused"]]
    assert 0 < len(refused) < 20
    assert "have reached 1 MiB" in files[refused[0]]["refused"]

    copies.remove("shop", "n00")
    copies.begin_list()
    copies.put(blue(large, refused[-1].removeprefix("shop/")))
    assert content(tmp_path)[refused[-1]]["refused"] == ""


def test_no_config_stays_in_memory(tmp_path: Path) -> None:
    """A thousand definitions of the greatest size would take 64 MiB on each node."""
    copies = make(tmp_path)
    copies.begin_list()
    tracemalloc.start()
    try:
        for number in range(100):
            copies.put(blue('{"type":"bridge","x":"' + "y" * 60_000 + '"}', f"n{number}"))
        copies.end_list()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(content(tmp_path)) == 100
    assert held < 500_000


def test_the_sign_of_life_follows_the_answers(tmp_path: Path) -> None:
    """Written again when the API server answered 10 s later, or the clock went back."""
    clock = Clock()
    copies = DefinitionCopies(tmp_path / "nad", tenants.TRUST_ALL, dict, clock)
    copies.open()
    file = tmp_path / "nad" / ".synced"
    copies.sign(0.5)
    assert json.loads(file.read_bytes()) == {"format": 1, "complete": False, "alive": 999}
    clock.now += 5
    copies.sign(0.5)
    assert decode_sync(file.read_bytes()).alive == 999
    clock.now += 5
    copies.sign(0.5)
    assert decode_sync(file.read_bytes()).alive == 1009
    clock.now -= 500
    copies.sign(0.5)
    assert decode_sync(file.read_bytes()).alive == 509


class LateLock:
    """A lock for which a thread waits while another one completes the list."""

    def __init__(self, copies: DefinitionCopies) -> None:
        self._copies = copies

    def __enter__(self) -> None:
        """Let the other thread finish first."""
        self._copies._lock = threading.Lock()
        self._copies.end_list()

    def __exit__(self, *_: object) -> None:
        """Release nothing."""


def test_a_sign_of_life_never_takes_back_that_a_list_was_complete(tmp_path: Path) -> None:
    """The reflector ends the list while the agent's loop waits for the lock."""
    clock = Clock()
    copies = DefinitionCopies(tmp_path / "nad", tenants.TRUST_ALL, dict, clock)
    copies.open()
    copies.begin_list()
    clock.now += 60
    copies._lock = LateLock(copies)  # type: ignore[assignment]  # stands for the other thread
    copies.sign(-30)
    assert copies.is_complete
    state = decode_sync((tmp_path / "nad" / ".synced").read_bytes())
    assert (state.is_complete, state.alive) == (True, 1090)


def test_after_a_withdrawal_nothing_is_written(tmp_path: Path) -> None:
    """A thread may still have an event in hand."""
    copies = make(tmp_path)
    copies.begin_list()
    copies.put(blue())
    copies.withdraw()
    copies.put(blue(name="red"))
    copies.remove("shop", "blue")
    copies.end_list()
    copies.sign(0)
    assert not copies.is_complete
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[null]", b'{"format":2}', b'{"format":1}', b'{"format":1,"alive":true}']
)
def test_a_file_that_is_no_copy_is_stale(data: bytes) -> None:
    """After a power cut, or of another version: the agent writes it again."""
    with pytest.raises(StaleCopyError):
        decode(data)
    with pytest.raises(StaleCopyError):
        decode_sync(data)
    state = SyncState(7, is_complete=True)
    assert decode_sync(definition_copy.encode_sync(state)).is_complete


class Crash(BaseException):
    """The end of the process, between two operations on files."""


STEPS = ("mkdir", "open", "fchmod", "fsync", "replace", "unlink", "rmdir")


class CrashingFiles:
    """Replaces the operations of :mod:`os` by ones that end the process after a number of them."""

    def __init__(self) -> None:
        self.left: int | None = None
        self._before = {name: getattr(os, name) for name in STEPS}
        for name in STEPS:
            setattr(os, name, self._wrapped(self._before[name]))

    def restore(self) -> None:
        """Put the real operations back."""
        for name, function in self._before.items():
            setattr(os, name, function)

    def _wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.left is not None:
                if self.left <= 0:
                    raise Crash
                self.left -= 1
            return function(*args, **kwargs)

        return call


CONFIGS = st.sampled_from([BRIDGE, '{"type":"macvlan"}', "[null]", "", '{"type":"genie"}'])


class Copying(RuleBasedStateMachine):
    """An API server's definitions, and an agent that copies them and may end at any step.

    The file system is real; only the instant of a crash is injected.
    """

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._root = Path(self._folder.name)
        self._stored: dict[tuple[str, str], Definition] = {}
        self._files = CrashingFiles()
        self._is_current = False
        self._copies = make(self._root)

    def teardown(self) -> None:
        """End one sequence of steps."""
        self._files.restore()
        self._folder.cleanup()

    @initialize(target=keys)
    def first(self) -> tuple[str, str]:
        """Return the name that every sequence has."""
        return "shop", "blue"

    @rule(target=keys, namespace=st.sampled_from(["shop", "bank"]), name=st.sampled_from("abc"))
    def name(self, namespace: str, name: str) -> tuple[str, str]:
        """Return a name of a few, so that they meet."""
        return namespace, name

    @rule(key=keys, config=CONFIGS, steps=st.none() | st.integers(0, 12), is_seen=st.booleans())
    def write(self, key: tuple[str, str], config: str, steps: int | None, *, is_seen: bool) -> None:
        """Create or change a definition; the watch may be broken."""
        definition = Definition(*key, uid=f"u{len(self._stored)}", config=config)
        self._stored[key] = definition
        self._event(lambda: self._copies.put(definition), steps, is_seen=is_seen)

    @rule(key=keys, steps=st.none() | st.integers(0, 6), is_seen=st.booleans())
    def delete(self, key: tuple[str, str], steps: int | None, *, is_seen: bool) -> None:
        """Delete a definition, if there is one."""
        if self._stored.pop(key, None) is not None:
            self._event(lambda: self._copies.remove(*key), steps, is_seen=is_seen)

    @rule(place=st.sampled_from(["shop/blue", "shop", "."]))
    def lose(self, place: str) -> None:
        """Let another program remove files."""
        path = self._root / "nad" / place
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        self._is_current = False

    @rule(steps=st.none() | st.integers(0, 40))
    def list_all(self, steps: int | None) -> None:
        """List everything, perhaps not to the end."""
        self._event(self._list, steps, is_seen=True)
        if steps is None:
            self._is_current = True

    @rule(steps=st.none() | st.integers(0, 4))
    def restart(self, steps: int | None) -> None:
        """Start the agent again, which may end while it reads."""
        self._is_current = False
        self._run(lambda: make(self._root), steps)
        self._copies = make(self._root)

    @invariant()
    def every_file_is_whole(self) -> None:
        """Read the old or the new content at any time."""
        for file in (self._root / "nad").glob("*/*"):
            if not file.name.startswith("."):
                decode(file.read_bytes())

    @invariant()
    def the_copies_are_those_of_the_list(self) -> None:
        """After a complete list whose watch has not missed anything since."""
        if self._is_current:
            found = {tuple(name.split("/")): each["hash"] for name, each in self._content().items()}
            assert found == {key: each.short_hash for key, each in self._stored.items()}

    def _content(self) -> dict[str, dict[str, Any]]:
        return content(self._root)

    def _list(self) -> None:
        self._copies.begin_list()
        for definition in list(self._stored.values()):
            self._copies.put(definition)
        self._copies.end_list()

    def _event(self, step: Callable[[], None], steps: int | None, *, is_seen: bool) -> None:
        if not is_seen:
            self._is_current = False
        elif not self._run(step, steps):
            self._is_current = False
            self._copies = make(self._root)

    def _run(self, step: Callable[[], object], steps: int | None) -> bool:
        """Run *step*, which may end after *steps* operations; return whether it did not."""
        self._files.left = steps
        try:
            step()
        except Crash:
            return False
        finally:
            self._files.left = None
        return True


Copying.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestCopying = Copying.TestCase


def test_a_full_disk_is_an_error_and_leaves_the_old_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reflector lists again later."""
    copies = make(tmp_path)
    copies.put(blue())

    def full(*_: Any) -> Iterator[None]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        copies.put(blue('{"type":"macvlan"}'))
    assert content(tmp_path)["shop/blue"]["config"] == BRIDGE
    monkeypatch.undo()
    copies.put(blue('{"type":"macvlan"}'))
    assert content(tmp_path)["shop/blue"]["config"] == '{"type":"macvlan"}'
