"""Which networks a node has: configuration files in, networks by name out.

The directories are read in the given order, and the files of each in lexical order. A file claims
up to four names for its network. Of several files that claim one name, the lowest rank has it, then
the earlier directory, then the earlier file:

    1  the file's name without extension, also without a number before it (``10-canal``: ``canal``)
    2  the ``name`` in the configuration
    3  the file's name after its first ``-`` (the rule of the original CNI-Genie)

:func:`find` returns one network, :func:`scan` all of them, by the same claims, so that plugin,
agent and command line agree.

Rules of this file: nothing is cached, since installers rewrite these files at any time. A broken
file affects only the names that it has. A file with a plugin of type ``genie``, or with loopback
only, is not a network.
"""

from __future__ import annotations

import posix

from dispatcher.annotation import closest_name, is_network_name, quote
from dispatcher.conf import Conf, InvalidConfError, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DIRECTORIES = ("/etc/cni/genie.d", "/etc/cni/net.d")
"""The directories of networks, in order; the runtime reads only the second."""

_TYPE_MASK, _REGULAR = 0o170000, 0o100000  # of st_mode, without importing stat
CONF_EXTENSIONS = (".conf", ".conflist", ".json")
"""What libcni, and so every runtime, reads in a configuration directory."""


class UnknownNetworkError(LookupError):
    """No configuration file of this node has the name; ``known`` are the names of the node."""

    def __init__(self, name: str, directories: Sequence[str], known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        near = closest_name(name, self.known)
        hint = f"; did you mean {quote(near)}?" if near else ""
        super().__init__(
            f"no configuration for the network {quote(name)} in {' or '.join(directories)}{hint}"
        )


class Networks:
    """The networks in a node's directories: ``confs`` by name, ``broken_files`` by path.

    ``broken_names`` are the names that a broken file has, each with the error of that file.
    ``ignored`` are all names of the networks that the settings ignore.
    """

    __slots__ = ("broken_files", "broken_names", "confs", "ignored")

    def __init__(self) -> None:
        self.confs: dict[str, Conf] = {}
        self.broken_files: dict[str, InvalidConfError] = {}
        self.ignored: set[str] = set()
        self.broken_names: dict[str, InvalidConfError] = {}


def find(name: str, directories: Sequence[str] = DIRECTORIES) -> Conf:
    """Return the configuration of the network *name*.

    Raises :class:`UnknownNetworkError`, or :class:`InvalidConfError` if the file that has this
    name cannot be used.
    """
    # Nearly every name is that of a file: only that one is read then.
    for path in _files(directories) if is_network_name(name) else ():
        if name in _stems(path):
            conf = load(path)
            if conf.is_network:
                return conf
    networks = scan(directories)
    if name not in networks.confs:
        raise UnknownNetworkError(name, directories, networks.confs)
    return networks.confs[name]


def scan(directories: Sequence[str] = DIRECTORIES, ignore: Iterable[str] = ()) -> Networks:
    """Return every network of the node, except for those with a name in *ignore*."""
    networks = Networks()
    winners = _winners(directories, networks.broken_files)
    ignored = {id(winners[name]) for name in ignore if name in winners}
    for name, entry in winners.items():
        if not is_network_name(name):
            continue
        if id(entry) in ignored:  # by each of its names: weave is also 10-weave
            networks.ignored.add(name)
        elif isinstance(entry, Conf):
            networks.confs[name] = entry
        else:
            networks.broken_names[name] = entry
    return networks


def _winners(
    directories: Sequence[str], broken: dict[str, InvalidConfError]
) -> dict[str, Conf | InvalidConfError]:
    """Return what each name stands for; add files that cannot be used to *broken*."""
    best: dict[str, tuple[int, Conf | InvalidConfError]] = {}
    for path, entry in entries(directories, broken):
        for rank, name in claims(path, entry):
            if name not in best or rank < best[name][0]:
                best[name] = (rank, entry)
    return {name: entry for name, (_, entry) in best.items()}


def entries(
    directories: Sequence[str], broken: dict[str, InvalidConfError]
) -> Iterator[tuple[str, Conf | InvalidConfError]]:
    """Yield each file of a network with its configuration or error; add errors to *broken*."""
    for path in _files(directories):
        try:
            conf = load(path)
        except InvalidConfError as error:
            broken[path] = error
            yield path, error
        else:
            if conf.is_network:
                yield path, conf


def claims(path: str, entry: Conf | InvalidConfError) -> Iterator[tuple[int, str]]:
    """Yield the names that the file *path* with the content *entry* claims, each with its rank."""
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


def conf_files(directory: str) -> list[str]:
    """Return the configuration files in *directory*, in the order in which a runtime reads them.

    Raises OSError, but not for a directory that does not exist: that one has no files.
    """
    try:
        names = sorted(posix.listdir(directory))
    except FileNotFoundError:
        return []
    return [f"{directory}/{name}" for name in names if name.endswith(CONF_EXTENSIONS)]


def _files(directories: Sequence[str]) -> Iterator[str]:
    for directory in directories:
        try:
            files = conf_files(directory)
        except OSError:
            continue  # ``genie doctor`` reports a directory that cannot be read
        for file in files:
            if not file.startswith(".", len(directory) + 1):
                yield file


def find_executable(plugin_type: str, path: Iterable[str]) -> str | None:
    """Return the executable of *plugin_type*: the first regular file in *path*, or None."""
    for directory in path:
        file = f"{directory}/{plugin_type}"
        try:
            if posix.stat(file).st_mode & _TYPE_MASK == _REGULAR:
                return file
        except (OSError, ValueError):
            continue
    return None


def missing_executables(conf: Conf, path: Sequence[str]) -> list[str]:
    """Return the plugin types of *conf*, IPAM included, that have no executable in *path*."""
    return [
        each for each in required_types(conf) if not _is_executable(find_executable(each, path))
    ]


def required_types(conf: Conf) -> list[str]:
    """Return the plugin types of *conf*, IPAM included, each once."""
    types = []
    for plugin in conf.plugins:
        ipam = plugin.get("ipam")
        types += [plugin["type"], ipam.get("type") if isinstance(ipam, dict) else None]
    return [each for each in dict.fromkeys(types) if isinstance(each, str) and each]


def _is_executable(file: str | None) -> bool:
    return file is not None and posix.access(file, posix.X_OK)
