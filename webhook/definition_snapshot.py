"""NetworkAttachmentDefinitions as a decision about a pod needs them: small values.

A definition may have 1.5 MiB. What is kept of it has at most a few hundred bytes, whatever its
author wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher.nad.selection import CAPABILITIES
from dispatcher.nad.tenants import TRUST_ALL
from dispatcher.nad.validation import check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dispatcher.nad.definition import Definition
    from dispatcher.nad.tenant_templates import TenantRules

MAX_REFUSED = 256
"""Limit of :attr:`KnownDefinition.refused`, in characters; a warning has no more."""

_KNOWN_CAPABILITIES = frozenset(CAPABILITIES.values())


class KnownDefinition(NamedTuple):
    """A definition, as far as pods are concerned.

    ``capabilities`` has those that a pod can ask for and some plugin declares. ``refused`` says why
    no node attaches it ("": nodes do). One that ``refers_to_node_network`` has no config.
    """

    short_hash: str
    capabilities: frozenset[str] = frozenset()
    refused: str = ""
    refers_to_node_network: bool = False


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
    declared = config.capabilities if config else frozenset[str]()
    return KnownDefinition(
        definition.short_hash,
        _KNOWN_CAPABILITIES & declared,
        result.refused[:MAX_REFUSED],
        definition.refers_to_node_network,
    )
