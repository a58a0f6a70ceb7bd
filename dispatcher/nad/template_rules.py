"""What no tenant template may permit, whatever the cluster administrator writes.

A template lists what is permitted, and everything else is refused: that protects the nodes from
tenants. The tables here are another matter. They protect administrators from a template that
permits more than its words suggest, as far as the plugins of the CNI project are concerned.

Rules of this file: pure. Keys are compared without letter case, as programs in Go read them.
"""

from __future__ import annotations

from dispatcher.annotation import quote
from dispatcher.nad.configuration import DELEGATING
from dispatcher.nad.names import is_label

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from dispatcher.nad.tenant_templates import PluginTemplate, TenantTemplate

ANY = "*"

HOST_LOCAL = "host-local"

_ADDRESS_OF_NODE = "it gives the node an address"
_FIREWALL = "it becomes part of the node's firewall"
_NODE_INTERFACE = "with it, a tenant could take any interface of the node"
_NODE_PATH = "it is a path of the node"

NEVER_FREE = {
    "runtimeConfig": "it would pass port mappings and addresses that nothing has checked",
    "args": "it would pass arguments that nothing has checked",
    "prevResult": "it would invent the result of a plugin before",
    "delegate": "it would run another plugin",
    "delegates": "it would run other plugins",
    "type": "it is the executable that runs",
    "ipam": 'write "ipam" of the template instead',
    "capabilities": 'write "capabilities" of the template instead',
    "isGateway": _ADDRESS_OF_NODE,
    "isDefaultGateway": _ADDRESS_OF_NODE,
    "forceAddress": _ADDRESS_OF_NODE,
    "conditionsV4": _FIREWALL,
    "conditionsV6": _FIREWALL,
    "externalSetMarkChain": _FIREWALL,
    "markMasqBit": _FIREWALL,
    "masqAll": _FIREWALL,
    "ipMasq": _FIREWALL,
    "ipMasqBackend": _FIREWALL,
    "backend": _FIREWALL,
    "iptablesAdminChainName": _FIREWALL,
    "firewalldZone": _FIREWALL,
    "ingressPolicy": _FIREWALL,
    "bridge": "with it, a tenant could join the cluster's own bridge",
    "master": "with it, a tenant could join any network of the node",
    "mode": 'with "passthru", a pod would get all packets of the master',
    "device": "it takes an interface away from the node",
    "hwaddr": _NODE_INTERFACE,
    "kernelpath": _NODE_INTERFACE,
    "pciBusID": _NODE_INTERFACE,
    "deviceID": _NODE_INTERFACE,
    "dataDir": _NODE_PATH,
    "subnetFile": _NODE_PATH,
    "kubeconfig": _NODE_PATH,
    "logFile": _NODE_PATH,
    "log_file_path": _NODE_PATH,
}
"""Keys that no template may leave to the tenant, each with the reason."""

MUST_BE_FIXED = {
    "bridge": ("bridge", 'without it the plugin joins "cni0", often the cluster\'s own bridge'),
    "macvlan": ("master", "without it the plugin joins the network of the node's default route"),
    "ipvlan": ("master", "without it the plugin joins the network of the node's default route"),
    "vlan": ("master", "it is the interface of the node that the plugin joins"),
}
"""Plugin types with a key that a template must fix, and why."""

NEVER_PERMITTED = {
    **DELEGATING,
    "host-device": "it takes an interface away from the node: let a trusted namespace define it",
}
"""Plugin types that no template may permit, each with the reason."""

_NEVER_FREE = {key.casefold(): reason for key, reason in NEVER_FREE.items()}


def plugin_faults(plugin: PluginTemplate) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the template of one plugin: the field, and a sentence."""
    if reason := NEVER_PERMITTED.get(plugin.type):
        yield "type", f"{quote(plugin.type)} cannot be used: {reason}"

    spellings = {key.casefold() for key in plugin.fixed}
    if len(spellings) < len(plugin.fixed):
        yield "fixed", "two keys differ in letter case only, and plugins read them as one"
    for key in sorted(plugin.free):
        if reason := _NEVER_FREE.get(key.casefold()):
            yield "free", f"{quote(key)} cannot be left free: {reason}"
        elif key.casefold() in spellings:
            yield "free", f'{quote(key)} cannot be left free: "fixed" has it'

    key, reason = MUST_BE_FIXED.get(plugin.type, ("", ""))
    if key and key not in plugin.fixed:
        yield "fixed", f"{quote(key)} must be in it: {reason}"
    if "ips" in plugin.capabilities and plugin.ipam != HOST_LOCAL:
        reason = "nothing else keeps a pod's addresses in the subnets"
        yield "capabilities", f'"ips" needs "ipam": {quote(HOST_LOCAL)}, for {reason}'


def shared_names(templates: tuple[TenantTemplate, ...]) -> Iterator[tuple[int, int, str]]:
    """Yield each pair of templates by which two namespaces could have one CNI name.

    As the two numbers and one of the namespaces. ``t-`` and ``shop`` give the same names as no
    prefix and ``t-shop``.
    """
    for number, long in enumerate(templates):
        for other, short in enumerate(templates):
            if not (long.plugins and short.plugins):
                continue  # a reference to a network of the nodes has no name of its own
            if not long.name_prefix.startswith(short.name_prefix):
                continue
            more = long.name_prefix.removeprefix(short.name_prefix)
            if more and (namespace := _namespace_that_begins(more, long, short)):
                yield other, number, namespace


def _namespace_that_begins(more: str, long: TenantTemplate, short: TenantTemplate) -> str:
    """Return a namespace of *short* that is *more* and a namespace of *long*, or ""."""
    for namespace in sorted(long.namespaces - {ANY}):
        whole = more + namespace
        if is_label(whole) and not short.namespaces.isdisjoint({whole, ANY}):
            return whole
    if ANY not in long.namespaces:
        return ""
    for namespace in sorted(short.namespaces - {ANY}):
        if namespace.startswith(more) and is_label(namespace.removeprefix(more)):
            return namespace
    return f"{more}a" if ANY in short.namespaces and is_label(f"{more}a") else ""
