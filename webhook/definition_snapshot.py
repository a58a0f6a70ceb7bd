"""NetworkAttachmentDefinitions as a decision about a pod needs them: small values.

A definition may have 1.5 MiB. What is kept of it has at most a few hundred bytes, whatever its
author wrote.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from dispatcher import plugin_rules
from dispatcher.nad import node_selector
from dispatcher.nad.selection import CAPABILITIES
from dispatcher.nad.tenants import TRUST_ALL
from dispatcher.nad.validation import check, scheduling_faults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dispatcher.nad.definition import Definition
    from dispatcher.nad.tenant_templates import TenantRules

MAX_REFUSED = 256
"""Limit of :attr:`KnownDefinition.refused`, in characters; a warning has no more."""

_KNOWN_CAPABILITIES = frozenset(CAPABILITIES.values())


class KnownDefinition(NamedTuple):
    """A definition, as far as pods are concerned.

    ``capabilities`` has those that a pod can ask for and some plugin declares, and ``types`` the
    plugin types for which there are rules. ``refused`` says why no pod can have it ("": pods can).
    One that ``refers_to_node_network`` has no config. ``node_label`` is the label of its nodes
    (None: any node). ``cni_args`` are the keys that a pod may give (None: any, since the definition
    is not a tenant's). ``cni_name`` is the name that its plugins get, and ``config_hash`` tells
    whether two have the same config.
    """

    short_hash: str
    capabilities: frozenset[str] = frozenset()
    refused: str = ""
    refers_to_node_network: bool = False
    types: frozenset[str] = frozenset()
    node_label: tuple[str, str] | None = None
    cni_args: frozenset[str] | None = None
    cni_name: str = ""
    config_hash: str = ""


class Definitions(NamedTuple):
    """What is known of the definitions that a pod selects, by ``namespace/name``.

    ``known`` has None for one that does not exist, and lacks one for which there was no answer.
    ``names`` has the other names of a namespace, for suggestions.
    """

    known: Mapping[str, KnownDefinition | None] = {}
    names: Mapping[str, frozenset[str]] = {}


NO_DEFINITIONS = Definitions()


def parse_definition(definition: Definition, rules: TenantRules = TRUST_ALL) -> KnownDefinition:
    """Return what is needed of *definition*, with the verdict by *rules*."""
    result = check(definition, rules)
    config = result.configuration
    label_faults = scheduling_faults(definition)
    refused = result.refused or "; ".join(map(str, label_faults))
    has_label = bool(definition.node_selector) and not label_faults
    return KnownDefinition(
        definition.short_hash,
        _KNOWN_CAPABILITIES & (config.capabilities if config else frozenset[str]()),
        refused[:MAX_REFUSED],
        definition.refers_to_node_network,
        plugin_rules.LIMITED.intersection(config.types if config else ()),
        node_selector.parse(definition.node_selector) if has_label else None,
        result.cni_args,
        config.name if config else "",
        sha256(definition.config.encode("utf-8", "surrogatepass")).hexdigest()[:16],
    )
