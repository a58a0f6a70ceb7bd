"""Who may define which network: trusted namespaces, and templates for all others.

A definition is a CNI configuration, which the node executes as root. In a trusted namespace it may
be any. Elsewhere it has an effect only if a template permits all of it: a list of what is harmful
could never be complete, since each plugin has keys of its own.

Rules of this file: pure. What a template does not name is refused, by exact spelling, since
programs in Go ignore letter case. A CNI name begins with the tenant's namespace and a dot, which no
namespace contains, so two namespaces never share the store of a network's addresses.
"""

from __future__ import annotations

import ipaddress

from dispatcher.annotation import escape, quote
from dispatcher.jsontext import dump
from dispatcher.nad.definition import DefinitionFault
from dispatcher.nad.template_rules import ANY
from dispatcher.nad.tenant_templates import TenantRules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from dispatcher.nad.configuration import Configuration
    from dispatcher.nad.definition import Definition
    from dispatcher.nad.tenant_templates import Network, PluginTemplate, TenantTemplate

CONFIG_KEYS = frozenset({"cniVersion", "cniVersions", "name", "disableCheck", "disableGC"})
"""Keys of a config that concern no plugin, which any tenant may write."""

RANGE_KEYS = frozenset({"subnet", "rangeStart", "rangeEnd", "gateway"})
"""Keys of one range of host-local, all of them addresses."""

_MAX_TEXT = 64


TRUST_ALL = TenantRules(frozenset({ANY}))


def no_owner(_name: str) -> str:
    """Return that no CNI name is taken: the caller knows neither nodes nor other namespaces."""
    return ""


def faults(
    definition: Definition,
    config: Configuration | None,
    rules: TenantRules,
    name_owner: Callable[[str], str] = no_owner,
) -> list[DefinitionFault]:
    """Return why the author of *definition* may not define it; *config* is its configuration.

    ``name_owner(name)`` returns who has the CNI name *name* already ("": nobody).
    """
    if rules.is_trusted(definition.namespace):
        return []
    templates = rules.templates_of(definition.namespace)
    if config is None:
        return _reference_faults(definition, templates)

    same_chain = [each for each in templates if each.plugins and each.types == config.types]
    if not same_chain:
        return [_no_template(definition, config, templates)]
    # Of several templates with this chain, the nearest one explains.
    results = ([*_faults(definition, config, each)] for each in same_chain)
    nearest = min(results, key=len)
    if not nearest and (owner := name_owner(config.name)):
        message = f"the CNI name {quote(config.name)} is taken by {owner}: choose another"
        nearest = [_fault("name", message)]
    return nearest


def permitted_cni_args(
    definition: Definition, config: Configuration | None, rules: TenantRules
) -> frozenset[str] | None:
    """Return the keys that a pod may give in ``cni-args`` for *definition*; None: any.

    They reach each plugin of the chain, and override what the template fixes: with ``sysctl`` a pod
    would set any sysctl through the plugin ``tuning``. *definition* has no faults.
    """
    if rules.is_trusted(definition.namespace):
        return None
    templates = rules.templates_of(definition.namespace)
    if config is None:
        templates = [each for each in templates if definition.name in each.node_networks]
    else:
        templates = [
            each
            for each in templates
            if each.types == config.types and not any(_faults(definition, config, each))
        ]
    return frozenset[str]().union(*(each.cni_args for each in templates))


def _fault(position: str, message: str) -> DefinitionFault:
    return DefinitionFault("spec.config", message, position)


def _reference_faults(
    definition: Definition, templates: list[TenantTemplate]
) -> list[DefinitionFault]:
    permitted = sorted({name for each in templates for name in each.node_networks})
    if definition.name in permitted:
        return []
    listed = f" (permitted: {', '.join(permitted)})" if permitted else ""
    message = (
        "the definition has no spec.config, so it selects the nodes' network "
        f'{quote(definition.name)}, which no tenant template lists in "nodeNetworks" for namespace '
        f"{quote(definition.namespace)}{listed}"
    )
    return [DefinitionFault("metadata.name", message)]


def _no_template(
    definition: Definition, config: Configuration, templates: list[TenantTemplate]
) -> DefinitionFault:
    chains = sorted({", ".join(each.types) for each in templates if each.plugins})
    chain = quote(", ".join(config.types))
    where = f"namespace {quote(definition.namespace)} is not trusted"
    if not chains:
        fix = "ask a cluster administrator for a tenant template (attachmentDefinitions)"
        return _fault("", f"{where}, and no template permits it to define networks: {fix}")
    permitted = " or ".join(map(quote, chains))
    return _fault("", f"{where}, and no template permits the plugins {chain}: use {permitted}")


def _faults(
    definition: Definition, config: Configuration, template: TenantTemplate
) -> Iterator[DefinitionFault]:
    """Yield what *template* does not permit of *config*, whose chain is the template's."""
    prefix = f"{template.name_prefix}{definition.namespace}."
    if not config.name.startswith(prefix) or config.name == prefix:
        message = (
            f"the CNI name {quote(config.name)} must begin with {quote(prefix)}, followed by a name"
        )
        yield _fault("name", message)

    is_list = "plugins" in config.value
    if is_list:
        for key in sorted(config.value.keys() - CONFIG_KEYS - {"plugins"}):
            yield _fault(escape(key), "the template does not permit this key")
    for index, (plugin, permitted) in enumerate(
        zip(config.conf.plugins, template.plugins, strict=True)
    ):
        position = f"plugins[{index}]" if is_list else ""
        own = plugin if is_list else {k: v for k, v in plugin.items() if k not in CONFIG_KEYS}
        for field, message in _plugin_faults(own, permitted, template.subnets):
            yield _fault(f"{position}.{field}" if position else field, message)


def _plugin_faults(
    plugin: dict[str, Any], permitted: PluginTemplate, subnets: tuple[Network, ...]
) -> Iterator[tuple[str, str]]:
    for key, value in permitted.fixed.items():
        # Compared as JSON: for Python, true equals 1.
        if key not in plugin or dump(plugin[key]) != dump(value):
            yield key, f"must be {dump(value).decode()}"

    others = plugin.keys() - permitted.fixed.keys() - {"type", "ipam", "capabilities"}
    for key in sorted(others):
        if key not in permitted.free:
            yield escape(key), "the template does not permit this key"
        elif isinstance(plugin[key], (dict, list)):
            yield key, "must be a text, a number or a boolean"
        elif isinstance(plugin[key], str) and len(plugin[key]) > _MAX_TEXT:
            yield key, f"may have at most {_MAX_TEXT} characters"

    declared = plugin.get("capabilities") or {}
    for name in sorted({name for name, on in declared.items() if on} - permitted.capabilities):
        yield "capabilities", f"the template does not permit the capability {quote(name)}"
    yield from _ipam_faults(plugin.get("ipam"), permitted.ipam, subnets)


def _ipam_faults(
    ipam: Any, permitted: str, subnets: tuple[Network, ...]
) -> Iterator[tuple[str, str]]:
    if not ipam or permitted == "none":
        if ipam:
            yield "ipam", "the template permits no address plugin: remove it"
        return
    if not isinstance(ipam, dict) or ipam.get("type") != permitted:
        yield "ipam.type", f"must be {quote(permitted)}"
        return

    for key in sorted(ipam.keys() - RANGE_KEYS - {"type", "ranges"}):
        yield f"ipam.{escape(key)}", "the template does not permit this key"
    yield from _range_faults("ipam", {k: v for k, v in ipam.items() if k in RANGE_KEYS}, subnets)
    sets = ipam.get("ranges", [])
    if not isinstance(sets, list) or not all(isinstance(each, list) for each in sets):
        yield "ipam.ranges", "must be a list of lists"
        return
    for index, members in enumerate(sets):
        for inner, each in enumerate(members):
            yield from _range_faults(f"ipam.ranges[{index}][{inner}]", each, subnets)


def _range_faults(
    position: str, value: Any, subnets: tuple[Network, ...]
) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        yield position, "must be an object"
        return
    for key, text in value.items():
        where = f"{position}.{escape(key)}"
        if key not in RANGE_KEYS:
            yield where, "the template does not permit this key"
        elif not _is_inside(text, subnets, is_range=key == "subnet"):
            allowed = ", ".join(map(str, subnets)) or "none: the template has no subnets"
            form = "a range with its prefix length" if key == "subnet" else "an address"
            yield where, f"must be {form} inside the template's subnets ({allowed})"


def _is_inside(text: Any, subnets: tuple[Network, ...], *, is_range: bool) -> bool:
    """Tell whether *text* is a range, or an address, inside one of *subnets*."""
    # Python reads more forms than programs in Go do, such as "10.0.0.0/255.0.0.0".
    if not isinstance(text, str):
        return False
    _, slash, length = text.partition("/")
    if not (length.isdecimal() if is_range else not slash):
        return False
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return any(
        network.version == subnet.version and network.subnet_of(subnet)  # type: ignore[arg-type]
        for subnet in subnets
    )
