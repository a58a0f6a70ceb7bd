"""Finds the definitions that a pod selects: in the informer cache, else at the API server.

A definition may be created or corrected together with the pod, before the cache knows it, and a
cluster may have more than the cache keeps. So what the cache lacks, or would refuse the pod for, is
asked for once, with a deadline, within the limits of :mod:`webhook.lookups`. Without an answer the
cache counts, and a definition that it lacks is unchecked.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dispatcher.annotation import quote
from dispatcher.kube.client import object_path
from dispatcher.kube.errors import NOT_FOUND, KubeError
from dispatcher.nad import definition
from dispatcher.nad.selection import missing_capabilities
from webhook.decision import NoDecisionError
from webhook.definition_cache import DefinitionCache
from webhook.definition_check import may_select
from webhook.definition_snapshot import NO_DEFINITIONS, Definitions, parse_definition
from webhook.lookups import DefinitionLookups

if TYPE_CHECKING:
    from dispatcher.kube.client import KubeClient
    from dispatcher.nad.selection import NetworkSelection
    from webhook.definition_snapshot import KnownDefinition
    from webhook.selections import PodSelections
    from webhook.settings import WebhookSettings
    from webhook.snapshot import Namespace


class DefinitionFinder:
    """The definitions of the cluster, as one replica knows them."""

    def __init__(self, kube: KubeClient, settings: WebhookSettings) -> None:
        self._kube = kube
        self._seconds = settings.lookup_seconds
        self._tenant_rules = settings.tenant_rules
        self._shared = frozenset(settings.shared_namespaces)
        self.cache = DefinitionCache(kube, settings.tenant_rules)
        self._lookups = DefinitionLookups(
            self._fetch,
            max_running=settings.max_lookups,
            per_second=settings.max_lookups_per_second,
        )

    async def find(self, selections: PodSelections, namespace: Namespace) -> Definitions:
        """Return what is known of the definitions that the pod selects, and may select."""
        selected: dict[tuple[str, str], list[NetworkSelection]] = {}
        for each in selections.items:
            if may_select(each, namespace, self._shared):
                selected.setdefault((each.namespace, each.selection.name), []).append(
                    each.selection
                )
        if not selected:
            return NO_DEFINITIONS
        pairs = await asyncio.gather(*(self._find(*key, of) for key, of in selected.items()))
        known = {name: value for pair in pairs for name, value in pair.items()}
        missing = {name.partition("/")[0] for name, value in known.items() if value is None}
        return Definitions(known, {each: self.cache.names(each) for each in missing})

    async def _find(
        self, namespace: str, name: str, selections: list[NetworkSelection]
    ) -> dict[str, KnownDefinition | None]:
        """Return a definition by its full name; empty without an answer."""
        full_name = f"{namespace}/{name}"
        cached = self.cache.get(namespace, name)
        # Its author may have corrected it in the same "kubectl apply" as the pod.
        if cached is not None and not _is_refusing(cached, selections):
            return {full_name: cached}
        try:
            return {full_name: await self._lookups.get(full_name)}
        except NoDecisionError:
            return {} if cached is None else {full_name: cached}

    async def _fetch(self, full_name: str) -> KnownDefinition | None:
        try:
            return await asyncio.to_thread(self._get, full_name)
        except KubeError as error:
            if error.status == NOT_FOUND:  # also without the custom resource
                return None
            raise NoDecisionError(f"cannot read {quote(full_name)}: {error}") from None

    def _get(self, full_name: str) -> KnownDefinition:
        namespace, _, name = full_name.partition("/")
        path = object_path(definition.collection_of(namespace), name)
        return parse_definition(
            definition.read(self._kube.get(path, timeout=self._seconds)), self._tenant_rules
        )


def _is_refusing(known: KnownDefinition, selections: list[NetworkSelection]) -> bool:
    """Tell whether a pod with one of *selections* is refused because of the definition."""
    return bool(known.refused) or any(
        missing_capabilities(each, known.capabilities) for each in selections
    )
