"""Handlers: one method for each endpoint, which applies the rules to what the caches know.

A live look-up, the only call to the API server while a review waits, happens in three cases. Each
is sent once, with a deadline, within the limits of :mod:`webhook.lookups`:

- The cache does not have the namespace yet. Without an answer there is no decision.
- A new pod has no annotation ``cni``, and the cached namespace gives it no network. The API server
  may have sent the pod because the namespace has got a default, or a list to choose from, since.
  Without an answer the cached namespace is used: a policy checks that a network was filled in.
- A pod or template selects a definition that the cache does not have, or that it would be refused
  for. Without an answer the pod is refused, or in the mode ``observe`` warned.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

from dispatcher.annotation import quote
from dispatcher.kube.client import METADATA, object_path
from dispatcher.kube.errors import NOT_FOUND, KubeError
from dispatcher.nad.definition import KIND as DEFINITION
from webhook.bindings import strip_binding
from webhook.decision import NoDecisionError
from webhook.definition_snapshot import NO_DEFINITIONS
from webhook.definitions import admit_definition
from webhook.equal_pods import EqualPods
from webhook.informer_caches import NAMESPACES, NOT_SYNCED
from webhook.limits import Limits
from webhook.lookups import NamespaceLookups
from webhook.namespaces import admit_namespace
from webhook.network_choice import resolve_choice
from webhook.objects import TEMPLATE_PATHS, parse_pod, template_of
from webhook.pods import PodRules, admit_pod, may_get_default
from webhook.review import MalformedReviewError
from webhook.selections import NO_SELECTIONS, chooses_primary, read_selections
from webhook.snapshot import ClusterNetworks, Namespace, parse_namespace
from webhook.templates import TemplateRules, admit_workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.kube.client import KubeClient
    from webhook.decision import Decision
    from webhook.definition_finder import DefinitionFinder
    from webhook.definition_snapshot import Definitions
    from webhook.informer_caches import InformerCaches
    from webhook.objects import Pod
    from webhook.review import Review
    from webhook.selections import PodSelections
    from webhook.settings import WebhookSettings

_NAMESPACE_NAME = re.compile("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Handlers:
    """Decide on reviews, with the namespaces and networks of the informer caches."""

    def __init__(
        self,
        kube: KubeClient,
        caches: InformerCaches,
        settings: WebhookSettings,
        finder: DefinitionFinder | None = None,
        cluster_default: Callable[[], str] = lambda: "",
    ) -> None:
        self._kube = kube
        self._caches = caches
        self._lookup_seconds = settings.lookup_seconds
        self._limits = Limits(
            settings.max_attachments,
            settings.max_per_network,
            are_enforced=settings.limits == "enforce",
        )
        self._pod_rules = PodRules(
            settings.scheduling,
            self._limits,
            settings.attachment_definitions_mode,
            frozenset(settings.shared_namespaces),
            allows_cni_args=settings.missing_capability == "cni-args",
        )
        self._equal_pods = EqualPods(self._pod_rules)
        self._template_rules = TemplateRules(
            settings.templates_invalid, settings.templates_doubtful, self._pod_rules
        )
        self._multus_namespace = settings.multus_namespace
        self._choose_minimum = settings.choose_minimum
        self._tenant_rules = settings.tenant_rules
        self._finder = finder
        self._cluster_default = cluster_default
        self._lookups = NamespaceLookups(
            self._fetch_namespace,
            max_running=settings.max_lookups,
            per_second=settings.max_lookups_per_second,
        )

    async def pods(self, review: Review) -> Decision:
        """Decide on a Pod."""
        _require_kind(review, "Pod")
        self._require_caches()
        pod = parse_pod(review.object)

        namespace = self._caches.namespace(review.namespace)
        if namespace is None:
            namespace = await self._lookups.get(_namespace_name(review))
        elif not namespace.fills_in and may_get_default(review, pod):
            with contextlib.suppress(NoDecisionError):
                namespace = await self._lookups.get_default(_namespace_name(review))

        selections, definitions, networks = NO_SELECTIONS, NO_DEFINITIONS, self._caches.networks
        if review.operation == "CREATE" and not pod.is_excluded:
            namespace = self._resolve_choice(namespace, pod, networks)
            selections, definitions = await self._select(pod, namespace, networks)
        if selections is NO_SELECTIONS:
            return self._equal_pods.admit(review, pod, namespace, networks)
        return admit_pod(
            review,
            pod,
            namespace,
            networks,
            self._pod_rules,
            selections=selections,
            definitions=definitions,
        )

    async def namespaces(self, review: Review) -> Decision:
        """Decide on a Namespace; before the caches are synced, by its form alone."""
        _require_kind(review, "Namespace")
        networks = self._caches.networks if self._caches.synced else ClusterNetworks()
        mode = self._pod_rules.definitions
        return admit_namespace(review, networks, self._limits, definitions=mode)

    async def bindings(self, review: Review) -> Decision:
        """Remove Genie's keys from a Binding; needs no cache."""
        _require_kind(review, "Binding")
        return strip_binding(review, self._pod_rules.definitions)

    async def definitions(self, review: Review) -> Decision:
        """Decide on a NetworkAttachmentDefinition; before the caches are synced, by itself."""
        _require_kind(review, DEFINITION)
        mode = self._pod_rules.definitions
        networks = self._caches.networks.known if self._caches.synced else frozenset[str]()
        if self._finder is None:
            return admit_definition(review, self._tenant_rules, mode, networks)
        namesakes = self._finder.cache.namesakes
        return admit_definition(review, self._tenant_rules, mode, networks, namesakes)

    async def workloads(self, review: Review) -> Decision:
        """Decide on a workload, by its pod template."""
        _require_kind(review, *TEMPLATE_PATHS)
        self._require_caches()

        namespace = self._caches.namespace(review.namespace)
        if namespace is None:
            namespace = await self._lookups.get(_namespace_name(review))

        template = parse_pod(template_of(review.object, review.kind))
        selections, definitions, networks = NO_SELECTIONS, NO_DEFINITIONS, self._caches.networks
        if review.operation in {"CREATE", "UPDATE"}:
            namespace = self._resolve_choice(namespace, template, networks)
            selections, definitions = await self._select(template, namespace, networks)
        return admit_workload(
            review,
            template,
            namespace,
            networks,
            self._template_rules,
            selections=selections,
            definitions=definitions,
        )

    def _resolve_choice(
        self, namespace: Namespace, pod: Pod, networks: ClusterNetworks
    ) -> Namespace:
        """Return *namespace* as a new pod finds it: with a default chosen from its list."""
        return resolve_choice(namespace, pod.annotations, networks, self._choose_minimum)

    async def _select(
        self, pod: Pod, namespace: Namespace, networks: ClusterNetworks
    ) -> tuple[PodSelections, Definitions]:
        """Return what *pod* selects, and what is known of it; nothing in the mode ``off``."""
        if self._finder is None:
            return NO_SELECTIONS, NO_DEFINITIONS
        is_enforced = self._pod_rules.definitions == "enforce"
        default = self._cluster_default() if is_enforced else ""
        if is_enforced and chooses_primary(pod.annotations):
            namespace = namespace._replace(default="")  # which is not filled in then
        selections = read_selections(
            pod.annotations,
            namespace,
            networks,
            cluster_default=default,
            multus_namespace=self._multus_namespace,
        )
        return selections, await self._finder.find(selections, namespace)

    def _require_caches(self) -> None:
        if not self._caches.synced:
            raise NoDecisionError(NOT_SYNCED)

    async def _fetch_namespace(self, name: str) -> Namespace | None:
        """Return the namespace as the API server has it; None if there is none."""
        try:
            return await asyncio.to_thread(self._get_namespace, name)
        except KubeError as error:
            if error.status == NOT_FOUND:
                return None
            raise NoDecisionError(f"cannot read namespace {quote(name)}: {error}") from None

    def _get_namespace(self, name: str) -> Namespace:
        path = object_path(NAMESPACES, name)
        return parse_namespace(self._kube.get(path, timeout=self._lookup_seconds, accept=METADATA))


def _namespace_name(review: Review) -> str:
    # The client may not be an API server: its text must not become the path of a request.
    if not _NAMESPACE_NAME.fullmatch(review.namespace):
        raise MalformedReviewError(
            f"request.namespace: {quote(review.namespace)} is not a valid name of a namespace"
        )
    return review.namespace


def _require_kind(review: Review, *kinds: str) -> None:
    if review.kind not in kinds:
        raise MalformedReviewError(
            f"request.kind: this endpoint accepts {', '.join(kinds)}, not {quote(review.kind)}"
        )
