"""The validator of ``spec.config``: a text in, a configuration of CNI or all its faults out.

The text is a CNI configuration or configuration list (NPWG specification v1.3, section 3.4). A
configuration without a name gets that of the definition (3.4.2).

These can never be attached, whoever wrote them:

- what is not JSON as the node reads it (:mod:`dispatcher.jsontext`: a key twice in one object is a
  fault), longer than :data:`MAX_CONFIG` or nested deeper than :data:`MAX_NESTING`;
- an executable (``type``, ``ipam.type``, and the ``type`` of what a plugin delegates to) that is
  no plain file name, or one of :data:`DELEGATING`;
- a key that only programs in Go read as one of the keys above, since they ignore letter case.

Rules of this file: pure. Any text gives a configuration or at least one fault, and at most
:data:`MAX_FAULTS`. What it accepts, :func:`dispatcher.conf.decode` accepts too.
"""

from __future__ import annotations

from dispatcher import conf
from dispatcher.annotation import escape, quote
from dispatcher.jsontext import InvalidJSONError, parse
from dispatcher.nad.definition import DefinitionFault, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from dispatcher.conf import Conf
    from dispatcher.nad.definition import Definition

MAX_CONFIG = 64 << 10
"""Limit of ``spec.config`` in bytes; configurations have a few hundred."""

MAX_NESTING = 32
"""Limit of nested objects and lists; configurations have fewer than ten."""

MAX_FAULTS = 16
"""Limit of the faults of one definition: a text can have as many as bytes."""

DELEGATING = {
    "genie": "Genie would call itself",
    "multus": "it reads NetworkAttachmentDefinitions itself, and may call Genie again",
    "multus-shim": "it reads NetworkAttachmentDefinitions itself, and may call Genie again",
    "danm": "it chooses networks by its own custom resources",
    "kactus": "it reads NetworkAttachmentDefinitions itself",
}
"""Plugin types that attach networks of their own choice, each with why it is no network here."""

_KEYS = frozenset(
    {
        "name", "cniVersion", "cniVersions", "plugins", "type", "ipam", "capabilities", "delegate",
        "delegates", "runtimeConfig", "args", "prevResult", "disableCheck", "disableGC",
        "loadOnlyInlinedPlugins",
    }
)  # fmt: skip
_BY_FOLDED = {key.casefold(): key for key in _KEYS}


class Configuration:
    """A valid configuration: ``conf`` as the node reads it, and ``value`` as it is written."""

    __slots__ = ("conf", "value")

    def __init__(self, network: Conf, value: dict[str, Any]) -> None:
        self.conf = network
        self.value = value

    @property
    def name(self) -> str:
        """The name of the network as its plugins get it."""
        return self.conf.name

    @property
    def capabilities(self) -> frozenset[str]:
        """The capabilities that some plugin of the chain declares."""
        return self.conf.capabilities

    @property
    def types(self) -> list[str]:
        """The plugin types of the chain, in order."""
        return self.conf.types


def decode(definition: Definition) -> Conf:
    """Return the configuration of *definition* as the plugin attaches it.

    Raises :class:`dispatcher.conf.InvalidConfError`.
    """
    data = definition.config.encode("utf-8", "surrogatepass")
    path = f"NetworkAttachmentDefinition {definition.full_name}"
    return conf.decode(data, path, default_name=definition.name)


def validate(definition: Definition) -> tuple[Configuration | None, list[DefinitionFault]]:
    """Return the configuration in *definition* and its faults; one of the two is empty.

    A definition without a config has no configuration, and no fault here.
    """
    if definition.refers_to_node_network:
        return None, []
    try:
        value = _parse(definition.config)
        faults = [_fault(*each) for each, _ in zip(_faults(value), range(MAX_FAULTS), strict=False)]
        if not faults:
            return Configuration(decode(definition), value), []
    except InvalidJSONError as error:
        faults = [_fault("", str(error))]
    except conf.InvalidConfError as error:
        faults = [_fault("", error.reason)]  # the definition has no name to give it
    return None, faults


def _fault(position: str, message: str) -> DefinitionFault:
    return DefinitionFault("spec.config", message, position)


def _parse(text: str) -> dict[str, Any]:
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > MAX_CONFIG:
        limit = f"may not be more than {MAX_CONFIG >> 10} KiB"
        raise InvalidJSONError(f"{limit} (has {len(data)} bytes)")
    try:
        value = parse(data, MAX_NESTING)
    except InvalidJSONError as error:
        raise InvalidJSONError(f"not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidJSONError(f"must be a JSON object, not {type_name(value)}")
    return value


def _faults(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each fault of the object in a config: its position and a sentence."""
    is_list = "plugins" in value or "type" not in value
    if is_list:
        yield from _case_faults("", value)
    if value.get("name", "") != "":
        yield from _field_fault("name", lambda: conf.read_name("", value))
    yield from _field_fault("cniVersion", lambda: conf.read_version("", value))

    if not is_list:
        yield from _plugin_faults("", value)
        return
    for key in ("disableCheck", "disableGC", "loadOnlyInlinedPlugins"):
        yield from _field_fault(key, lambda key=key: conf.read_flag("", value, key))
    plugins = value.get("plugins")
    if not isinstance(plugins, list) or not plugins:
        yield "plugins", "must be a list of at least one plugin"
        return
    for index, plugin in enumerate(plugins):
        yield from _plugin_faults(f"plugins[{index}]", plugin)


def _field_fault(position: str, read: Any) -> Iterator[tuple[str, str]]:
    try:
        read()
    except conf.InvalidConfError as error:
        yield position, error.reason


def _plugin_faults(position: str, plugin: Any) -> Iterator[tuple[str, str]]:
    for field, sentence in conf.plugin_faults(plugin):
        yield _join(position, field), sentence
    if not isinstance(plugin, dict):
        return

    yield from _case_faults(position, plugin)
    if isinstance(ipam := plugin.get("ipam"), dict):
        yield from _case_faults(_join(position, "ipam"), ipam)
    for field, plugin_type in _executables(plugin):
        where = _join(position, field)
        if not isinstance(plugin_type, str) or not conf.is_file_name(plugin_type):
            # conf.plugin_faults has reported those of the plugin itself.
            if field not in {"type", "ipam.type"}:
                yield where, "must be the name of an executable"
        elif reason := DELEGATING.get(plugin_type):
            yield where, f"the plugin {quote(plugin_type)} cannot be attached: {reason}"


def _case_faults(position: str, value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the keys of *value* that a program in Go takes for another key."""
    for key in value:
        meant = _BY_FOLDED.get(key.casefold())
        if meant not in {None, key}:
            yield _join(position, escape(key)), f"write {quote(str(meant))}: letter case counts"


def _executables(plugin: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what *plugin* names as executables, each with its field."""
    yield "type", plugin.get("type")
    yield from _ipam_type("", plugin)

    delegates = [("delegate", plugin.get("delegate"))]  # of flannel: the type is optional
    if isinstance(listed := plugin.get("delegates"), list):
        delegates += [(f"delegates[{index}]", each) for index, each in enumerate(listed)]
    for field, delegate in delegates:
        if isinstance(delegate, dict):
            if "type" in delegate:
                yield f"{field}.type", delegate["type"]
            yield from _ipam_type(f"{field}.", delegate)


def _ipam_type(prefix: str, plugin: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    ipam = plugin.get("ipam")
    if isinstance(ipam, dict) and ipam.get("type"):  # otherwise plugins allocate no address
        yield f"{prefix}ipam.type", ipam["type"]


def _join(position: str, field: str) -> str:
    return f"{position}.{field}" if position and field else position or field
