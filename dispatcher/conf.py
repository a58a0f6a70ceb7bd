"""Read the configuration of one network: the bytes of a file in, a valid :class:`Conf` out.

A ``.conflist`` has what libcni calls a network configuration list (CNI specification, section 1).
A ``.conf`` or ``.json`` may have a single plugin, which counts as a list of one. Numbers, unknown
keys and the order of keys stay as they were written, since delegates get them.

Rules of this file: any bytes give a :class:`Conf` whose fields have their types, or an
:class:`InvalidConfError` with one sentence. Only the two functions that read files import
``posix``, because ``kubectl genie`` imports this module on Windows too; an import of a loaded
module costs less than a microsecond.
"""

from __future__ import annotations

from dispatcher import keys
from dispatcher.annotation import quote
from dispatcher.jsontext import InvalidJSONError, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""The versions of the CNI specification that Genie supports, oldest first."""

MAX_BYTES = 4 << 20
"""Limit of a configuration file, in bytes."""

_CHUNK = 1 << 16
_RESERVED = "cni.dev/"  # the specification keeps these keys for runtimes


class InvalidConfError(Exception):
    """The configuration file ``path`` cannot be used; ``reason`` says why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Conf:
    """The configuration of a network: what libcni calls a network configuration list.

    ``name`` is the name in the configuration, which its plugins get. A pod may know the network by
    another name. ``plugins`` are the configurations of the chain, as they were written.
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
    def capabilities(self) -> frozenset[str]:
        """The capabilities that some plugin of the chain declares."""
        declared = (plugin.get("capabilities") or {} for plugin in self.plugins)
        return frozenset(name for each in declared for name, enabled in each.items() if enabled)

    def with_plugins(self, plugins: list[dict[str, Any]]) -> Conf:
        """Return the same configuration with *plugins* as its chain."""
        return Conf(
            self.path,
            self.name,
            self.cni_version,
            plugins,
            disable_check=self.disable_check,
            disable_gc=self.disable_gc,
        )

    def first_plugins(self, count: int) -> Conf:
        """Return the same configuration with only the first *count* plugins of its chain."""
        return self.with_plugins(self.plugins[:count])

    def supports(self, version: str) -> bool:
        """Tell whether the configuration has *version* of the specification, or a later one."""
        return VERSIONS.index(self.cni_version) >= VERSIONS.index(version)

    def plugin_input(
        self, plugin: dict[str, Any], capability_args: dict[str, Any]
    ) -> dict[str, Any]:
        """Return what *plugin* gets on its standard input (libcni's buildOneConfig)."""
        document = {key: value for key, value in plugin.items() if not key.startswith(_RESERVED)}
        document["name"] = self.name
        document["cniVersion"] = self.cni_version
        runtime_config = {
            capability: capability_args[capability]
            for capability, enabled in (plugin.get("capabilities") or {}).items()
            if enabled and capability in capability_args
        }
        if runtime_config:
            document["runtimeConfig"] = runtime_config
        return document

    @property
    def is_network(self) -> bool:
        """False for a configuration of Genie itself, and for one of loopback only."""
        return keys.PLUGIN_TYPE not in self.types and set(self.types) != {"loopback"}


def load(path: str) -> Conf:
    """Return the configuration in the file *path*. Raises :class:`InvalidConfError`."""
    return decode(_contents(path), path, (path.rpartition("/")[0],))


def decode(
    data: bytes, path: str, conf_dirs: Iterable[str] = (), *, default_name: str = ""
) -> Conf:
    """Return the configuration in *data*, the content of the file *path*.

    Plugins in files of their own come from the first of *conf_dirs* that has any. A configuration
    without a name gets *default_name*. Raises :class:`InvalidConfError`.
    """
    value = _object(data, path)
    if default_name and value.get("name", "") == "":
        value["name"] = default_name
    if "plugins" not in value and "type" in value:
        return _single(path, value)
    conf = Conf(
        path,
        read_name(path, value),
        read_version(path, value),
        [_plugin(path, plugin) for plugin in _listed(path, value)],
        disable_check=read_flag(path, value, "disableCheck"),
        disable_gc=read_flag(path, value, "disableGC"),
    )
    if not read_flag(path, value, "loadOnlyInlinedPlugins"):
        more = (_more_plugins(f"{folder}/{conf.name}") for folder in conf_dirs)
        conf.plugins += next(filter(None, more), [])
    elif "plugins" not in value:
        raise InvalidConfError(path, '"loadOnlyInlinedPlugins" is true, but "plugins" is missing')
    if not conf.plugins:
        raise InvalidConfError(path, "it has no plugins")
    return conf


def _single(path: str, value: dict[str, Any]) -> Conf:
    return Conf(path, read_name(path, value), read_version(path, value), [_plugin(path, value)])


def _more_plugins(folder: str) -> list[dict[str, Any]]:
    """Return the plugins in files of their own, in the folder with the configuration's name."""
    import posix

    try:
        entries = [each for each in posix.scandir(folder) if each.name.endswith(".conf")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InvalidConfError(folder, error.strerror or str(error)) from None
    files = sorted(each.path for each in entries if not each.is_dir(follow_symlinks=False))
    return [_plugin(file, _object(_contents(file), file)) for file in files]


def _contents(path: str) -> bytes:
    import posix

    try:
        # O_NONBLOCK: the open of a pipe in this place must not block the start of a pod.
        file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
        try:
            data = b""
            while (chunk := posix.read(file, _CHUNK)) and len(data) <= MAX_BYTES:
                data += chunk
        finally:
            posix.close(file)
    except (OSError, ValueError) as error:
        raise InvalidConfError(path, getattr(error, "strerror", None) or str(error)) from None
    if len(data) > MAX_BYTES:
        raise InvalidConfError(path, f"the file is larger than {MAX_BYTES >> 20} MiB")
    return data


def _object(data: bytes, path: str) -> dict[str, Any]:
    try:
        value = parse(data)
    except InvalidJSONError as error:
        raise InvalidConfError(path, f"not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidConfError(path, "the content must be a JSON object")
    return value


def read_name(path: str, value: dict[str, Any]) -> str:
    """Return the name in the configuration *value*. Raises :class:`InvalidConfError`."""
    name = value.get("name")
    if not isinstance(name, str) or not is_cni_name(name):
        raise InvalidConfError(path, '"name" must consist of letters, digits, "_", "." and "-"')
    return name


def is_cni_name(text: str) -> bool:
    """Tell whether *text* may name a network or a container (CNI specification, section 1)."""
    return (
        text.isascii()
        and text[:1].isalnum()
        and text.replace("-", "").replace(".", "").replace("_", "").isalnum()
    )


def read_version(path: str, value: dict[str, Any]) -> str:
    """Return the CNI version to use with *value*. Raises :class:`InvalidConfError`."""
    stated = value.get("cniVersion", "")
    offered = value.get("cniVersions", [])
    if not isinstance(stated, str):
        raise InvalidConfError(path, '"cniVersion" must be a string')
    if not isinstance(offered, list) or not all(isinstance(each, str) for each in offered):
        raise InvalidConfError(path, '"cniVersions" must be a list of strings')
    supported = [version for version in VERSIONS if version in offered or version == stated]
    if supported:
        return supported[-1]
    if stated or offered:
        named = stated or ", ".join(offered)
        raise InvalidConfError(path, f"Genie does not support CNI version {quote(named)}")
    return VERSIONS[0]


def _listed(path: str, value: dict[str, Any]) -> list[Any]:
    if "plugins" not in value:
        return []
    plugins = value["plugins"]
    if not isinstance(plugins, list) or not plugins:
        raise InvalidConfError(path, '"plugins" must be a list of at least one plugin')
    return plugins


def _plugin(path: str, value: Any) -> dict[str, Any]:
    for _, sentence in plugin_faults(value):
        raise InvalidConfError(path, sentence)
    plugin: dict[str, Any] = value
    return plugin


def plugin_faults(value: Any) -> Iterator[tuple[str, str]]:
    """Yield each fault of one plugin's configuration: its field ("": all of it), a sentence."""
    if not isinstance(value, dict):
        yield "", "a plugin must be a JSON object"
        return

    plugin_type = value.get("type")
    if not isinstance(plugin_type, str) or not plugin_type:
        yield "type", 'a plugin has no "type"'
        plugin_type = ""
    elif not is_file_name(plugin_type):
        yield "type", f'"type" must be the name of an executable, not {quote(plugin_type)}'

    ipam = value.get("ipam")
    if isinstance(ipam, dict):
        yield from _ipam_faults(plugin_type, ipam.get("type"))

    capabilities = value.get("capabilities")
    if capabilities is not None and (
        not isinstance(capabilities, dict)
        or not all(isinstance(enabled, bool) for enabled in capabilities.values())
    ):
        expected = f'"capabilities" of {quote(plugin_type)} must be an object of booleans'
        yield "capabilities", expected

    if key := _way_back(value):
        expected = "name the network itself there, since Genie would call it again"
        yield key, f'"{key}" of {quote(plugin_type)} leads back to Genie: {expected}'


def _way_back(plugin: dict[str, Any]) -> str:
    """Return the key by which a meta plugin such as ``multus`` has Genie as its default, or ""."""
    delegates = plugin.get("delegates")
    for delegate in delegates if isinstance(delegates, list) else ():
        chain = delegate.get("plugins") if isinstance(delegate, dict) else None
        for each in (delegate, *(chain if isinstance(chain, list) else ())):
            if isinstance(each, dict) and each.get("type") == keys.PLUGIN_TYPE:
                return "delegates"
    network = plugin.get("clusterNetwork")
    file = network.rpartition("/")[2] if isinstance(network, str) else ""
    return "clusterNetwork" if file in {keys.PLUGIN_TYPE, keys.CONFLIST} else ""


def _ipam_faults(plugin_type: str, value: Any) -> Iterator[tuple[str, str]]:
    if value is None or value == "":
        return  # plugins allocate no address then
    if not isinstance(value, str) or not is_file_name(value):
        shown = quote(value) if isinstance(value, str) else "a value of another type"
        expected = f'"ipam.type" of {quote(plugin_type)} must be the name of an executable'
        yield "ipam.type", f"{expected}, not {shown}"


def is_file_name(text: str) -> bool:
    """Tell whether *text* names a file of a directory, and so no path."""
    return "/" not in text and "\0" not in text and text not in {".", ".."}


def read_flag(path: str, value: dict[str, Any], key: str) -> bool:
    """Return the boolean *key* of *value*; missing: False. Raises :class:`InvalidConfError`."""
    flag = value.get(key, False)
    if isinstance(flag, str):
        flag = {"true": True, "false": False}.get(flag.lower())
    if not isinstance(flag, bool):
        raise InvalidConfError(path, f'"{key}" must be true or false')
    return flag
