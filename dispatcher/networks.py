"""Which networks a node has: configuration files in, names and chains of plugins out.

How it works: the directories are read in the order given, each one's files in lexical
order. A file offers its network under up to four names, in this order of strength: its stem
and the stem after a numeric prefix (``10-canal.conflist``: ``canal``); the configuration's
own ``name``; the stem after its first ``-`` (the rule of the original CNI-Genie). For a name
that several files offer, the stronger rule wins, then the earlier directory, then the
earlier file. :func:`find` answers for one name and :func:`scan` for all of them; both go
through the same claims, so the plugin, the agent and the command line never disagree.

Rules of this file: nothing is cached, since installers rewrite these files while we run; a
broken file harms only the names that it would have won; a file is never a network if it
holds a plugin of type ``genie``, or loopback alone.
"""

from __future__ import annotations

import posix
from _stat import S_ISREG

from dispatcher import keys
from dispatcher.annotation import is_network_name, nearest, quote
from dispatcher.jsontext import InvalidJSON, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

DIRECTORIES = ("/etc/cni/genie.d", "/etc/cni/net.d")
"""Where configurations are looked for, in order; the runtime reads only the second."""

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""The versions of the CNI specification that Genie speaks, oldest first."""

_EXTENSIONS = (".conf", ".conflist", ".json")


class BrokenConf(Exception):  # noqa: N818 - named like packaging's InvalidVersion
    """A configuration file that cannot be used; ``path`` names it and ``reason`` says why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class UnknownNetwork(LookupError):  # noqa: N818 - same
    """A name that no configuration file of this node has; ``known`` are those it has."""

    def __init__(self, name: str, directories: Sequence[str], known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        near = nearest(name, self.known)
        hint = f"; did you mean {quote(near)}?" if near else ""
        super().__init__(
            f"no configuration for the network {quote(name)} in {' or '.join(directories)}{hint}"
        )


class Conf:
    """A network's configuration: what libcni calls a network configuration list.

    ``name`` is the configuration's own name, which its plugins are told and which may differ
    from the one that a pod asks for. ``plugins`` are the chain's configurations as written.
    """

    __slots__ = ("cni_version", "disable_check", "disable_gc", "name", "path", "plugins")

    def __init__(
        self,
        path: str,
        name: str,
        cni_version: str,
        plugins: list[dict[str, Any]],
        *,
        disable_check: bool = False,
        disable_gc: bool = False,
    ) -> None:
        self.path = path
        self.name = name
        self.cni_version = cni_version
        self.plugins = plugins
        self.disable_check = disable_check
        self.disable_gc = disable_gc

    @property
    def types(self) -> list[str]:
        """The ``type`` of each plugin of the chain, in order."""
        return [plugin["type"] for plugin in self.plugins]

    @property
    def is_network(self) -> bool:
        """False for a configuration of ours, and for the loopback alone."""
        return keys.PLUGIN_TYPE not in self.types and set(self.types) != {"loopback"}


class Networks:
    """What a node's directories hold: ``confs`` by name, ``broken`` files by path."""

    __slots__ = ("broken", "confs", "spoiled")

    def __init__(self) -> None:
        self.confs: dict[str, Conf] = {}
        self.broken: dict[str, BrokenConf] = {}
        self.spoiled: dict[str, BrokenConf] = {}
        """Names that a broken file has won, each with that file's error."""


def find(name: str, directories: Sequence[str] = DIRECTORIES) -> Conf:
    """Return the configuration of the network *name*.

    Raises :class:`UnknownNetwork`, or :class:`BrokenConf` when the file that has this name
    cannot be used.
    """
    for path in _files(directories):
        if name in _stems(path):
            conf = load(path)
            if conf.is_network:
                return conf
    networks = scan(directories)
    if name in networks.spoiled:
        raise networks.spoiled[name]
    if name not in networks.confs:
        raise UnknownNetwork(name, directories, networks.confs)
    return networks.confs[name]


def scan(directories: Sequence[str] = DIRECTORIES, ignore: Iterable[str] = ()) -> Networks:
    """Return every network of the node, less the names in *ignore*."""
    networks = Networks()
    best: dict[str, tuple[int, Conf | BrokenConf]] = {}
    for path in _files(directories):
        entry: Conf | BrokenConf
        try:
            entry = load(path)
        except BrokenConf as error:
            entry = networks.broken[path] = error
        else:
            if not entry.is_network:
                continue
        for rank, name in _claims(path, entry):
            if name not in best or rank < best[name][0]:
                best[name] = (rank, entry)
    for name, (_, entry) in best.items():
        if name in ignore or not is_network_name(name):
            continue
        if isinstance(entry, Conf):
            networks.confs[name] = entry
        else:
            networks.spoiled[name] = entry
    return networks


def _claims(path: str, entry: Conf | BrokenConf) -> Iterator[tuple[int, str]]:
    for stem in _stems(path):
        yield 1, stem
    if isinstance(entry, Conf):
        yield 2, entry.name
        _, dash, rest = _stem(path).partition("-")
        if dash:
            yield 3, rest


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _stems(path: str) -> tuple[str, ...]:
    stem = _stem(path)
    number, _, rest = stem.partition("-")
    return (stem, rest) if number.isdecimal() and rest else (stem,)


def _files(directories: Sequence[str]) -> Iterator[str]:
    for directory in directories:
        try:
            entries = sorted(posix.listdir(directory))
        except OSError:
            continue  # one that is not there has no networks; doctor names one unreadable
        for entry in entries:
            if entry.endswith(_EXTENSIONS) and not entry.startswith("."):
                yield f"{directory}/{entry}"


def load(path: str) -> Conf:
    """Return the configuration in the file *path*. Raises :class:`BrokenConf`."""
    value = _read(path)
    if "plugins" not in value and "type" in value:
        return _single(path, value)
    conf = Conf(
        path,
        _name(path, value),
        _version(path, value),
        [_plugin(path, plugin) for plugin in _listed(path, value)],
        disable_check=_flag(path, value, "disableCheck"),
        disable_gc=_flag(path, value, "disableGC"),
    )
    if not _flag(path, value, "loadOnlyInlinedPlugins"):
        folder = f"{path.rpartition('/')[0]}/{conf.name}"
        conf.plugins += [
            _plugin(more, _read(more)) for more in _files([folder]) if more.endswith(".conf")
        ]
    elif "plugins" not in value:
        raise BrokenConf(path, '"loadOnlyInlinedPlugins" is true, and there is no "plugins"')
    if not conf.plugins:
        raise BrokenConf(path, "it holds no plugin")
    return conf


def _single(path: str, value: dict[str, Any]) -> Conf:
    return Conf(path, _name(path, value), _version(path, value), [_plugin(path, value)])


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            value = parse(file.read())
    except OSError as error:
        raise BrokenConf(path, error.strerror or str(error)) from None
    except InvalidJSON as error:
        raise BrokenConf(path, f"not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise BrokenConf(path, "a JSON object is expected")
    return value


def _name(path: str, value: dict[str, Any]) -> str:
    name = value.get("name")
    if not isinstance(name, str) or not is_cni_name(name):
        raise BrokenConf(path, '"name" must be letters, digits, "_", "." or "-"')
    return name


def is_cni_name(text: str) -> bool:
    """Tell whether *text* may name a network or a container (CNI specification, section 1)."""
    return (
        text.isascii()
        and text[:1].isalnum()
        and text.replace("-", "").replace(".", "").replace("_", "").isalnum()
    )


def _version(path: str, value: dict[str, Any]) -> str:
    stated = value.get("cniVersion", "")
    offered = value.get("cniVersions", [])
    if not isinstance(stated, str):
        raise BrokenConf(path, '"cniVersion" must be a string')
    if not isinstance(offered, list) or not all(isinstance(each, str) for each in offered):
        raise BrokenConf(path, '"cniVersions" must be a list of strings')
    spoken = [version for version in VERSIONS if version in offered or version == stated]
    if spoken:
        return spoken[-1]
    if stated or offered:
        named = stated or ", ".join(offered)
        raise BrokenConf(path, f"Genie speaks no CNI version {quote(named)}")
    return VERSIONS[0]


def _listed(path: str, value: dict[str, Any]) -> list[Any]:
    plugins = value.get("plugins", [])
    if not isinstance(plugins, list):
        raise BrokenConf(path, '"plugins" must be a list')
    return plugins


def _plugin(path: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BrokenConf(path, "a plugin must be a JSON object")
    kind = value.get("type")
    if not isinstance(kind, str) or not kind:
        raise BrokenConf(path, 'a plugin has no "type"')
    if "/" in kind or "\0" in kind or kind in {".", ".."}:
        raise BrokenConf(path, f"the type {quote(kind)} must be the name of an executable")
    capabilities = value.get("capabilities", {})
    if not isinstance(capabilities, dict) or not all(
        isinstance(enabled, bool) for enabled in capabilities.values()
    ):
        raise BrokenConf(path, f'"capabilities" of {quote(kind)} must be an object of booleans')
    return value


def _flag(path: str, value: dict[str, Any], key: str) -> bool:
    flag = value.get(key, False)
    if isinstance(flag, str):
        flag = {"true": True, "false": False}.get(flag.lower())
    if not isinstance(flag, bool):
        raise BrokenConf(path, f'"{key}" must be true or false')
    return flag


def locate(kind: str, path: Iterable[str]) -> str | None:
    """Return the file that a plugin of type *kind* is: the first in *path*, or None."""
    for directory in path:
        file = f"{directory}/{kind}"
        try:
            if S_ISREG(posix.stat(file).st_mode):
                return file
        except (OSError, ValueError):
            continue
    return None


def missing(conf: Conf, path: Sequence[str]) -> list[str]:
    """Return the types of *conf*, IPAM included, that *path* has no executable for."""
    wanted = []
    for plugin in conf.plugins:
        ipam = plugin.get("ipam")
        wanted += [plugin["type"], ipam.get("type") if isinstance(ipam, dict) else None]
    return [
        kind
        for kind in dict.fromkeys(wanted)
        if isinstance(kind, str) and kind and not _runnable(locate(kind, path))
    ]


def _runnable(file: str | None) -> bool:
    return file is not None and posix.access(file, posix.X_OK)
