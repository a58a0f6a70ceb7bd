"""Where this executable is installed, and which version it is.

The agent installs the launcher into the runtime's directory of CNI plugins, and the conflist into
the runtime's directory of CNI configurations. Distributions place both below one root, so the
second is found from the first::

    launcher                                    configurations
    /opt/cni/bin/genie                          /etc/cni/net.d
    /var/lib/rancher/k3s/data/cni/genie         /var/lib/rancher/k3s/agent/etc/cni/net.d

Everything else, such as ``stateDir``, is in the conflist. A launcher that was not installed (a
build in a checkout, which brings no interpreter) stands for one in the usual place.
"""

from __future__ import annotations

import os

from dispatcher import keys
from dispatcher.conf import VERSIONS
from dispatcher.state import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

BIN_DIR = "/opt/cni/bin"
NET_DIR = "/etc/cni/net.d"
"""The directories that container runtimes use unless they are configured otherwise."""

_VERSIONS_FOLDER = ".genie"
_MARK = "# Genie "
_NET_DIRS = ("etc/cni/net.d", "agent/etc/cni/net.d")
"""The directory of configurations, below a directory that contains the plugins' one, too."""


class PluginInstallation:
    """The installation that *launcher*, the path of our own executable, belongs to.

    ``bin_dir`` and ``net_dir`` are the runtime's directories of plugins and configurations,
    ``launcher`` is the executable in ``bin_dir``, and ``version`` is that of the plugin.
    """

    __slots__ = ("bin_dir", "launcher", "net_dir", "version")

    def __init__(self, launcher: str) -> None:
        path, self.version = _follow(launcher)
        self.launcher = path
        interpreter = f"{os.path.dirname(path)}/{_VERSIONS_FOLDER}/{self.version}/python3"
        self.bin_dir = os.path.dirname(path) if os.path.exists(interpreter) else BIN_DIR
        self.net_dir = next(filter(os.path.isdir, _candidates(self.bin_dir)), NET_DIR)

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``genie version --output json`` prints; its keys are public."""
        return {
            "version": self.version,
            "executable": self.launcher,
            "cniVersions": list(VERSIONS),
            "recordFormat": record.FORMAT,
            "oldestRecordReader": record.OLDEST_READER,
            "pluginType": keys.PLUGIN_TYPE,
        }


def _follow(launcher: str) -> tuple[str, str]:
    """Return the path of the launcher beside its versions, and its version.

    *launcher* may be a symbolic link from elsewhere. The directory of plugins may itself be below a
    link (k3s has ``data/current``), which stays in the path.
    """
    for path in (launcher, os.path.realpath(launcher)):
        version = _version(path)
        if os.path.isdir(f"{os.path.dirname(path)}/{_VERSIONS_FOLDER}/{version}"):
            return path, version
    return launcher, _version(launcher)


def _version(launcher: str) -> str:
    """Return the version that the second line of *launcher* states, or "unknown"."""
    try:
        with open(launcher, encoding="utf-8", errors="replace") as file:
            file.readline(4096)
            line = file.readline(4096)
    except OSError:
        return "unknown"
    return line.removeprefix(_MARK).partition(":")[0] if line.startswith(_MARK) else "unknown"


def _candidates(bin_dir: str) -> Iterator[str]:
    """Yield where the runtime's configurations may be, the nearest to *bin_dir* first."""
    root = bin_dir
    while root != "/":
        root = os.path.dirname(root)
        for directory in _NET_DIRS:
            yield os.path.join(root, directory)
