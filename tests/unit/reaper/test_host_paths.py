from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dispatcher.conf import Conf
from dispatcher.reaper.host_paths import (
    find_executable,
    missing_executables,
    namespace_id,
    resolve,
)

if TYPE_CHECKING:
    from tests.unit.host import Host


def test_a_link_of_the_host_is_followed_on_the_host(tmp_path: Path) -> None:
    """/var/run leads to the host's /run, not to the container's."""
    (tmp_path / "run/netns").mkdir(parents=True)
    (tmp_path / "run/netns/x").symlink_to("/proc/self/ns/net")
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    (tmp_path / "var/alias").symlink_to("../run/./netns")
    assert resolve(tmp_path, "/var/run/netns") == tmp_path / "run/netns"
    assert resolve(tmp_path, "/var/alias/y") == tmp_path / "run/netns/y"
    assert resolve(tmp_path, "/../../var/run") == tmp_path / "run"
    assert namespace_id(tmp_path, "/var/run/netns/x") is not None
    assert namespace_id(tmp_path, "/var/alias/x") == namespace_id(tmp_path, "/run/netns/x")
    assert namespace_id(tmp_path, "/var/run/netns/y") is None
    assert namespace_id(tmp_path, "") is None


def test_the_executables_of_k3s_are_found(host: Host) -> None:
    """They are absolute links. A file that cannot be executed is missing, as for the plugin."""
    folder = host.k3s_executables("bridge", "host-local")
    conf = Conf("/x", "x", "1.0.0", [{"type": "bridge", "ipam": {"type": "host-local"}}])
    assert find_executable(host.root, "bridge", ["/none", folder]) == f"{folder}/bridge"
    assert missing_executables(host.root, conf, ["/none", folder]) == []
    assert missing_executables(host.root, conf, ["/none"]) == ["bridge", "host-local"]
    (host.root / folder[1:] / "host-local").unlink()
    (host.root / folder[1:] / "host-local").touch(mode=0o644)
    assert missing_executables(host.root, conf, [folder]) == ["host-local"]


def test_an_executable_behind_links_in_a_circle_is_missing(tmp_path: Path) -> None:
    """The next directory may have it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/bridge").symlink_to("bridge")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/bridge").touch()
    assert find_executable(tmp_path, "bridge", ["/a", "/b"]) == "/b/bridge"
    assert find_executable(tmp_path, "bridge", ["/a"]) is None


def test_only_a_file_of_the_kernels_namespaces_is_a_namespace(tmp_path: Path) -> None:
    """A plain file is none: a reboot leaves it where a namespace was mounted."""
    own = Path("/proc/self/ns/net").stat()
    (tmp_path / "netns").symlink_to("/proc/self/ns/net")
    assert namespace_id(tmp_path, "/netns") == (own.st_dev, own.st_ino)
    (tmp_path / "left").touch()
    assert namespace_id(tmp_path, "/left") is None


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    """A namespace behind them does not exist."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="too many"):
        resolve(tmp_path, "/a")
    assert namespace_id(tmp_path, "/a/x") is None
