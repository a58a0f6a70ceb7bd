"""Which networks a node has: configuration files in, networks by name out.

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

from dispatcher.annotation import closest_name, is_network_name, quote
from dispatcher.conf import Conf, InvalidConfError, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DIRECTORIES = ("/etc/cni/genie.d", "/etc/cni/net.d")
"""Where configurations are looked for, in order; the runtime reads only the second."""

_KIND, _REGULAR = 0o170000, 0o100000  # of st_mode; the module for it would be loaded for this alone
CONF_EXTENSIONS = (".conf", ".conflist", ".json")
"""What libcni, and so every runtime, reads in a configuration directory."""


class UnknownNetworkError(LookupError):
    """A name that no configuration file of this node has; ``known`` are those it has."""

    def __init__(self, name: str, directories: Sequence[str], known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        near = closest_name(name, self.known)
        hint = f"; did you mean {quote(near)}?" if near else ""
        super().__init__(
            f"no configuration for the network {quote(name)} in {' or '.join(directories)}{hint}"
        )


class Networks:
    """What a node's directories hold: ``confs`` by name, ``broken`` files by path."""

    __slots__ = ("broken_files", "broken_names", "confs", "ignored")

    def __init__(self) -> None:
        self.confs: dict[str, Conf] = {}
        self.broken_files: dict[str, InvalidConfError] = {}
        self.ignored: set[str] = set()
        """Every name of what is ignored."""
        self.broken_names: dict[str, InvalidConfError] = {}
        """Names that a broken file has won, each with that file's error."""


def find(name: str, directories: Sequence[str] = DIRECTORIES) -> Conf:
    """Return the configuration of the network *name*.

    Raises :class:`UnknownNetworkError`, or :class:`InvalidConfError` when the file that has this
    name cannot be used.
    """
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
    """Return every network of the node, less those that have a name in *ignore*."""
    networks = Networks()
    winners = _winners(directories, networks.broken_files)
    ignored = {id(winners[name]) for name in ignore if name in winners}
    for name, entry in winners.items():
        if not is_network_name(name):
            continue
        if id(entry) in ignored:  # by all its names: 10-weave is what was meant by weave
            networks.ignored.add(name)
        elif isinstance(entry, Conf):
            networks.confs[name] = entry
        else:
            networks.broken_names[name] = entry
    return networks


def _winners(
    directories: Sequence[str], broken: dict[str, InvalidConfError]
) -> dict[str, Conf | InvalidConfError]:
    """Return what has won each name, and put files that cannot be used into *broken*."""
    best: dict[str, tuple[int, Conf | InvalidConfError]] = {}
    for path, entry in entries(directories, broken):
        for rank, name in claims(path, entry):
            if name not in best or rank < best[name][0]:
                best[name] = (rank, entry)
    return {name: entry for name, (_, entry) in best.items()}


def entries(
    directories: Sequence[str], broken: dict[str, InvalidConfError]
) -> Iterator[tuple[str, Conf | InvalidConfError]]:
    """Yield each file of a network with its configuration; add what is broken to *broken*."""
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
    """Yield the names under which the file *path*, which holds *entry*, offers its network.

    Each has its rank: of several files that offer one name, the lowest wins.
    """
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


def find_executable(kind: str, path: Iterable[str]) -> str | None:
    """Return the file that a plugin of type *kind* is: the first in *path*, or None."""
    for directory in path:
        file = f"{directory}/{kind}"
        try:
            if posix.stat(file).st_mode & _KIND == _REGULAR:
                return file
        except (OSError, ValueError):
            continue
    return None


def missing_executables(conf: Conf, path: Sequence[str]) -> list[str]:
    """Return the types of *conf*, IPAM included, that *path* has no executable for."""
    wanted = []
    for plugin in conf.plugins:
        ipam = plugin.get("ipam")
        wanted += [plugin["type"], ipam.get("type") if isinstance(ipam, dict) else None]
    return [
        kind
        for kind in dict.fromkeys(wanted)
        if isinstance(kind, str) and kind and not _runnable(find_executable(kind, path))
    ]


def _runnable(file: str | None) -> bool:
    return file is not None and posix.access(file, posix.X_OK)
