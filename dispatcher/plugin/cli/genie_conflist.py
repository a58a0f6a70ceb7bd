"""Read Genie's own conflist on this node, for the command line: which options are in force.

The plugin itself gets its options on standard input, and does not look for this file.
"""

from __future__ import annotations

from dispatcher import keys
from dispatcher.cni_errors import CNIError
from dispatcher.conf import Conf, InvalidConfError, load
from dispatcher.networks import conf_files
from dispatcher.plugin.genie_conf import PluginSettings, validate_options


class GenieConflist:
    """The conflist of the plugin ``genie`` in a directory.

    ``conf`` is None if there is none, and ``loaded_file`` is the file that the runtime loads: the
    first in lexical order. ``problem`` says why the plugin refuses every call ("": it does not).
    ``settings`` are the plugin's options, or the defaults if the options are invalid.
    """

    __slots__ = ("conf", "loaded_file", "problem", "settings")

    def __init__(self, net_dir: str) -> None:
        self.conf: Conf | None = None
        self.problem = ""
        self.settings = PluginSettings({})
        files = self._files(net_dir)
        self.loaded_file = files[0] if files else ""

        for file in files:
            try:
                conf = load(file)
            except InvalidConfError as error:
                if file.endswith(keys.CONFLIST):
                    self.problem = str(error)
                continue
            if keys.PLUGIN_TYPE in conf.types:
                self._read_options(conf)
                break

    def _files(self, net_dir: str) -> list[str]:
        try:
            return conf_files(net_dir)
        except OSError as error:
            self.problem = f"{net_dir}: {error.strerror}"
            return []

    def _read_options(self, conf: Conf) -> None:
        self.conf = conf
        options = next(each for each in conf.plugins if each["type"] == keys.PLUGIN_TYPE)
        try:
            validate_options(options)
        except CNIError as error:
            self.problem = f"{conf.path}: {error.msg}"
            return

        self.settings = PluginSettings(options)
        if keys.PLUGIN_TYPE in conf.types[1:]:
            self.problem = f"{conf.path}: genie must be the first plugin, and occur only once"
