"""Genie's own conflist on this node, read for people: which options are in force.

Rules of this file: for the command line only; the plugin itself gets its options on standard
input and never looks for them.
"""

from __future__ import annotations

from dispatcher import keys
from dispatcher.cni_errors import CNIError
from dispatcher.conf import Conf, InvalidConfError, load
from dispatcher.networks import conf_files
from dispatcher.plugin.genie_conf import PluginSettings, validate_options

NET_DIR = "/etc/cni/net.d"
"""Where container runtimes look for their configuration."""


class Own:
    """The conflist of ours that the runtime would load: ``conf`` is None where there is none.

    ``first`` is the file that the runtime loads in fact: the first in lexical order. ``problem``
    says why the plugin refuses its calls, "" where it does not; ``settings`` are the defaults
    where the options are wrong.
    """

    __slots__ = ("conf", "first", "problem", "settings")

    def __init__(self, net_dir: str = NET_DIR) -> None:
        self.conf: Conf | None = None
        self.problem = ""
        self.settings = PluginSettings({})
        files = self._files(net_dir)
        self.first = files[0] if files else ""
        for file in files:
            try:
                conf = load(file)
            except InvalidConfError as error:
                if file.endswith(keys.CONFLIST):
                    self.problem = str(error)
                continue
            if keys.PLUGIN_TYPE in conf.types:
                self._take(conf)
                break

    def _files(self, net_dir: str) -> list[str]:
        try:
            return conf_files(net_dir)
        except OSError as error:
            self.problem = f"{net_dir}: {error.strerror}"
            return []

    def _take(self, conf: Conf) -> None:
        self.conf = conf
        options = next(each for each in conf.plugins if each["type"] == keys.PLUGIN_TYPE)
        try:
            validate_options(options)
        except CNIError as error:
            self.problem = f"{conf.path}: {error.msg}"
            return
        self.settings = PluginSettings(options)
        if keys.PLUGIN_TYPE in conf.types[1:]:
            self.problem = (
                f"{conf.path}: Genie makes interfaces, so only the first plugin may be it"
            )
