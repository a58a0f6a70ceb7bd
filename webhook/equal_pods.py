"""Decisions on pods that are equal in all that the rules read.

A Deployment that grows sends the same pod again and again, and the pods of a namespace's workloads
often differ only in what no rule reads. The rules are pure functions, so the
decision is the same while the networks are, and what the rules read of the namespace. It is the
larger part of a review's cost. A decision is remembered when it was made the second time.

The name of the namespace appears only in refusals and warnings. So every other decision is valid in
all namespaces with the same annotations, as a cluster gives them to its tenants.

Only pods are remembered that select no definition, since what is known of definitions is
different for each look-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from webhook.pods import admit_pod
from webhook.review import encode_once

if TYPE_CHECKING:
    from webhook.decision import Decision
    from webhook.objects import Pod
    from webhook.pods import PodRules
    from webhook.review import Review
    from webhook.snapshot import ClusterNetworks, Namespace

    _Key = tuple[str, tuple[Any, ...], bytes]
    """The namespace's name if the decision may contain it, else ""; the namespace, without its name
    in the second case; what the rules read of the pod."""

MAX_REMEMBERED = 256
"""Limit of the decisions in memory."""

MAX_SEEN = 512
"""Limit of the pods in memory that came once."""

MAX_KEY = 4096
"""Bytes that a remembered pod may have, of what the rules read. Few have more than 500."""


class _Known(NamedTuple):
    networks: ClusterNetworks
    decision: Decision


class EqualPods:
    """Decides on pods that select no definition, on equal ones only twice."""

    def __init__(self, rules: PodRules) -> None:
        self._rules = rules
        self._known: dict[_Key, _Known] = {}
        self._seen: set[int] = set()
        """The hashes of the pods that came once: two with the same one do no harm."""

    def admit(
        self, review: Review, pod: Pod, namespace: Namespace, networks: ClusterNetworks
    ) -> Decision:
        """Return the decision on *pod*, the object of *review*, as :func:`admit_pod` does."""
        read = _read_by_rules(review, pod)
        if not read:
            return admit_pod(review, pod, namespace, networks, self._rules)

        key: _Key = ("", namespace[1:], read)  # without the name, which is the first field
        known = self._known.get(key) or self._known.get((review.namespace, namespace, read))
        if known and known.networks == networks:
            return known.decision

        decision = admit_pod(review, pod, namespace, networks, self._rules)
        if _may_name_namespace(decision):
            key = (review.namespace, namespace, read)
        return self._remember(key, networks, decision)

    def _remember(self, key: _Key, networks: ClusterNetworks, decision: Decision) -> Decision:
        # Not at the first sight: most of the pods that come once should cost nothing more.
        key_hash = hash(key)
        if key_hash in self._seen:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            decision = encode_once(decision)
            self._known[key] = _Known(networks, decision)
            return decision

        if len(self._seen) >= MAX_SEEN:
            self._seen.clear()
        self._seen.add(key_hash)
        return decision


def _may_name_namespace(decision: Decision) -> bool:
    """Tell whether a text of *decision* may contain the name of the namespace."""
    return not decision.allowed or bool(decision.warnings)


def _read_by_rules(review: Review, pod: Pod) -> bytes:
    """Return all that the decision is made from, besides namespace and networks.

    Empty if it is too long, too deep, or about an old object.
    """
    if review.operation != "CREATE":
        return b""
    try:
        key = orjson.dumps((review.subresource, *pod))
    except orjson.JSONEncodeError:  # orjson reads deeper objects than it writes
        return b""
    return key if len(key) <= MAX_KEY else b""
