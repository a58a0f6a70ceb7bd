from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.reaper.old_versions import OldVersions

if TYPE_CHECKING:
    from tests.unit.host import Host


def versions(host: Host) -> OldVersions:
    host.plugin("v1").install()
    host.image("v2")
    host.plugin("v2").install()
    (host.root / "proc/self").mkdir(parents=True)
    (host.root / "proc/9").mkdir()
    return OldVersions(host.settings(host_root=host.root, cni_bin_dir="/opt/cni/bin"))


def present(host: Host) -> list[str]:
    return sorted(path.name for path in (host.bin / ".genie").iterdir())


def test_an_unused_version_is_removed_in_the_second_pass(host: Host) -> None:
    """The version that the launcher names stays."""
    subject = versions(host)
    assert subject.prune() == []
    assert subject.prune() == ["v1"]
    assert subject.prune() == []
    assert present(host) == ["v2"]


def test_a_running_call_keeps_its_version(host: Host) -> None:
    """Two passes after its end the version is removed."""
    subject = versions(host)
    process = host.root / "proc/7"
    process.mkdir()
    (process / "exe").symlink_to(host.bin / ".genie/v1/python3")
    subject.prune()
    assert subject.prune() == []
    (process / "exe").unlink()
    assert subject.prune() == []
    assert subject.prune() == ["v1"]


def test_a_folder_that_the_agent_is_copying_stays(host: Host) -> None:
    """However long that takes: only the agent knows whether it has stopped."""
    subject = versions(host)
    scratch = host.bin / ".genie/.genie-ab12"
    scratch.mkdir()
    for _ in range(3):
        subject.prune()
    assert present(host) == [".genie-ab12", "v2"]


def test_without_a_launcher_nothing_is_removed(host: Host) -> None:
    """The agent is about to restore it."""
    subject = versions(host)
    subject.prune()
    (host.bin / "genie").unlink()
    assert subject.prune() == []
    host.plugin("v2").install()
    assert subject.prune() == []
    assert present(host) == ["v1", "v2"]
