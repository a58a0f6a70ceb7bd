"""The handlers: which function handlers which review, and with what knowledge.

The only look-up in a request's path is here: a namespace that the cache does not have yet
(or, for a new pod without the annotation ``cni``, which may have been sent because its namespace
has a default, one whose default the cache does not have yet) is asked for once, with a deadline and
within the limits of :mod:`webhook.lookups`. In the second case what is cached will do if the API
server has no answer: whether the default was filled in, a policy sees too.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

from dispatcher.annotation import quote
from dispatcher.kube.client import METADATA, object_path
from dispatcher.kube.errors import NOT_FOUND, KubeError
from webhook.bindings import strip_binding
from webhook.decision import NoDecisionError
from webhook.informer_caches import NAMESPACES
from webhook.limits import Limits
from webhook.lookups import NamespaceLookups
from webhook.namespaces import admit_namespace
from webhook.objects import TEMPLATE_PATHS, parse_pod
from webhook.pods import PodRules, admit_pod, may_get_default
from webhook.review import MalformedReviewError
from webhook.snapshot import ClusterNetworks, Namespace, parse_namespace
from webhook.templates import TemplateRules, admit_workload

if TYPE_CHECKING:
    from dispatcher.kube.client import KubeClient
    from webhook.decision import Decision
    from webhook.informer_caches import InformerCaches
    from webhook.review import Review
    from webhook.settings import WebhookSettings

_NAMESPACE = re.compile("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Handlers:
    """Judges reviews with what the caches know."""

    def __init__(self, kube: KubeClient, caches: InformerCaches, settings: WebhookSettings) -> None:
        self._kube = kube
        self._caches = caches
        self._settings = settings
        self._limits = Limits(
            settings.max_attachments,
            settings.max_per_network,
            are_enforced=settings.limits == "enforce",
        )
        self._pod_rules = PodRules(settings.scheduling, self._limits)
        self._template_rules = TemplateRules(
            settings.templates_invalid,
            settings.templates_doubtful,
            settings.scheduling,
            self._limits,
        )
        self._lookups = NamespaceLookups(
            self._ask, at_once=settings.max_lookups, per_second=settings.max_lookups_per_second
        )

    async def pods(self, review: Review) -> Decision:
        """ReviewHandler a Pod."""
        _expect(review, "Pod")
        self._need_caches()
        pod = parse_pod(review.object)
        namespace = self._caches.namespace(review.namespace)
        if namespace is None:
            namespace = await self._lookups.get(_checked(review.namespace))
        elif not namespace.default and may_get_default(review, pod):
            with contextlib.suppress(NoDecisionError):
                namespace = await self._lookups.get_default(_checked(review.namespace))
        return admit_pod(review, pod, namespace, self._caches.networks, self._pod_rules)

    async def namespaces(self, review: Review) -> Decision:
        """ReviewHandler a Namespace: also before the first sync, by its form alone."""
        _expect(review, "Namespace")
        known = self._caches.networks if self._caches.synced else ClusterNetworks()
        return admit_namespace(review, known, self._limits)

    async def bindings(self, review: Review) -> Decision:
        """Strip a Binding of our keys: also before the first sync, since no cache is needed."""
        _expect(review, "Binding")
        return strip_binding(review)

    async def workloads(self, review: Review) -> Decision:
        """ReviewHandler a workload's template."""
        _expect(review, *TEMPLATE_PATHS)
        self._need_caches()
        namespace = self._caches.namespace(review.namespace)
        if namespace is None:
            namespace = await self._lookups.get(_checked(review.namespace))
        return admit_workload(review, namespace, self._caches.networks, self._template_rules)

    def _need_caches(self) -> None:
        if not self._caches.synced:
            raise NoDecisionError("namespaces and nodes have not been read yet")

    async def _ask(self, name: str) -> Namespace | None:
        try:
            return await asyncio.to_thread(self._get, name)
        except KubeError as error:
            if error.status == NOT_FOUND:
                return None
            raise NoDecisionError(f"the namespace cannot be read: {error}") from None

    def _get(self, name: str) -> Namespace:
        path = object_path(NAMESPACES, name)
        seconds = self._settings.lookup_seconds
        return parse_namespace(self._kube.get(path, timeout=seconds, accept=METADATA))


def _checked(name: str) -> str:
    # Who is no API server may send anything: it must not become a path that we ask for.
    if not _NAMESPACE.fullmatch(name):
        raise MalformedReviewError(f"{quote(name)} is not the name of a namespace")
    return name


def _expect(review: Review, *kinds: str) -> None:
    if review.kind not in kinds:
        raise MalformedReviewError(
            f"this endpoint handlers {', '.join(kinds)}, not {quote(review.kind)}"
        )
