"""Templates for definitions of tenants, as cluster administrators write them (chart values).

    namespaces      the namespaces it is for; "*": all that are not trusted
    cniNamePrefix   the CNI name must begin with it, then the namespace, then "."
    subnets         the only ranges for addresses, as CIDR
    cniArgs         keys that a pod may give in "cni-args"; otherwise it may give none
    nodeNetworks    names of the nodes' networks to which a definition without config may refer
    plugins         the chain, in order; of each plugin:
        type          its type
        fixed         keys with the one value they must have: {"bridge": "tenants0"}
        free          keys whose value the tenant chooses: a text, number or boolean
        ipam          "host-local" or "none"
        capabilities  the capabilities that it may declare

A template without plugins permits references to ``nodeNetworks`` only.

Rules of this file: pure. A template that would permit too much is refused with the reason, when
the program starts: :mod:`dispatcher.nad.template_rules`. host-local is the only address
plugin that a template can permit: it keeps to its ranges whatever a pod asks for, while ``static``
takes any address from the pod.
"""

from __future__ import annotations

import ipaddress

from dispatcher.annotation import quote
from dispatcher.conf import is_cni_name, is_file_name
from dispatcher.jsontext import InvalidJSONError, parse
from dispatcher.nad import template_rules
from dispatcher.nad.template_rules import ANY, HOST_LOCAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

IPAM = frozenset({HOST_LOCAL, "none"})
"""Values of the key ``ipam``."""

CAPABILITIES = frozenset({"ips", "mac", "bandwidth", "portMappings", "infinibandGUID"})
"""What a pod can ask for, and so what a template can let a plugin declare."""

_NEVER_FIXED = frozenset({"runtimeConfig", "args", "prevResult", "type", "ipam", "capabilities"})
_TEMPLATE_KEYS = frozenset(
    {"namespaces", "cniNamePrefix", "subnets", "nodeNetworks", "plugins", "cniArgs"}
)
_PLUGIN_KEYS = frozenset({"type", "fixed", "free", "ipam", "capabilities"})


class InvalidTemplateError(ValueError):
    """A tenant template is invalid; the message names the field."""


class PluginTemplate:
    """What a template permits of one plugin of the chain."""

    __slots__ = ("capabilities", "fixed", "free", "ipam", "type")

    def __init__(
        self,
        plugin_type: str,
        *,
        fixed: dict[str, Any] | None = None,
        free: frozenset[str] = frozenset(),
        ipam: str = "none",
        capabilities: frozenset[str] = frozenset(),
    ) -> None:
        self.type = plugin_type
        self.fixed = fixed or {}
        self.free = free
        self.ipam = ipam
        self.capabilities = capabilities


class TenantTemplate:
    """One template; see the top of this file."""

    __slots__ = ("cni_args", "name_prefix", "namespaces", "node_networks", "plugins", "subnets")

    def __init__(
        self,
        namespaces: frozenset[str],
        plugins: tuple[PluginTemplate, ...] = (),
        *,
        name_prefix: str = "",
        subnets: tuple[Network, ...] = (),
        node_networks: frozenset[str] = frozenset(),
        cni_args: frozenset[str] = frozenset(),
    ) -> None:
        self.namespaces = namespaces
        self.plugins = plugins
        self.name_prefix = name_prefix
        self.subnets = subnets
        self.node_networks = node_networks
        self.cni_args = cni_args

    @property
    def types(self) -> list[str]:
        """The plugin types of the chain, in order."""
        return [plugin.type for plugin in self.plugins]


class TenantRules:
    """The trusted namespaces ("*": all), and the templates for the others."""

    __slots__ = ("templates", "trusted")

    def __init__(
        self, trusted: frozenset[str] = frozenset(), templates: tuple[TenantTemplate, ...] = ()
    ) -> None:
        self.trusted = trusted
        self.templates = templates

    def is_trusted(self, namespace: str) -> bool:
        """Tell whether definitions of *namespace* may be any."""
        return ANY in self.trusted or namespace in self.trusted

    def templates_of(self, namespace: str) -> list[TenantTemplate]:
        """Return the templates for *namespace*."""
        return [each for each in self.templates if not each.namespaces.isdisjoint({ANY, namespace})]


def read_templates(text: str) -> tuple[TenantTemplate, ...]:
    """Return the templates in *text*, a JSON list. Raises :class:`InvalidTemplateError`."""
    try:
        value = parse(text.encode())
    except InvalidJSONError as error:
        raise InvalidTemplateError(f"not valid JSON: {error}") from None
    if not isinstance(value, list):
        raise InvalidTemplateError("must be a list of templates")
    templates = tuple(_template(each, f"[{index}]") for index, each in enumerate(value))
    for one, other, namespace in template_rules.shared_names(templates):
        raise InvalidTemplateError(
            f"[{other}].cniNamePrefix: it gives the same CNI names as [{one}] does for namespace "
            f'{quote(namespace)}: let the prefix end with "_", which no namespace has'
        )
    return templates


def _template(value: Any, where: str) -> TenantTemplate:
    fields = _fields(value, where, _TEMPLATE_KEYS)
    prefix = fields.get("cniNamePrefix", "")
    if not isinstance(prefix, str) or "." in prefix or (prefix and not is_cni_name(prefix)):
        message = "must be the beginning of a CNI name, without a dot: the namespace ends with one"
        raise InvalidTemplateError(f"{where}.cniNamePrefix: {message}")
    plugins = fields.get("plugins", [])
    if not isinstance(plugins, list):
        raise InvalidTemplateError(f"{where}.plugins: must be a list")
    namespaces = _texts(fields, "namespaces", where)
    if not namespaces:
        raise InvalidTemplateError(f'{where}.namespaces: name at least one, or "{ANY}"')
    return TenantTemplate(
        frozenset(namespaces),
        tuple(_plugin(each, f"{where}.plugins[{i}]") for i, each in enumerate(plugins)),
        name_prefix=prefix,
        subnets=tuple(_subnet(each, where) for each in _texts(fields, "subnets", where)),
        node_networks=frozenset(_texts(fields, "nodeNetworks", where)),
        cni_args=frozenset(_texts(fields, "cniArgs", where)),
    )


def _plugin(value: Any, where: str) -> PluginTemplate:
    fields = _fields(value, where, _PLUGIN_KEYS)
    plugin_type = fields.get("type")
    if not isinstance(plugin_type, str) or not plugin_type or not is_file_name(plugin_type):
        raise InvalidTemplateError(f"{where}.type: must be the name of an executable")

    fixed = fields.get("fixed", {})
    if not isinstance(fixed, dict) or not _NEVER_FIXED.isdisjoint(fixed):
        listed = ", ".join(sorted(_NEVER_FIXED))
        raise InvalidTemplateError(f"{where}.fixed: must be an object without {listed}")
    free = frozenset(_texts(fields, "free", where))
    ipam = fields.get("ipam", "none")
    if not isinstance(ipam, str) or ipam not in IPAM:
        raise InvalidTemplateError(f'{where}.ipam: must be "host-local" or "none"')
    capabilities = frozenset(_texts(fields, "capabilities", where))
    if not capabilities <= CAPABILITIES:
        listed = ", ".join(sorted(CAPABILITIES))
        raise InvalidTemplateError(f"{where}.capabilities: must be of {listed}")
    plugin = PluginTemplate(
        plugin_type, fixed=fixed, free=free, ipam=ipam, capabilities=capabilities
    )
    for field, message in template_rules.plugin_faults(plugin):
        raise InvalidTemplateError(f"{where}.{field}: {message}")
    return plugin


def _fields(value: Any, where: str, known: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidTemplateError(f"{where}: must be an object")
    for key in value:
        if key not in known:
            raise InvalidTemplateError(f"{where}: unknown key {quote(key)}")
    return value


def _texts(fields: dict[str, Any], key: str, where: str) -> list[str]:
    value = fields.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise InvalidTemplateError(f"{where}.{key}: must be a list of texts")
    return value


def _subnet(text: str, where: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidTemplateError(f"{where}.subnets: {error}") from None
