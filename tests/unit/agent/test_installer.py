from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from dispatcher.agent.installer import SPARE_BYTES, InstallError, PluginInstaller
from dispatcher.node.plugin_layout import LOADER_PLACEHOLDER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.host import Host


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_first_look_puts_the_folder_and_the_launcher_in_place(host: Host) -> None:
    """The launcher starts the interpreter of its own version's folder, at its place here."""
    assert host.plugin().install() == []
    first = (host.bin / "genie").read_text().splitlines()[0]
    assert first == f"#!{host.bin}/.genie/v1/python3 -ISXutf8"
    assert (host.bin / "genie").stat().st_mode & 0o777 == 0o755
    assert (host.bin / ".genie/v1/lib/code").read_text() == "code of v1"
    assert (host.bin / ".genie/v1/lib/code").stat().st_mode & 0o777 == 0o644


def test_the_loader_gets_its_path_on_this_node_and_nothing_else_of_the_interpreter_changes(
    host: Host,
) -> None:
    """The kernel takes a NUL-terminated path; every byte behind it keeps its place."""
    host.plugin().install()
    made = (host.bin / ".genie/v1/python3").read_bytes()
    path = str(host.bin / ".genie/v1/ld.so").encode()
    assert made == b"\x7fELF" + path.ljust(len(LOADER_PLACEHOLDER), b"\0") + b"\0 the rest"


def test_a_second_look_changes_and_says_nothing(host: Host) -> None:
    """Also after a restart of the agent."""
    plugin = host.plugin()
    plugin.install()
    before = files(host.bin)
    assert plugin.install() == []
    assert host.plugin().install() == []
    assert files(host.bin) == before


def test_an_upgrade_keeps_the_old_folder_for_calls_that_run(host: Host) -> None:
    """And says nothing: no one changed what was ours."""
    host.plugin().install()
    host.image("v2")
    assert host.plugin("v2").install() == []
    assert "/.genie/v2/python3" in (host.bin / "genie").read_text()
    assert (host.bin / ".genie/v1/lib/code").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            lambda bin_dir: (bin_dir / ".genie/v1/lib/code").write_text("evil"),
            "code was changed",
            id="content of a file",
        ),
        pytest.param(
            lambda bin_dir: (bin_dir / ".genie/v1/lib/code").unlink(),
            "code was deleted",
            id="a file removed",
        ),
        pytest.param(
            lambda bin_dir: (bin_dir / "genie").chmod(0o644),
            "had the wrong permissions",
            id="permissions of the launcher",
        ),
        pytest.param(
            lambda bin_dir: (bin_dir / "genie").unlink(), "genie was deleted", id="launcher removed"
        ),
        pytest.param(
            lambda bin_dir: (bin_dir / "genie").write_text(
                (bin_dir / "genie").read_text() + "more"
            ),
            "genie was changed",
            id="launcher edited",
        ),
        pytest.param(
            lambda bin_dir: (bin_dir / ".genie").rename(bin_dir / "elsewhere"),
            "was deleted; restored",
            id="whole folder moved away",
        ),
    ],
)
@pytest.mark.parametrize("restarted", [False, True], ids=["while running", "between two runs"])
def test_what_was_changed_by_hand_is_restored_and_reported(
    host: Host, spoil: Callable[[Path], None], message: str, *, restarted: bool
) -> None:
    """Whatever happened to our files, the next installation leaves them as the image has them."""
    plugin = host.plugin()
    plugin.install()
    spoil(host.bin)
    if restarted:
        plugin = host.plugin()
    halves = [(host.bin / name).exists() for name in (".genie/v1", "genie")]
    unknowable = restarted and not all(halves)  # it looks like an installation cut short
    sentences = plugin.install()
    if not unknowable:
        assert any(message in sentence for sentence in sentences)
    assert (host.bin / ".genie/v1/lib/code").read_text() == "code of v1"
    assert (host.bin / "genie").read_bytes() == plugin.launcher_content()
    assert (host.bin / "genie").stat().st_mode & 0o777 == 0o755
    assert plugin.install() == []


def test_a_file_called_genie_that_is_not_ours_is_never_touched(host: Host) -> None:
    """The original CNI-Genie has its binary there."""
    (host.bin / "genie").write_bytes(b"\x7fELF the original")
    with pytest.raises(InstallError, match="not written by Genie"):
        host.plugin().install()
    assert (host.bin / "genie").read_bytes() == b"\x7fELF the original"


def test_files_of_others_in_the_directory_stay(host: Host) -> None:
    """Also what looks like a temporary file of somebody else."""
    host.executable("bridge", ".hidden")
    host.plugin().install()
    host.plugin().remove()
    assert sorted(path.name for path in host.bin.iterdir()) == [".hidden", "bridge"]


def test_what_a_crash_left_half_copied_is_swept_away(host: Host) -> None:
    """Temporary names begin with .genie-; no runtime reads them."""
    (host.bin / ".genie" / ".genie-0123").mkdir(parents=True)
    (host.bin / ".genie" / ".genie-0123" / "python3").write_text("half")
    (host.bin / ".genie-4567").write_text("half a launcher")
    host.plugin().install()
    assert {path.name for path in host.bin.iterdir()} == {"genie", ".genie"}
    assert {path.name for path in (host.bin / ".genie").iterdir()} == {"v1"}


def test_what_vanishes_while_it_is_copied_is_there_before_the_switch(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher never names a version that is not whole. Injected: the moment."""
    plugin = host.plugin()
    copy = plugin._copy

    def losing() -> list[str]:
        restored = copy()
        (plugin.folder / "lib/code").unlink()
        return restored

    def switch() -> list[str]:
        assert (plugin.folder / "lib/code").exists()
        return []

    monkeypatch.setattr(plugin, "_copy", losing)
    monkeypatch.setattr(plugin, "_switch_launcher", switch)
    plugin.install()


def test_a_directory_that_cannot_be_written_is_named(host: Host) -> None:
    """The error is for an Event: file and reason."""
    host.bin.parent.rename(host.bin.parent.with_name("gone"))
    with pytest.raises(InstallError, match=r"opt/cni/bin.*No such file"):
        host.plugin().install()


def test_a_directory_of_plugins_that_is_not_there_is_made(host: Host) -> None:
    """A host with all its plugins elsewhere has none; an upgrade of a node may remove it."""
    plugin = host.plugin()
    for _ in range(2):
        shutil.rmtree(host.bin)
        plugin.install()
        assert (host.bin / "genie").read_bytes() == plugin.launcher_content()
        assert host.bin.stat().st_mode & 0o777 == 0o755


def test_an_image_without_a_plugin_is_refused(tmp_path: Path) -> None:
    """The agent does not start with nothing to install."""
    with pytest.raises(InstallError, match="one version"):
        PluginInstaller(tmp_path, tmp_path)


def test_removing_leaves_a_foreign_launcher(host: Host) -> None:
    """What is not ours stays, whatever its name."""
    host.plugin().install()
    (host.bin / "genie").write_text("somebody else's")
    host.plugin().remove()
    assert (host.bin / "genie").read_text() == "somebody else's"
    assert not (host.bin / ".genie").exists()


def fail_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the write number *step* find the disk full."""
    steps = itertools.count()

    def fsync(_descriptor: int) -> None:
        if next(steps) == step:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dispatcher.node.atomic_file.os.fsync", fsync)


def test_an_upgrade_that_fills_the_disk_gives_the_space_back(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records may be on the same disk, and the former version needs room for them."""
    host.plugin().install()
    host.image("v2")
    for step in range(2):
        with monkeypatch.context() as patched:
            fail_at(step, patched)
            with pytest.raises(InstallError, match="No space left"):
                host.plugin("v2").install()
        assert [path.name for path in (host.bin / ".genie").iterdir()] == ["v1"]
        assert host.plugin("v2").runs
    host.plugin("v2").install()


def statvfs(free: int, available: int = 0, size: int = 1 << 40) -> Callable[..., SimpleNamespace]:
    """Return a disk with *free* bytes, of which others than root have *available*."""
    blocks = {"f_blocks": size // 4096, "f_bfree": free // 4096, "f_bavail": available // 4096}
    return lambda _path: SimpleNamespace(f_frsize=4096, **blocks)


def test_no_upgrade_begins_that_would_fill_the_disk(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would do so again every few seconds. The former version stays in place."""
    host.plugin().install()
    host.image("v2")
    before = files(host.bin)
    disk = statvfs(SPARE_BYTES, SPARE_BYTES)
    monkeypatch.setattr("dispatcher.agent.installer.os.statvfs", disk)
    problem = f"cannot install {host.bin}/.genie/v2: its file system has 16 MiB free, and 17 MiB"
    with pytest.raises(InstallError, match=re.escape(problem)):
        host.plugin("v2").install()
    assert files(host.bin) == before


def test_a_lost_file_may_take_the_last_space(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it no pod starts. If there is none, the error is the file system's."""
    plugin = host.plugin()
    plugin.install()
    code = plugin.folder / "lib/code"
    code.unlink()
    monkeypatch.setattr("dispatcher.agent.installer.os.statvfs", statvfs(0))
    with monkeypatch.context() as patched:
        fail_at(0, patched)
        with pytest.raises(InstallError, match="No space left"):
            plugin.install()
    assert plugin.install() == [f"{code} was deleted; restored"]


@pytest.mark.parametrize(
    "disk",
    [
        pytest.param(statvfs(SPARE_BYTES + (1 << 20)), id="root's reserve is left"),
        pytest.param(statvfs(0, size=0), id="no limit"),
    ],
)
def test_the_plugin_is_installed_wherever_root_can_write(
    host: Host, monkeypatch: pytest.MonkeyPatch, disk: Callable[..., SimpleNamespace]
) -> None:
    """A file system without a limit, such as ramfs, says that it has no blocks at all."""
    monkeypatch.setattr("dispatcher.agent.installer.os.statvfs", disk)
    plugin = host.plugin()
    plugin.install()
    assert plugin.runs


class Cut(BaseException):
    """The agent ends here."""


def cut_short(host: Host, version: str, step: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Install *version*, but end before the write number *step* is durable; tell if it came to it.

    Every file, and every change of a name, is brought to the disk: these are the steps.
    """
    steps = itertools.count()
    durably = os.fsync

    def fsync(descriptor: int) -> None:
        if next(steps) == step:
            raise Cut
        durably(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr("dispatcher.node.atomic_file.os.fsync", fsync)
        try:
            host.plugin(version).install()
        except Cut:
            return True
    return False


def test_an_upgrade_cut_short_at_any_step_leaves_a_whole_plugin(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher names one version, and that is complete, at every moment; then it goes on."""
    host.plugin().install()
    step = 0
    host.image("cut0")
    while cut_short(host, f"cut{step}", step, monkeypatch):
        first = (host.bin / "genie").read_text().splitlines()[0]
        [version] = [name for name in ("v1", f"cut{step}") if f"/.genie/{name}/" in first]
        installed = files(host.bin / ".genie" / version)
        carried = files(host.root / f"image-{version}" / ".genie" / version)
        assert installed.keys() == carried.keys()
        assert installed["lib/code"] == carried["lib/code"]
        host.plugin(f"cut{step}").install()
        assert f"/.genie/cut{step}/" in (host.bin / "genie").read_text()
        assert not list(host.bin.rglob(".genie-*"))
        host.plugin().install()
        step += 1
        host.image(f"cut{step}")
    assert step >= 5


def test_the_version_in_place_is_the_one_that_the_runtime_starts(host: Host) -> None:
    """Not the one of the image, until it is installed; nothing without a launcher of ours."""
    plugin = host.plugin()
    assert plugin.version_in_place == ""
    plugin.install()
    host.image("v2")
    assert [host.plugin(each).version_in_place for each in ("v1", "v2")] == ["v1", "v1"]
    host.plugin("v2").install()
    assert plugin.version_in_place == "v2"
    (host.bin / "genie").write_text("#!/bin/sh\n")
    assert plugin.version_in_place == ""
