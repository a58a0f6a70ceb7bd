"""The informer cache of NetworkAttachmentDefinitions: the parts of them that decisions need.

A cluster may lack the kind, or have more definitions than the cache keeps. A definition that is not
cached is read from the API server, so a gap in the cache never leads to a wrong decision.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from dispatcher.kube.definition_reflector import DefinitionReflector
from dispatcher.nad.definition import is_path_safe
from webhook.definition_snapshot import KnownDefinition, parse_definition

if TYPE_CHECKING:
    from dispatcher.kube.client import KubeClient
    from dispatcher.nad.definition import Definition
    from dispatcher.nad.tenant_templates import TenantRules

MAX_DEFINITIONS = 10_000
"""Limit of the definitions in the cache, each of about 1 KiB at most."""

log = structlog.get_logger("definitions")


class DefinitionCache:
    """The definitions of the cluster, by *rules* for tenants."""

    def __init__(self, kube: KubeClient, rules: TenantRules) -> None:
        self._rules = rules
        self._lock = threading.Lock()
        self._namespaces: dict[str, dict[str, KnownDefinition]] = {}
        self._count = 0
        self._listed: set[tuple[str, str]] | None = None
        self._is_full = False
        self._reflector = DefinitionReflector(kube, self)

    def start(self) -> None:
        """Begin to list and watch. The webhook does not wait for it: a miss is looked up."""
        self._reflector.start()

    def stop(self) -> None:
        """Stop to watch."""
        self._reflector.stop()

    def get(self, namespace: str, name: str) -> KnownDefinition | None:
        """Return a definition; None if it is not in the cache (yet)."""
        with self._lock:
            return self._namespaces.get(namespace, {}).get(name)

    def names(self, namespace: str) -> frozenset[str]:
        """Return the names of the definitions of *namespace*."""
        with self._lock:
            return frozenset(self._namespaces.get(namespace, {}))

    def namesakes(self, known: KnownDefinition) -> list[str]:
        """Return the definitions with the CNI name of *known* and another config, sorted."""
        if not known.cni_name:
            return []
        with self._lock:
            return sorted(
                f"{namespace}/{name}"
                for namespace, definitions in self._namespaces.items()
                for name, other in definitions.items()
                if other.cni_name == known.cni_name and other.config_hash != known.config_hash
            )

    def __len__(self) -> int:
        return self._count

    def begin_list(self) -> None:
        """Begin a list: what it does not have is removed at its end."""
        self._listed = set()

    def put(self, definition: Definition) -> None:
        """Keep *definition*, unless the cache is full."""
        if not is_path_safe(definition):
            return
        known = parse_definition(definition, self._rules)  # outside of the lock: it takes a while
        namespace, name = definition.namespace, definition.name
        with self._lock:
            is_new = name not in self._namespaces.get(namespace, {})
            if is_new and self._count >= MAX_DEFINITIONS:
                self._log_full()
                return
            self._namespaces.setdefault(namespace, {})[name] = known
            self._count += is_new
        if self._listed is not None:
            self._listed.add((namespace, name))

    def remove(self, namespace: str, name: str) -> None:
        """Remove a definition, if it is there."""
        with self._lock:
            names = self._namespaces.get(namespace, {})
            if names.pop(name, None) is not None:
                self._count -= 1
            if not names:
                self._namespaces.pop(namespace, None)

    def end_list(self) -> None:
        """Remove what the list did not have."""
        listed, self._listed = self._listed or set(), None
        # Only this thread changes the mappings, so it may read them without the lock.
        before = {(space, name) for space, names in self._namespaces.items() for name in names}
        for namespace, name in before - listed:
            self.remove(namespace, name)

    def _log_full(self) -> None:
        if not self._is_full:
            self._is_full = True
            log.warning("too many definitions; some are looked up", limit=MAX_DEFINITIONS)
