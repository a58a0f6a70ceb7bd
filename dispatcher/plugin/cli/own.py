"""Genie's own conflist on this node, read for people: which options are in force.

Rules of this file: for the command line only; the plugin itself gets its options on standard
input and never looks for them.
"""

from __future__ import annotations

import posix

from dispatcher import keys
from dispatcher.conf import BrokenConf, Conf, load
from dispatcher.plugin.request import Settings

NET_DIR = "/etc/cni/net.d"
"""Where container runtimes look for their configuration."""


class Own:
    """The conflist of ours that the runtime would load: ``conf`` is None where there is none.

    ``first`` is the file that the runtime loads in fact: the first in lexical order.
    """

    __slots__ = ("conf", "first", "problem", "settings")

    def __init__(self, net_dir: str = NET_DIR) -> None:
        self.conf: Conf | None = None
        self.problem = ""
        files = _files(net_dir)
        self.first = files[0] if files else ""
        for file in files:
            try:
                conf = load(file)
            except BrokenConf as error:
                if file.endswith(keys.CONFLIST):
                    self.problem = str(error)
                continue
            if keys.PLUGIN_TYPE in conf.types:
                self.conf = conf
                break
        self.settings = Settings(self._options())

    def _options(self) -> dict[str, object]:
        plugins = self.conf.plugins if self.conf else []
        return next((each for each in plugins if each["type"] == keys.PLUGIN_TYPE), {})


def _files(net_dir: str) -> list[str]:
    try:
        names = sorted(posix.listdir(net_dir))
    except OSError:
        return []
    return [f"{net_dir}/{name}" for name in names if name.endswith((".conf", ".conflist", ".json"))]
