"""Decisions on pods that are equal in all that the rules read.

A Deployment that grows sends the same pod again and again, and the pods of a namespace's workloads
often differ only in what no rule reads. The rules are pure functions, so the
decision is the same while namespace and networks are. It is the larger part of a review's cost.
A decision is remembered when it was made the second time.

Only pods are remembered that select no definition, since what is known of definitions is
different for each look-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import orjson

from webhook.pods import admit_pod

if TYPE_CHECKING:
    from webhook.decision import Decision
    from webhook.objects import Pod
    from webhook.pods import PodRules
    from webhook.review import Review
    from webhook.snapshot import ClusterNetworks, Namespace

MAX_REMEMBERED = 256
"""Limit of the decisions in memory."""

MAX_SEEN = 512
"""Limit of the pods in memory that came once."""

MAX_KEY = 4096
"""Bytes that a remembered pod may have, of what the rules read. Few have more than 500."""


class _Known(NamedTuple):
    namespace: Namespace
    networks: ClusterNetworks
    decision: Decision


class EqualPods:
    """Decides on pods that select no definition, on equal ones only twice."""

    def __init__(self, rules: PodRules) -> None:
        self._rules = rules
        self._known: dict[bytes, _Known] = {}
        self._seen: set[bytes] = set()

    def admit(
        self, review: Review, pod: Pod, namespace: Namespace, networks: ClusterNetworks
    ) -> Decision:
        """Return the decision on *pod*, the object of *review*, as :func:`admit_pod` does."""
        key = _key(review, pod)
        known = self._known.get(key)
        if known and known.namespace == namespace and known.networks == networks:
            return known.decision

        decision = admit_pod(review, pod, namespace, networks, self._rules)
        # Not at the first sight: most of the pods that come once should cost nothing more.
        if key in self._seen:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[key] = _Known(namespace, networks, decision)
        elif key:
            if len(self._seen) >= MAX_SEEN:
                self._seen.clear()
            self._seen.add(key)
        return decision


def _key(review: Review, pod: Pod) -> bytes:
    """Return all that the decision is made from, besides namespace and networks.

    Empty if it is too long, too deep, or about an old object.
    """
    if review.operation != "CREATE":
        return b""
    try:
        key = orjson.dumps((review.namespace, review.subresource, *pod))
    except orjson.JSONEncodeError:  # orjson reads deeper objects than it writes
        return b""
    return key if len(key) <= MAX_KEY else b""
